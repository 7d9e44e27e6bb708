"""``clean``: posts, authors -> kept_posts. Which posts count, and whose.

A post is dropped under the first reason that holds, in the order of ``_reasons``. The bounds on
followers take one value an author, the latest one known; the ratio's denominator is the value that
was read nearest to the post's own counts.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from filters.outliers import Bounds, bounds, log10_histogram
from likewise.config import CleanSection
from likewise.funnel import Funnel
from likewise.study import Manifest, Study
from spark_jobs.frames import (
    AUTHOR_KEY,
    collect_arrow,
    counted,
    decided,
    hashed,
    read_table,
    write_parts,
)
from spark_jobs.session import spark_progress, spark_session

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pyspark.sql import Column, DataFrame

__all__ = ["clean"]

CODE = 1

DAY_US = 86_400_000_000

AUDIENCES = {"likes/followers": "followers", "likes/views": "views", "likes": "none"}
"""What a target divides likes by; see ``[label] target``."""

BROADCAST_UP_TO = 5_000_000
"""Authors whose counts every executor holds (about 100 bytes each), so that no post is moved."""


def clean(
    study: Study | str | os.PathLike[str], *, redo: bool = False, master: str | None = None
) -> Manifest:
    """Keep ordinary authors and settled posts; publish ``kept_posts``.

    The manifest's ``extra`` holds the bounds, the histograms of followers before and after, and
    how many authors had no usable count.

    Raises:
        MissingTableError: posts or authors have not been collected.
        FingerprintError: kept_posts was made from something else and ``redo`` is false.
        DataError: no author has a known, positive follower count.
    """
    study = Study.open(study)
    settings = study.config.clean
    audience = AUDIENCES[study.config.label.target]
    stage = study.begin(
        "kept_posts",
        inputs=["posts", "authors"],
        params={**settings.model_dump(mode="json"), "audience": audience},
        code=CODE,
        redo=redo,
    )
    if stage.done:
        return stage.manifest
    spark = spark_session(study.config, master=master)
    posts, authors = (read_table(spark, study, name) for name in ("posts", "authors"))
    with spark_progress(spark, "clean"), contextlib.ExitStack() as cleanup:
        facts: dict[str, Any] = {}
        if audience == "none":
            judged = _without_authors(posts, settings)
        else:
            readings = _readings(posts, authors, audience).persist()
            cleanup.callback(readings.unpersist)
            rule, facts = _rule(readings, settings)
            judged = _judged(posts, readings, rule, settings, audience)
        with stage.staging() as directory, counted(judged) as (kept, counts):
            write_parts(kept, "kept_posts", directory)
    funnel = Funnel("clean", "posts", counts.rows_in, counts.rows_out, counts.dropped)
    return stage.publish(funnel=funnel, rows=funnel.rows_out, audience=audience, **facts)


# -- authors ------------------------------------------------------------------------------


def _readings(posts: DataFrame, authors: DataFrame, audience: str) -> DataFrame:
    """One row an author: hashes of its key, its latest audience, and every reading of it."""
    from pyspark.sql import functions as F  # noqa: N812

    wide, check = hashed(AUTHOR_KEY)
    keys = [wide.alias("author_hash"), check.alias("author_check")]
    if audience == "views":
        # There are no follower counts: the most viewed post says how far an author reaches.
        return posts.groupBy(*keys).agg(F.max("views").alias("latest"))
    known_at = F.when(F.col("followers").isNotNull(), F.col("fetched_at"))
    ends = authors.groupBy(*keys).agg(
        F.count("followers").alias("n"),
        F.min(known_at).alias("first_at"),
        F.min_by("followers", known_at).alias("first"),
        F.max(known_at).alias("latest_at"),
        F.max_by("followers", known_at).alias("latest"),
    )
    return _with_middle(ends, authors, keys)


def _with_middle(ends: DataFrame, authors: DataFrame, keys: list[Column]) -> DataFrame:
    """Add ``middle``, the list of all readings of authors that were read more than twice.

    Lists cost several times what the first and the latest reading cost in plain columns, and
    those two are all that most authors have.
    """
    from pyspark.sql import functions as F  # noqa: N812

    reading = F.struct(F.col("fetched_at").alias("at"), F.col("followers").alias("count"))
    several = ends.where("n > 2").select("author_hash", "author_check")
    if several.isEmpty():
        return ends.withColumn(
            "middle", F.lit(None).cast("array<struct<at:timestamp,count:bigint>>")
        )
    rows = authors.where("followers is not null").select(*keys, reading.alias("reading"))
    lists = rows.join(several, ["author_hash", "author_check"], "left_semi")
    middle = lists.groupBy("author_hash", "author_check").agg(
        F.collect_list("reading").alias("middle")
    )
    return ends.join(middle, ["author_hash", "author_check"], "left")


def _rule(readings: DataFrame, settings: CleanSection) -> tuple[Bounds, dict[str, Any]]:
    """Bounds over all authors with an audience, and what the report shows of them."""
    values, times, exact = _value_counts(readings, settings.exact_up_to)
    unknown, known = np.isnan(values), values > 0
    authors = {
        "known": int(times[known].sum()),
        "unknown": int(times[unknown].sum()),
        "without_audience": int(times[~known & ~unknown].sum()),
    }
    values, times = values[known], times[known]
    rule = bounds(values, times, threshold=settings.threshold, scale=settings.scale, exact=exact)
    stays = rule.inside(values)
    histograms = {
        "before": log10_histogram(values, times),
        "after": log10_histogram(values[stays], times[stays]),
    }
    return rule, {"bounds": rule.to_dict(), "histogram": histograms, "authors": authors}


def _value_counts(
    readings: DataFrame, exact_up_to: int
) -> tuple[NDArray[np.float64], NDArray[np.int64], bool]:
    """Distinct audiences and how many authors have each; NaN stands for unknown.

    Follower counts are integers that many authors share, so this is small and the median exact.
    Beyond ``exact_up_to`` distinct values they are rounded to four digits: a relative error of at
    most 0.05 %, which, unlike that of ``percentile_approx``, does not depend on partitioning.
    """
    from pyspark.sql import functions as F  # noqa: N812

    latest = F.col("latest").cast("double")
    found = collect_arrow(readings.groupBy(latest.alias("value")).count().limit(exact_up_to + 1))
    exact = found.num_rows <= exact_up_to
    if not exact:
        step = F.pow(F.lit(10.0), F.greatest(F.floor(F.log10(latest)) - 3, F.lit(0)))
        rounded = F.when(latest > 0, F.round(latest / step) * step).otherwise(latest)
        found = collect_arrow(readings.groupBy(rounded.alias("value")).count())
    values = found["value"].to_numpy().astype(np.float64)
    return values, found["count"].to_numpy().astype(np.int64), exact


# -- posts --------------------------------------------------------------------------------


def _judged(
    posts: DataFrame, readings: DataFrame, rule: Bounds, settings: CleanSection, audience: str
) -> DataFrame:
    """All posts with audience, age and z-score; ``reason`` is 0 for those that stay."""
    from pyspark.sql import functions as F  # noqa: N812

    wide, check = hashed(AUTHOR_KEY)
    # A bit operation, not an equality: with one long as its only key Spark builds its small map.
    same = (F.col("author_hash") == wide) & (F.col("author_check").bitwiseXOR(check) == 0)
    small = F.broadcast(readings) if rule.n <= BROADCAST_UP_TO else readings
    joined = posts.join(small, same, "left")
    x = F.col("latest").cast("double")
    scaled = F.log1p(x) if rule.scale == "log1p" else x
    z = F.when(x > 0, (scaled - rule.median) / rule.unit)
    read = _with_nearest(joined) if audience == "followers" else _with_views(joined)
    return decided(
        read.withColumns({"robust_z": z, "age_days": _age_days()}),
        [
            *_post_reasons(settings),
            ("author unknown", F.col("author_hash").isNull()),
            (f"{audience} unknown", F.col("audience").isNull()),
            (f"{audience} below zero", F.col("audience") < 0),
            (f"zero {audience}", F.col("audience") == 0),
            (
                f"{audience} read more than {settings.max_gap_days:g} days away",
                F.col("gap_us") > settings.max_gap_days * DAY_US,
            ),
            (
                f"likes above {settings.max_likes_per_follower:g} x {audience}",
                F.col("likes") > F.col("audience") * settings.max_likes_per_follower,
            ),
            (f"author's {audience} below the lower bound", x < rule.lower),
            (f"author's {audience} above the upper bound", x > rule.upper),
        ],
    )


def _with_nearest(joined: DataFrame) -> DataFrame:
    """The reading nearest to the post's own counts: the earlier, then the smaller of two."""
    from pyspark.sql import functions as F  # noqa: N812

    here = F.unix_micros("collected_at")

    def candidate(at: Column, count: Column) -> Column:
        gap = F.abs(F.unix_micros(at) - here)
        return F.struct(gap.alias("gap"), at.alias("at"), count.alias("count"))

    ends = F.least(
        candidate(F.col("first_at"), F.col("first")),
        candidate(F.col("latest_at"), F.col("latest")),
    )
    all_of_them = F.array_min(F.transform("middle", lambda r: candidate(r["at"], r["count"])))
    nearest = F.when(F.col("middle").isNull(), ends).otherwise(all_of_them)
    named = joined.withColumn("nearest", nearest)
    return named.withColumns(
        {
            "followers": F.col("nearest")["count"],
            "followers_at": F.col("nearest")["at"],
            "audience": F.col("nearest")["count"],
            "gap_us": F.col("nearest")["gap"],
        }
    )


