"""``label``: kept_posts, pictures, faces -> labels. Which pictures are good, and in which fold.

The joins give a narrow table of candidates, one row a distinct picture, in a scratch folder;
``spark_jobs.labelled`` makes the labels of it.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from filters.pictures.copies import KINDS, copies
from filters.posts import AUTHOR_KEY
from likewise.funnel import Funnel
from likewise.study import Manifest, Study
from spark_jobs.frames import (
    PICTURE_KEY,
    POST_KEY,
    Counts,
    counted,
    decided,
    hashed,
    read_table,
)
from spark_jobs.labelled import CANDIDATES, labelled
from spark_jobs.session import spark_progress, spark_session
from spark_jobs.work import Target

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import Column, DataFrame, SparkSession

__all__ = ["label"]

CODE = 2


def label(
    study: Study | str | os.PathLike[str], *, redo: bool = False, master: str | None = None
) -> Manifest:
    """Label the pictures that stay, deal their authors over folds, publish ``labels``.

    Raises:
        MissingTableError: an earlier stage has not run.
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
    scratch = tempfile.TemporaryDirectory(
        dir=study.folder(".staging"), prefix="label-", ignore_cleanup_errors=True
    )
    with scratch as folder, spark_progress(spark, "label"), stage.staging() as directory:
        candidates = Path(folder) / "candidates"
        before = _write_candidates(spark, study, candidates, faces=faces)
        target = Target("labels", directory, Path(folder))
        after, facts = labelled(spark, candidates, target, settings, seed=study.config.study.seed)
    funnel = Funnel(
        "label", "pictures", before.rows_in, after.rows_out, {**before.dropped, **after.dropped}
    )
    return stage.publish(funnel=funnel, rows=funnel.rows_out, **facts)


# -- candidates ---------------------------------------------------------------------------


def _write_candidates(spark: SparkSession, study: Study, folder: Path, *, faces: bool) -> Counts:
    """Distinct pictures of people in kept posts, narrow; tells what was dropped on the way."""
    joined = _joined(spark, study, faces=faces)
    with counted(decided(joined, _picture_reasons(faces=faces))) as (kept, counts):
        kept.select(*CANDIDATES.names).write.parquet(str(folder))
    return counts


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


if __name__ == "__main__":
    from spark_jobs.entry import main

    main("spark_jobs.label", "label")
