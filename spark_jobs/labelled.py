"""The second half of ``label``: from candidates to labels, folds and what the report shows.

Passes of work items over the candidates: a sample for the corrections, where there are any; the
ratios, scattered by author; authors' labelled and good pictures, range by range; the labels. The
cut and the dealing of authors over folds need all of them at once and are made on the driver.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from filters.author_cuts import RATIO, own_authors, pooled_authors
from filters.folds import Assignment, assign
from filters.hashing import mixed
from filters.labels import (
    Correction,
    Cut,
    author_facts,
    compared,
    correction,
    cut,
    hours,
    log10_histogram,
    log10_tenths,
    ratios,
)
from filters.quantiles import value_counts
from likewise.config import LabelSection
from likewise.errors import DataError
from likewise.tables import LABELS
from spark_jobs.frames import Counts
from spark_jobs.session import partitions
from spark_jobs.work import (
    Item,
    Target,
    gather,
    items_of,
    pieces,
    ranges,
    scatter,
    spread,
    whole_file,
)

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

__all__ = ["CANDIDATES", "labelled"]

HASHES = [pa.field("author_hash", pa.int64()), pa.field("post_hash", pa.int64())]
MADE_HERE = ("ratio", "label", "weight", "fold", "split")

CANDIDATES = pa.schema([*(f for f in LABELS.schema if f.name not in MADE_HERE), *HASHES])
"""What ``labelled`` reads: the columns of ``labels`` that are known before, and hashes of keys."""

SAMPLE = 200_000
"""Pictures, of whole authors, from which corrections and the author's part are estimated."""


def labelled(
    spark: SparkSession, candidates: Path, target: Target, settings: LabelSection, *, seed: int
) -> tuple[Counts, dict[str, Any]]:
    """Label the ``CANDIDATES`` in a folder of Parquet parts; write the table ``labels``.

    The second answer is what the report shows.

    Raises:
        DataError: no row, one class only, or too few authors for the folds.
    """
    items = items_of(candidates, partitions(spark))
    rows = sum(item.rows for item in items)
    if not rows:
        raise DataError("no picture is left to label", hint="see the funnel: likewise status")
    share = min(1.0, SAMPLE / rows)
    facts: dict[str, Any] = {"method": settings.method, "target": settings.target}
    factors = Correction()
    if settings.age_correction or settings.hour_correction:
        factors = _correction(spread(spark, _Sample(settings.target, share), items), settings)
        facts["correction"] = factors.to_dict()
    scattered = target.scratch / "ratios"
    scattered.mkdir()
    spread(spark, _Measure(settings.target, factors, scattered), items)
    at = _cut(scattered, settings) if settings.method == "pooled" else None
    if at is not None:
        facts["cut"] = at.to_dict()
    tallies = spread(spark, _Tally(target.scratch, settings, at), ranges(scattered))
    authors = np.concatenate([np.load(path) for path in tallies])
    facts["folds"] = _deal(authors, target.scratch, settings, seed)
    labels = _Label(target, settings, factors, share)
    counts, facts["author_baseline"], facts["histogram"] = _joined(spread(spark, labels, items))
    return _named(counts, _reasons(settings)), facts


def _reasons(settings: LabelSection) -> list[str]:
    margin = f"within {settings.margin:.0%} of the median"
    if settings.method == "pooled":
        return [margin]
    return [f"author has fewer than {settings.min_posts_per_author} posts", margin]


def _named(counts: list[int], names: list[str]) -> Counts:
    return Counts(sum(counts), counts[0], dict(zip(names, counts[1:], strict=True)))


# -- ratios and the cut -------------------------------------------------------------------


def _only(*names: str) -> pa.Schema:
    return pa.schema([CANDIDATES.field(name) for name in names])


MEASURED = _only("likes", "followers", "created_at", "age_days", "author_hash", "post_hash")


