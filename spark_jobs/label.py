"""``label``: kept_posts, pictures, faces -> labels. Which pictures are good, and in which fold.

The joins give a narrow table of candidates, one row a distinct picture, which is kept in a scratch
folder for the passes that follow: the cut, the authors' folds, and the labels themselves.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from filters.duplicates import KINDS, copies
from filters.folds import Assignment, assign
from filters.labels import AGE_EDGES, Correction, Cut, author_facts, correction, cut
from likewise.config import LabelSection
from likewise.errors import DataError
from likewise.funnel import Funnel
from likewise.study import Manifest, Study
from spark_jobs.frames import (
    AUTHOR_KEY,
    PICTURE_KEY,
    POST_KEY,
    Counts,
    collect_arrow,
    counted,
    decided,
    hashed,
    read_table,
    write_parts,
)
from spark_jobs.quantiles import value_counts
from spark_jobs.session import spark_progress, spark_session

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray
    from pyspark.sql import Column, DataFrame, SparkSession

__all__ = ["label", "labelled"]

CODE = 1

BROADCAST_UP_TO = 5_000_000

SAMPLE = 200_000
"""Pictures, of whole authors, from which corrections and the author's part are estimated."""


def label(
    study: Study | str | os.PathLike[str], *, redo: bool = False, master: str | None = None
) -> Manifest:
    """Label the pictures that stay, deal their authors over folds, publish ``labels``.

    Raises:
        MissingTableError: an earlier stage has not run.
        FingerprintError: labels was made from something else and ``redo`` is false.
        DataError: no picture is left, all are of one class, or authors are too few for the folds.
    """
    study = Study.open(study)
    settings = study.config.label
    faces = settings.require_faces and study.config.faces.detector != "none"
    stage = study.begin(
        "labels",
        inputs=["kept_posts", "pictures", *(["faces"] if faces else [])],
        params={**settings.model_dump(), "seed": study.config.study.seed},
        code=CODE,
        redo=redo,
    )
    if stage.done:
        return stage.manifest
    spark = spark_session(study.config, master=master)
    scratch = tempfile.TemporaryDirectory(dir=study.folder(".staging"), prefix="label-")
    with scratch as folder, spark_progress(spark, "label"), stage.staging() as directory:
        candidates, before = _candidates(spark, study, Path(folder), faces=faces)
        rows, facts = labelled(candidates, settings, seed=study.config.study.seed)
        with counted(rows) as (kept, after):
            write_parts(kept, "labels", directory)
        facts["histogram"] = _histogram(spark.read.parquet(str(directory)))
    funnel = Funnel(
        "label", "pictures", before.rows_in, after.rows_out, {**before.dropped, **after.dropped}
    )
    return stage.publish(funnel=funnel, rows=funnel.rows_out, **facts)


# -- candidates ---------------------------------------------------------------------------


def _candidates(
    spark: SparkSession, study: Study, scratch: Path, *, faces: bool
) -> tuple[DataFrame, Counts]:
    """Distinct pictures of people in kept posts, narrow, and what was dropped on the way."""
    joined = _joined(spark, study, faces=faces)
    with counted(decided(joined, _picture_reasons(faces=faces))) as (kept, counts):
        kept.drop("reason").write.parquet(str(scratch / "candidates"))
    return spark.read.parquet(str(scratch / "candidates")), counts


def _joined(spark: SparkSession, study: Study, *, faces: bool) -> DataFrame:
    from pyspark.sql import functions as F  # noqa: N812

    pictures = read_table(spark, study, "pictures").where(F.col("status") == "ok")
    pictures = pictures.select(*PICTURE_KEY, "author_id", "bucket", "picture_id")
    posts = read_table(spark, study, "kept_posts").withColumn("followers", _audience(study))
    facts = posts.select(*_keys(POST_KEY, "post"), *POST_FACTS, F.lit(1).alias("kept"))
    named = pictures.select("*", *_keys(POST_KEY, "post"), *_keys(AUTHOR_KEY, "author"))
    kinds = F.broadcast(spark.createDataFrame(_copies(study)))
    joined = named.join(facts, ["post_hash", "post_check"], "left")
    joined = joined.join(kinds, list(PICTURE_KEY), "left")
    if not faces:
        return joined.withColumn("n_faces", F.lit(None).cast("int"))
    found = read_table(spark, study, "faces").select(
        "picture_id", "n_faces", F.col("status").alias("faces_status")
    )
    return joined.join(found, "picture_id", "left")


def _copies(study: Study) -> pa.Table:
    """Key and kind of every picture that copies another one, exactly or nearly."""
    import pyarrow.compute as pc

    columns = [*PICTURE_KEY, "author_id", "picture_id", "phash"]
    rows = study.read("pictures", columns, filter=pc.field("status") == "ok")
    found = copies(rows, study.config.label.near_duplicate_radius)
    found = found.filter(pc.field("kind") != "original")
    return found.select([*PICTURE_KEY, "kind"])


