"""``clean``: posts, authors -> kept_posts. Which posts count, and whose.

The rules are those of ``filters.posts``. Three passes of work items: the readings of all authors
are scattered by the hash of their key, sorted range by range into arrays that all workers map, and
then every item of posts is judged, filtered and written as one part.
"""

from __future__ import annotations

import os
import tempfile
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from filters.columns import numbers
from filters.hashing import key_hashes
from filters.outliers import Bounds, bounds, distinct_counts, log10_histogram
from filters.posts import AUTHOR_KEY, Audience, Judged, Known, judge, reasons
from filters.readings import ROW, Readings, rows_of
from likewise.config import CleanSection
from likewise.funnel import Funnel
from likewise.study import Manifest, Study
from likewise.tables import AUTHORS, KEPT_POSTS, POSTS
from spark_jobs.session import partitions, spark_progress, spark_session
from spark_jobs.work import Item, Target, gather, items_of, ranges, scatter, spread

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

__all__ = ["clean"]

CODE = 2

AUDIENCES: dict[str, Audience] = {
    "likes/followers": "followers",
    "likes/views": "views",
    "likes": "none",
}
"""What a target divides likes by; see ``[label] target``."""


def clean(
    study: Study | str | os.PathLike[str], *, redo: bool = False, master: str | None = None
) -> Manifest:
    """Keep ordinary authors and settled posts; publish ``kept_posts``.

    The manifest's ``extra`` holds the bounds, the histograms of followers before and after, and
    how many authors had no usable count.

    Raises:
        MissingTableError: posts or authors have not been collected.
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
    scratch = tempfile.TemporaryDirectory(
        dir=study.folder(".staging"), prefix="clean-", ignore_cleanup_errors=True
    )
    with scratch as name, spark_progress(spark, "clean"), stage.staging() as directory:
        folder, rule = Path(name), None
        facts: dict[str, Any] = {}
        posts = items_of(study.parts("posts"), partitions(spark))
        if audience != "none":
            _gather_readings(spark, study, posts, audience, folder)
            rule, facts = _rule(Readings.load(folder / "readings").latest(), settings)
        target = Target("kept_posts", directory, folder)
        counts = sum(
            map(np.asarray, spread(spark, _Judge(target, settings, audience, rule), posts)),
            start=np.zeros(len(reasons(settings, audience)) + 1, np.int64),
        ).tolist()
        target.finish()
    dropped = dict(zip(reasons(settings, audience), counts[1:], strict=True))
    funnel = Funnel("clean", "posts", sum(counts), counts[0], dropped)
    return stage.publish(funnel=funnel, rows=funnel.rows_out, audience=audience, **facts)


# -- authors ------------------------------------------------------------------------------


def _gather_readings(
    spark: SparkSession, study: Study, posts: list[Item], audience: Audience, folder: Path
) -> None:
    """Sort the readings of all authors into ``folder / "readings"``."""
    table = "posts" if audience == "views" else "authors"
    items = posts if audience == "views" else items_of(study.parts(table), partitions(spark))
    pieces = folder / "pieces"
    pieces.mkdir()
    spread(spark, _Scatter(pieces, audience), items)
    parts = spread(spark, _Sort(pieces, folder / "ranges"), ranges(pieces))
    Readings.join(parts, folder / "readings")


@dataclass(frozen=True, slots=True)
class _Scatter:
    """Readings of an item's authors, as records by key."""

    pieces: Path
    audience: Audience

    def __call__(self, item: Item) -> None:
        schema, columns = _READ_FROM[self.audience]
        found = [_readings(batch, *columns) for batch in item.batches(schema)]
        scatter(np.concatenate(found), self.pieces / f"{item.number:05d}.npy")


def _only(schema: pa.Schema, *names: str) -> pa.Schema:
    return pa.schema([schema.field(name) for name in names])


_READ_FROM = {
    "followers": (_only(AUTHORS.schema, *AUTHOR_KEY, "fetched_at", "followers"), (3, 4)),
    # Without follower counts the most viewed post says how far an author reaches. Views have no
    # time of their own: ordered by themselves, the largest is the latest.
    "views": (_only(POSTS.schema, *AUTHOR_KEY, "views"), (3, 3)),
}


def _readings(batch: pa.RecordBatch, at: int, count: int) -> NDArray[Any]:
    values, known = numbers(batch.column(count))
    return rows_of(*key_hashes(batch.columns[:3]), known, numbers(batch.column(at))[0], values)


@dataclass(frozen=True, slots=True)
class _Sort:
    """One range of the scattered readings, sorted; answers with its folder."""

    pieces: Path
    sorted: Path

    def __call__(self, keys: tuple[int, int, int]) -> Path:
        number, low, high = keys
        folder = self.sorted / f"{number:05d}-{uuid.uuid4().hex}"
        Readings.of(gather(self.pieces, low, high, ROW)).save(folder)
        return folder


def _rule(latest: NDArray[np.float64], settings: CleanSection) -> tuple[Bounds, dict[str, Any]]:
    """Bounds over all authors with an audience, and what the report shows of them."""
    values, times, exact = distinct_counts(latest, settings.exact_up_to)
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


# -- posts --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Judge:
    """Judge an item's posts, write those that stay; answers with the count of every reason."""

    target: Target
    settings: CleanSection
    audience: Audience
    rule: Bounds | None

    def __call__(self, item: Item) -> list[int]:
        known = None
        if self.rule is not None:
            known = Known(Readings.load(self.target.scratch / "readings"), self.rule)
        counts = np.zeros(len(reasons(self.settings, self.audience)) + 1, np.int64)
        with self.target.part(item.number) as write:
            for batch in item.batches(POSTS.schema):
                judged = judge(batch, self.settings, self.audience, known)
                counts += np.bincount(judged.reason, minlength=counts.size)
                stays = pa.array(judged.reason == 0)
                write(_joined(batch, judged).filter(stays))
        return counts.tolist()


def _joined(posts: pa.RecordBatch, judged: Judged) -> pa.RecordBatch:
    more = (judged.followers, judged.followers_at, judged.age_days, judged.robust_z)
    return pa.RecordBatch.from_arrays([*posts.columns, *more], schema=KEPT_POSTS.schema)


if __name__ == "__main__":
    from spark_jobs.entry import main

    main("spark_jobs.clean", "clean")