def _chosen(author: NDArray[np.int64], share: float) -> NDArray[np.bool_]:
    """A share of the authors, chosen by hash: the same every time."""
    part: NDArray[np.bool_] = mixed(author) % (1 << 20) < share * (1 << 20)
    return part


def _hashes(batch: pa.RecordBatch, name: str) -> NDArray[np.int64]:
    values: NDArray[np.int64] = batch.column(name).to_numpy()
    return values


@dataclass(frozen=True, slots=True)
class _Sample:
    """Uncorrected ratio, age and hour of the pictures of some authors, each of shape (n,)."""

    target: str
    share: float

    def __call__(self, item: Item) -> list[NDArray[Any]]:
        found = [self._of(batch) for batch in item.batches(MEASURED)]
        return [np.concatenate(columns) for columns in zip(*found, strict=True)]

    def _of(self, batch: pa.RecordBatch) -> list[NDArray[Any]]:
        hour = hours(batch.column("created_at"))
        stays = _chosen(_hashes(batch, "author_hash"), self.share) & (hour >= 0)
        age = batch.column("age_days").to_numpy()
        return [x[stays] for x in (ratios(batch, self.target, Correction()), age, hour)]


def _correction(samples: list[list[NDArray[Any]]], settings: LabelSection) -> Correction:
    ratio, age, hour = (np.concatenate(columns) for columns in zip(*samples, strict=True))
    return correction(
        ratio, age, hour, by_age=settings.age_correction, by_hour=settings.hour_correction
    )


@dataclass(frozen=True, slots=True)
class _Measure:
    """Scatter an item's ratios by author."""

    target: str
    factors: Correction
    scattered: Path

    def __call__(self, item: Item) -> None:
        rows, start = np.empty(item.rows, RATIO), 0
        for batch in item.batches(MEASURED):
            here = rows[start : start + batch.num_rows]
            here["key"] = _hashes(batch, "author_hash").view(np.uint64)
            here["post"] = _hashes(batch, "post_hash").view(np.uint64)
            here["ratio"] = ratios(batch, self.target, self.factors)
            start += batch.num_rows
        scatter(rows, self.scattered / f"{item.number:05d}.npy")


def _cut(scattered: Path, settings: LabelSection) -> Cut:
    def chunks() -> Iterator[NDArray[np.float64]]:
        for piece in pieces(scattered):
            yield piece["ratio"]

    margin = settings.margin
    values, counts = value_counts(chunks, [0.5 - margin, 0.5, 0.5 + margin])
    return cut(values, counts, margin=margin)


# -- authors ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Tally:
    """Labelled and good pictures of the authors of one range of keys; answers with their file."""

    scratch: Path
    settings: LabelSection
    at: Cut | None

    def __call__(self, keys: tuple[int, int, int]) -> Path:
        number, low, high = keys
        rows = gather(self.scratch / "ratios", low, high, RATIO)
        if self.at is not None:
            authors = pooled_authors(rows, self.at)
        else:
            least = self.settings.min_posts_per_author
            authors = own_authors(rows, self.settings.margin, least)
        path = self.scratch / f"authors-{number:05d}.npy"
        with whole_file(path, self.scratch) as staged, staged.open("wb") as file:
            np.save(file, authors)
        return path


def _deal(
    authors: NDArray[Any], scratch: Path, settings: LabelSection, seed: int
) -> dict[str, Any]:
    """Deal authors over folds, keep the answer in ``scratch``, tell the balance."""
    dealt = authors[authors["n"] > 0]
    keys, sizes, good = dealt["key"].view(np.int64), dealt["n"], dealt["good"]
    if not keys.size:
        raise DataError("no picture is left to label", hint="lower [label] margin or its minimum")
    if good.sum() in (0, sizes.sum()):
        raise DataError(
            "all pictures have the same label", hint="collect more, or lower the margin"
        )
    assigned = assign(
        keys, sizes, good, folds=settings.folds, test_fraction=settings.test_fraction, seed=seed
    )
    fold, test = np.full(authors.size, -1, np.int32), np.zeros(authors.size, np.bool_)
    fold[authors["n"] > 0], test[authors["n"] > 0] = assigned.fold, assigned.test
    columns = {name: authors[name] for name in ("key", "low", "high", "enough")}
    for name, column in {**columns, "fold": fold, "test": test}.items():
        np.save(scratch / f"{name}.npy", column)
    return _balance(assigned, sizes, good, settings.folds)


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