POST_FACTS = ("likes", "followers", "created_at", "age_days")


def _audience(study: Study) -> Column:
    """What likes are divided by; null for the target `likes`."""
    from pyspark.sql import functions as F  # noqa: N812

    columns = {"likes/followers": F.col("followers"), "likes/views": F.col("views")}
    return columns.get(study.config.label.target, F.lit(None).cast("bigint"))


def _keys(columns: Sequence[str], name: str) -> tuple[Column, Column]:
    wide, check = hashed(columns)
    return wide.alias(f"{name}_hash"), check.alias(f"{name}_check")


def _picture_reasons(*, faces: bool) -> list[tuple[str, Column]]:
    from pyspark.sql import functions as F  # noqa: N812

    reasons = [
        ("post not kept", F.col("kept").isNull()),
        *((f"copy ({kind})", F.col("kind") == kind) for kind in KINDS if kind != "original"),
    ]
    if faces:
        reasons += [
            ("faces not looked for", F.col("faces_status").isNull()),
            ("undecodable for the detector", F.col("faces_status") != "ok"),
            ("no face", F.col("n_faces") == 0),
        ]
    return reasons


# -- labels -------------------------------------------------------------------------------


def labelled(
    candidates: DataFrame, settings: LabelSection, *, seed: int
) -> tuple[DataFrame, dict[str, Any]]:
    """Add ratio, label, weight, fold and split to ``candidates``, and ``reason`` for the left out.

    ``candidates`` has the columns ``author_hash``, ``post_hash``, ``likes``, ``followers``,
    ``created_at`` and ``age_days``. The second answer is what the report shows.

    Raises:
        DataError: no row, one class only, or too few authors for the folds.
    """
    from pyspark.sql import functions as F  # noqa: N812

    rows = candidates.count()
    if not rows:
        raise DataError("no picture is left to label", hint="see the funnel: likewise status")
    divisor = F.lit(1) if settings.target == "likes" else F.col("followers")
    ratio = F.col("likes").cast("double") / divisor
    measured = candidates.withColumn("ratio", ratio)
    factors = _correction(measured, settings, rows)
    measured = measured.withColumn("ratio", _corrected(factors))
    facts: dict[str, Any] = {"method": settings.method, "target": settings.target}
    if settings.age_correction or settings.hour_correction:
        facts["correction"] = factors.to_dict()
    if settings.method == "pooled":
        values, times = value_counts(measured, "ratio", _probabilities(settings), rows=rows)
        at = cut(values, times, margin=settings.margin)
        judged = decided(*_pooled(measured, at))
        facts["cut"] = at.to_dict()
    else:
        judged = decided(*_per_author(measured, settings))
    dealt, balance = _dealt(judged, settings, seed)
    facts |= {"folds": balance, "author_baseline": _author_facts(judged, rows)}
    return dealt.withColumn("weight", F.lit(1.0)), facts


def _probabilities(settings: LabelSection) -> list[float]:
    return sorted({0.5 - settings.margin, 0.5, 0.5 + settings.margin})


Judged = tuple["DataFrame", list[tuple[str, "Column"]]]


def _pooled(measured: DataFrame, at: Cut) -> Judged:
    from pyspark.sql import functions as F  # noqa: N812

    good = F.when(F.col("ratio") > at.high, 1).otherwise(0).cast("byte")
    between = (F.col("ratio") > at.low) & (F.col("ratio") <= at.high)
    return measured.withColumn("label", good), [(_margin_reason(at.margin), between)]


def _margin_reason(margin: float) -> str:
    return f"within {margin:.0%} of the median"


def _per_author(measured: DataFrame, settings: LabelSection) -> Judged:
    """Against the median of the author's own pictures; they fit into memory, so it is exact."""
    from pyspark.sql import functions as F  # noqa: N812

    probabilities = [0.5 - settings.margin, 0.5 + settings.margin]
    own = measured.groupBy("author_hash").agg(
        F.percentile("ratio", F.array(*map(F.lit, probabilities))).alias("cut"),
        F.count_distinct("post_hash").alias("posts"),
    )
    joined = measured.join(own, "author_hash")
    low, high = F.col("cut")[0], F.col("cut")[1]
    good = F.when(F.col("ratio") > high, 1).otherwise(0).cast("byte")
    least = settings.min_posts_per_author
    return joined.withColumn("label", good), [
        (f"author has fewer than {least} posts", F.col("posts") < least),
        (_margin_reason(settings.margin), (F.col("ratio") > low) & (F.col("ratio") <= high)),
    ]


# -- folds --------------------------------------------------------------------------------