def _with_views(joined: DataFrame) -> DataFrame:
    from pyspark.sql import functions as F  # noqa: N812

    return joined.withColumns(
        {
            "followers": F.lit(None).cast("bigint"),
            "followers_at": F.lit(None).cast("timestamp"),
            "audience": F.col("views"),
            "gap_us": F.lit(0),
        }
    )


def _without_authors(posts: DataFrame, settings: CleanSection) -> DataFrame:
    """For the target ``likes``: the rules about the post alone."""
    from pyspark.sql import functions as F  # noqa: N812

    columns = {"followers": "bigint", "followers_at": "timestamp", "robust_z": "double"}
    empty = {name: F.lit(None).cast(kind) for name, kind in columns.items()}
    judged = posts.withColumns({**empty, "age_days": _age_days()})
    return decided(judged, _post_reasons(settings))


def _post_reasons(settings: CleanSection) -> list[tuple[str, Column]]:
    from pyspark.sql import functions as F  # noqa: N812

    since = F.coalesce("indexed_at", "created_at")
    first_day = F.lit(settings.earliest).cast("timestamp")
    return [
        ("likes hidden", F.col("likes").isNull()),
        ("likes below zero", F.col("likes") < 0),
        ("date unknown", since.isNull()),
        (
            "dated before any platform opened",
            (since < first_day) | (F.col("created_at") < first_day),
        ),
        ("dated after it was collected", since > F.col("collected_at")),
        (
            f"younger than {settings.min_age_days:g} days",
            _age_days() < settings.min_age_days,
        ),
    ]


def _age_days() -> Column:
    """Days that the post could gather likes: from when the server first saw it, where it tells."""
    from pyspark.sql import functions as F  # noqa: N812

    since = F.unix_micros(F.coalesce("indexed_at", "created_at"))
    return (F.unix_micros("collected_at") - since) / DAY_US
