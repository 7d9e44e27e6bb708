"""Parts of the pictures table from rows of the spool: what is new, and little else.

A part of the published table stays as it is while each of its rows is the best of its key; small
ones are joined when a bucket has many. Rows with a picture and rows without one go to parts of
their own, so that a picture which comes at the second try makes no other be written again. A
picture whose post is not kept any more stays: it is what it is, whoever asks.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from collectors.downloading.plan import KEY, Key, Plan
from collectors.downloading.store import Store, rows_of
from likewise.errors import LikewiseError
from likewise.progress import Bar
from likewise.tables import PICTURES

__all__ = ["Facts", "fold"]

GROUP_ROWS = 64
GROUP_BYTES = 16_000_000
"""A row group is what a reader holds at once."""

SMALL = 4_000_000
MOST_SMALL = 8
"""Parts of a bucket below so many bytes are joined when there are more of them."""

_CONTENT = ("status", "error_class", "picture_id", "format", "width", "height", "phash")
_SEEN = (*KEY, *_CONTENT, "fetched_at")

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


@dataclass(slots=True)
class Facts:
    """What the folded rows are: by status and reason, failures of this run, digest."""

    status: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    failed_reasons: Counter[str] = field(default_factory=Counter)
    failed: list[tuple[str, str]] = field(default_factory=list)
    content: str = ""
    kept: list[str] = field(default_factory=list)
    """Parts of the published table that stay, by their names in it."""


@dataclass(slots=True)
class _Row:
    """The best row of a key: its place, and what the digest covers.

    ``batch`` is a batch of the spool, from 0; or -1, -2, ... for the bucket's published parts.
    """

    rank: tuple[bool, dt.datetime]
    batch: int
    index: int
    content: tuple[object, ...]


def fold(plan: Plan, store: Store, bar: Bar) -> Facts:
    """Write every bucket of the plan below ``store.folded``."""
    store.rows.refresh()
    facts = Facts()
    digest = hashlib.sha256()
    for bucket in range(plan.n_buckets):
        wanted = sorted({item.key for item in plan.items(bucket)})
        best = _best_rows(store, bucket)
        missing = [key for key in wanted if key not in best]
        if missing:
            first = "/".join(map(str, missing[0]))
            raise LikewiseError(
                f"{len(missing)} pictures have no row, the first is {first}",
                hint="this is a bug in the download; please report it with logs/",
            )
        for key in wanted:
            row = best[key]
            digest.update(repr((key, row.content)).encode())
            _count(facts, key, row)
        stays = {key: row for key, row in best.items() if row.rank[0]}
        stays |= {key: best[key] for key in wanted}
        facts.kept += _write_bucket(store, bucket, stays)
        bar.advance()
    facts.content = digest.hexdigest()
    return facts


def _best_rows(store: Store, bucket: int) -> dict[Key, _Row]:
    """Best row of each key: one with a picture before one without, then the latest."""
    best: dict[Key, _Row] = {}
    for number, part in enumerate(store.published_parts(bucket)):
        index = 0
        for batch in rows_of(part, _SEEN):
            _offer(best, batch, -1 - number, index)
            index += batch.num_rows
    for number, batch in enumerate(store.rows.batches(bucket)):
        _offer(best, batch.select(list(_SEEN)), number, 0)
    return best


def _offer(best: dict[Key, _Row], batch: pa.RecordBatch, number: int, start: int) -> None:
    columns = [batch[name].to_pylist() for name in _SEEN]
    for index, values in enumerate(zip(*columns, strict=True), start):
        key: Key = values[:4]
        content = values[4:-1]
        rank = (content[0] == "ok", values[-1] or _EPOCH)
        held = best.get(key)
        if held is None or rank > held.rank:
            best[key] = _Row(rank, number, index, content)


def _count(facts: Facts, key: Key, row: _Row) -> None:
    status, reason = str(row.content[0]), row.content[1]
    facts.status[status] += 1
    if status != "ok":
        facts.reasons[str(reason)] += 1
    if status == "failed":
        facts.failed_reasons[str(reason)] += 1
        if row.batch >= 0:
            facts.failed.append(("/".join(map(str, key)), str(reason)))


def _write_bucket(store: Store, bucket: int, rows: dict[Key, _Row]) -> list[str]:
    """Write what no part that stays holds; returns the names of those parts."""
    target = store.folded / f"bucket={bucket:04d}"
    staged = target.with_name(f".{target.name}")
    shutil.rmtree(staged, ignore_errors=True)
    staged.mkdir(parents=True)
    stay = _parts_that_stay(store, bucket, rows)
    new = [row for _, row in sorted(rows.items()) if row.batch not in stay]
    for name, good in (("part", True), ("none", False)):
        chosen = [row for row in new if row.rank[0] == good]
        if chosen:
            _write_part(store, bucket, chosen, staged / f"{name}-0000.parquet")
    os.replace(staged, target)
    return list(stay.values())


def _parts_that_stay(store: Store, bucket: int, rows: dict[Key, _Row]) -> dict[int, str]:
    """Number (-1, -2, ...) of each published part that needs no change -> its name."""
    held = Counter(row.batch for row in rows.values())
    stay: dict[int, str] = {}
    small: list[int] = []
    facts = store.published_facts()
    for number, part in enumerate(store.published_parts(bucket)):
        name = part.rsplit("/", 1)[-1]
        if held[-1 - number] == facts[name].rows:
            stay[-1 - number] = name
            small += [-1 - number] if facts[name].size < SMALL else []
    if len(small) > MOST_SMALL:
        for number in small:
            del stay[number]
    return stay


def _write_part(store: Store, bucket: int, rows: list[_Row], path: Path) -> None:
    plain = [name for name in PICTURES.schema.names if name != "bytes"]
    with pq.ParquetWriter(
        path,
        PICTURES.schema,
        # Pictures are compressed already; their smallest and largest bytes tell nothing.
        compression={**dict.fromkeys(plain, "zstd"), "bytes": "none"},
        use_dictionary=["platform", "host", "format", "status", "error_class"],
        write_statistics=plain,
        write_page_checksum=True,
    ) as writer:
        for group in _groups(store, bucket, rows):
            writer.write_table(group)


def _groups(store: Store, bucket: int, rows: list[_Row]) -> Iterator[pa.Table]:
    """Rows in their order, some megabytes at a time."""
    parts = [_Cursor(rows_of(part)) for part in store.published_parts(bucket)]
    # Batches are mapped files: they are let go after each group, so that memory stays flat.
    mapped: dict[int, pa.RecordBatch] = {}
    slices: list[pa.RecordBatch] = []
    size = 0
    for row in rows:
        if row.batch < 0:
            source = parts[-1 - row.batch].at(row.index)
        else:
            if row.batch not in mapped:
                mapped[row.batch] = store.rows.batch(bucket, row.batch)
            source = mapped[row.batch].slice(row.index, 1)
        slices.append(source)
        size += source["n_bytes"][0].as_py() or 0
        if len(slices) >= GROUP_ROWS or size >= GROUP_BYTES:
            yield pa.Table.from_batches(slices, PICTURES.schema).combine_chunks()
            mapped, slices, size = {}, [], 0
    if slices:
        yield pa.Table.from_batches(slices, PICTURES.schema).combine_chunks()


class _Cursor:
    """Single rows of a stream of batches; the asked indices must not fall."""

    def __init__(self, batches: Iterator[pa.RecordBatch]) -> None:
        self._batches = batches
        self._batch: pa.RecordBatch | None = None
        self._start = 0

    def at(self, index: int) -> pa.RecordBatch:
        """Row ``index`` of the whole stream."""
        while self._batch is None or index >= self._start + self._batch.num_rows:
            self._start += 0 if self._batch is None else self._batch.num_rows
            self._batch = next(self._batches)
        return self._batch.slice(index - self._start, 1)
