"""Buckets of the pictures table from old rows and new ones, sorted by key, with little memory."""

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
from collectors.downloading.store import Store
from likewise.errors import LikewiseError
from likewise.progress import Bar
from likewise.store import local_path
from likewise.tables import PICTURES

__all__ = ["Facts", "fold"]

GROUP_ROWS = 64
GROUP_BYTES = 16_000_000
"""A row group is what a reader holds at once."""

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


@dataclass(slots=True)
class _Row:
    """The best row of a key: its place, and what the digest covers."""

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
        _write_bucket(store, bucket, [(key, best[key]) for key in wanted], len(best))
        bar.advance()
    facts.content = digest.hexdigest()
    return facts


def _best_rows(store: Store, bucket: int) -> dict[Key, _Row]:
    """Best row of each key: one with a picture before one without, then the latest.

    Batches are numbered from 0 in the spool; those of the published table have number -1 and
    their rows are counted through.
    """
    best: dict[Key, _Row] = {}
    index = 0
    for batch in store.published(bucket, _SEEN):
        _offer(best, batch, -1, index)
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


def _write_bucket(store: Store, bucket: int, rows: list[tuple[Key, _Row]], n_known: int) -> None:
    target = store.folded / f"bucket={bucket:04d}"
    staged = target.with_name(f".{target.name}")
    shutil.rmtree(staged, ignore_errors=True)
    staged.mkdir(parents=True)
    old = [local_path(part) for part in store.published_parts(bucket)]
    unchanged = len(rows) == n_known and all(row.batch < 0 for _, row in rows)
    if len(old) == 1 and old[0] is not None and unchanged:
        _link_or_copy(old[0], staged / "part-0000.parquet")
    else:
        _write_part(store, bucket, [row for _, row in rows], staged / "part-0000.parquet")
    os.replace(staged, target)


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


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
    published = _Cursor(store.published(bucket))
    # Batches are mapped files: they are let go after each group, so that memory stays flat.
    mapped: dict[int, pa.RecordBatch] = {}
    slices: list[pa.RecordBatch] = []
    size = 0
    for row in rows:
        if row.batch < 0:
            source = published.at(row.index)
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