# -- labels -------------------------------------------------------------------------------


@dataclass(slots=True)
class _Answer:
    """Of one item: rows by reason, by tenth of log10(ratio), and a sample of whole authors."""

    counts: NDArray[np.int64]
    tenths: Counter[tuple[int | None, int]]
    sample: list[list[NDArray[Any]]]


@dataclass(frozen=True, slots=True)
class _Label:
    """Label an item's candidates and write those that stay."""

    target: Target
    settings: LabelSection
    factors: Correction
    share: float

    def __call__(self, item: Item) -> _Answer:
        names = ("key", "low", "high", "enough", "fold", "test")
        authors = {
            name: np.load(self.target.scratch / f"{name}.npy", mmap_mode="r") for name in names
        }
        answer = _Answer(np.zeros(len(_reasons(self.settings)) + 1, np.int64), Counter(), [])
        with self.target.part(item.number) as write:
            for batch in item.batches(CANDIDATES):
                write(self._of(batch, authors, answer))
        return answer

    def _of(
        self, batch: pa.RecordBatch, authors: dict[str, NDArray[Any]], answer: _Answer
    ) -> pa.RecordBatch:
        key = _hashes(batch, "author_hash")
        author = _places(authors["key"], key.view(np.uint64))
        ratio = ratios(batch, self.settings.target, self.factors)
        label = compared(ratio, authors["low"][author], authors["high"][author])
        holds = [label < 0]
        if self.settings.method == "per-author":
            holds.insert(0, ~authors["enough"][author])
        reason = np.select(holds, range(1, len(holds) + 1), 0)
        answer.counts += np.bincount(reason, minlength=answer.counts.size)
        stays = reason == 0
        ratio, label, key, author = ratio[stays], label[stays], key[stays], author[stays]
        answer.tenths += log10_tenths(ratio, label)
        chosen = _chosen(key, self.share)
        answer.sample.append([x[chosen] for x in (key, label, ratio)])
        known = batch.filter(pa.array(stays)).drop_columns([field.name for field in HASHES])
        split = pa.DictionaryArray.from_arrays(
            authors["test"][author].astype(np.int8), ["train", "test"]
        ).cast(pa.string())
        more = (ratio, label, np.ones(ratio.size), authors["fold"][author], split)
        return pa.RecordBatch.from_arrays(
            [*known.columns, *map(pa.array, more)], schema=LABELS.schema
        )


def _places(keys: NDArray[np.uint64], wanted: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Where each of ``wanted`` stands in the sorted ``keys``, all of which are there."""
    order = np.argsort(wanted)
    answer = np.empty(wanted.size, np.int64)
    answer[order] = np.searchsorted(keys, wanted[order])
    return answer


def _joined(answers: list[_Answer]) -> tuple[list[int], dict[str, Any], dict[str, Any]]:
    """Rows by reason, the author's part in the labels, and the histogram."""
    counts = np.sum([answer.counts for answer in answers], axis=0)
    sample = [columns for answer in answers for columns in answer.sample]
    author, label, ratio = (np.concatenate(columns) for columns in zip(*sample, strict=True))
    order = np.lexsort((ratio, label, author))
    baseline = author_facts(ratio[order], label[order], author[order])
    tenths = sum((answer.tenths for answer in answers), start=Counter())
    return counts.tolist(), baseline, log10_histogram(tenths)