def _dealt(
    judged: DataFrame, settings: LabelSection, seed: int
) -> tuple[DataFrame, dict[str, Any]]:
    """Add ``fold`` and ``split``; authors are few enough to be dealt on the driver."""
    import pyarrow as pa
    from pyspark.sql import functions as F  # noqa: N812

    by_author = judged.where(F.col("reason") == 0).groupBy("author_hash")
    found = collect_arrow(by_author.agg(F.count("*").alias("n"), F.sum("label").alias("good")))
    if not found.num_rows:
        raise DataError("no picture is left to label", hint="lower [label] margin or its minimum")
    keys, sizes, good = (found[name].to_numpy() for name in ("author_hash", "n", "good"))
    if good.sum() in (0, sizes.sum()):
        raise DataError(
            "all pictures have the same label", hint="collect more, or lower the margin"
        )
    dealt = assign(
        keys, sizes, good, folds=settings.folds, test_fraction=settings.test_fraction, seed=seed
    )
    table = pa.table({"author_hash": keys, "fold": dealt.fold, "test": dealt.test})
    folds = judged.sparkSession.createDataFrame(table)
    small = F.broadcast(folds) if found.num_rows <= BROADCAST_UP_TO else folds
    split = F.when(F.col("test"), "test").otherwise("train")
    rows = judged.join(small, "author_hash", "left").withColumn("split", split)
    return rows, _balance(dealt, sizes, good, settings.folds)


def _balance(
    dealt: Assignment, sizes: NDArray[np.int64], good: NDArray[np.int64], folds: int
) -> dict[str, Any]:
    """Authors, pictures and good pictures of each fold, of both sides of the split."""

    def total(side: bool, weights: NDArray[np.int64] | None) -> list[int]:
        here = dealt.test == side
        counts = np.bincount(
            dealt.fold[here], None if weights is None else weights[here], minlength=folds
        )
        return [int(count) for count in counts]

    return {
        name: {
            "authors": total(side, None),
            "pictures": total(side, sizes),
            "good": total(side, good),
        }
        for name, side in (("train", False), ("test", True))
    }


# -- corrections and facts ----------------------------------------------------------------


def _sample(frame: DataFrame, columns: Sequence[str], rows: int) -> pa.Table:
    """At most about ``SAMPLE`` rows of whole authors, chosen by hash: the same every time."""
    from pyspark.sql import functions as F  # noqa: N812

    share = min(1.0, SAMPLE / rows)
    chosen = F.pmod(F.xxhash64("author_hash"), F.lit(1 << 20)) < share * (1 << 20)
    return collect_arrow(frame.where(chosen).select(*columns))


def _correction(measured: DataFrame, settings: LabelSection, rows: int) -> Correction:
    from pyspark.sql import functions as F  # noqa: N812

    if not (settings.age_correction or settings.hour_correction):
        return Correction()
    named = measured.withColumn("hour", F.hour("created_at"))
    sample = _sample(named.dropna(subset=["hour"]), ["ratio", "age_days", "hour"], rows)
    ratio, age, hour = (sample[name].to_numpy() for name in ("ratio", "age_days", "hour"))
    return correction(
        ratio, age, hour, by_age=settings.age_correction, by_hour=settings.hour_correction
    )


def _corrected(factors: Correction) -> Column:
    """``Correction.apply`` as a column expression."""
    from pyspark.sql import functions as F  # noqa: N812

    ratio = F.col("ratio")
    if factors == Correction():
        return ratio
    bins = sum(((F.col("age_days") >= edge).cast("int") for edge in AGE_EDGES), start=F.lit(0))
    age = F.element_at(F.array(*map(F.lit, factors.age)), bins + 1)
    hour = F.element_at(F.array(*map(F.lit, factors.hour)), F.hour("created_at") + 1)
    return ratio / (age * F.coalesce(hour, F.lit(1.0)))


def _author_facts(judged: DataFrame, rows: int) -> dict[str, Any]:
    from pyspark.sql import functions as F  # noqa: N812

    columns = ["ratio", "label", "author_hash"]
    sample = _sample(judged.where(F.col("reason") == 0), columns, rows).sort_by(
        [(name, "ascending") for name in reversed(columns)]
    )
    return author_facts(*(sample[name].to_numpy() for name in columns))


def _histogram(labels: DataFrame) -> dict[str, Any]:
    """Good and bad pictures in tenths of log10(ratio); ratios of zero stand apart."""
    from pyspark.sql import functions as F  # noqa: N812

    tenth = F.when(F.col("ratio") > 0, F.floor(F.log10("ratio") * 10))
    found = labels.groupBy(tenth.alias("tenth"), "label").count().collect()
    zeros = sum(row["count"] for row in found if row["tenth"] is None)
    count = {
        (row["tenth"], row["label"]): row["count"] for row in found if row["tenth"] is not None
    }
    tenths = [tenth for tenth, _ in count]
    bins = range(min(tenths), max(tenths) + 1) if tenths else range(0)
    return {
        "log10_ratio_edges": [tenth / 10 for tenth in (*bins, bins.stop)],
        "good": [count.get((tenth, 1), 0) for tenth in bins],
        "bad": [count.get((tenth, 0), 0) for tenth in bins],
        "zeros": zeros,
    }


if __name__ == "__main__":
    from spark_jobs.entry import main

    main("spark_jobs.label", "label")
