"""Parts of ``fetches`` and ``pictures`` from rows of the spool: what is new, and little else.

A part of a published table stays as it is while each of its rows is still wanted; small ones are
joined when there are many. Fetches that brought a picture and those that did not go to parts of
their own, so that a picture which comes at the second try makes no other row be written again. A
fetch whose post is not kept any more stays when it brought a picture: it is what it is, whoever
asks. A picture is there once, and as long as a fetch names it.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from collectors.downloading.plan import KEY, Key, Plan
from collectors.downloading.store import Store, rows_of
from likewise.compaction import LARGE, SMALL
from likewise.errors import LikewiseError
from likewise.pictures import GROUP_BYTES, GROUP_ROWS, pictures_writer
from likewise.progress import Bar
from likewise.store import PartFacts
from likewise.tables import FETCHES, PICTURES, bucket_of

__all__ = ["Facts", "fold"]

MOST_SMALL = 8
"""Small parts of a bucket, or of ``pictures``, that a run leaves: a night adds one or two."""

SMALL_FETCHES = 4_000_000
"""Bytes of a part of ``fetches``, below which it is small; for ``pictures`` it is ``SMALL``."""

_CONTENT = ("status", "error_class", "picture_id", "width", "height")
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
    kept: dict[str, list[str]] = field(default_factory=dict)
    """Table -> parts of its published version that stay, by their names in it."""


@dataclass(slots=True)
class _Row:
    """The best row of a key: its place among the bucket's rows, and what the digest covers.

    ``source`` is -1, -2, ... for the bucket's published parts, 0 for the spool.
    """

    rank: tuple[bool, dt.datetime]
    source: int
    index: int
    content: tuple[object, ...]


def fold(plan: Plan, store: Store, bar: Bar) -> Facts:
    """Write every bucket of the plan, and the pictures, below ``store.folded``."""
    store.rows.refresh()
    facts = Facts(kept={"fetches": []})
    digest = hashlib.sha256()
    shown: set[str] = set()
    sizes = store.sizes("fetches")
    for bucket in range(plan.n_buckets):
        wanted = sorted({item.key for item in plan.items(bucket)})
        rows, best = _best_rows(store, bucket)
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
        shown.update(str(row.content[2]) for row in stays.values() if row.rank[0])
        facts.kept["fetches"] += _write_bucket(store, bucket, rows, stays, sizes)
        bar.advance()
    facts.kept["pictures"] = _write_pictures(store, shown)
    facts.content = digest.hexdigest()
    return facts


# -- fetches --------------------------------------------------------------------------------


def _best_rows(store: Store, bucket: int) -> tuple[pa.Table, dict[Key, _Row]]:
    """The bucket's rows, and the best of each key: with a picture before without, then latest."""
    batches: list[pa.RecordBatch] = []
    best: dict[Key, _Row] = {}
    start = 0
    columns = FETCHES.schema.names
    for source, batch in _sources(store, bucket):
        _offer(best, batch, store.holds(batch), source, start)
        batches.append(batch.select(columns))
        start += batch.num_rows
    return pa.Table.from_batches(batches, FETCHES.schema), best


def _sources(store: Store, bucket: int) -> Iterator[tuple[int, pa.RecordBatch]]:
    for number, part in enumerate(store.fetch_parts(bucket)):
        for batch in rows_of(part, FETCHES.schema.names):
            yield -1 - number, batch
    for batch in store.rows.batches(bucket):
        yield 0, batch


def _offer(
    best: dict[Key, _Row], batch: pa.RecordBatch, holds: list[bool], source: int, start: int
) -> None:
    columns = [batch[name].to_pylist() for name in _SEEN]
    for index, values in enumerate(zip(*columns, strict=True)):
        if not holds[index]:
            continue
        key: Key = values[:4]
        content = values[4:-1]
        rank = (content[0] == "ok", values[-1] or _EPOCH)
        held = best.get(key)
        if held is None or rank > held.rank:
            best[key] = _Row(rank, source, start + index, content)


def _count(facts: Facts, key: Key, row: _Row) -> None:
    status, reason = str(row.content[0]), row.content[1]
    facts.status[status] += 1
    if status != "ok":
        facts.reasons[str(reason)] += 1
    if status == "failed":
        facts.failed_reasons[str(reason)] += 1
        if row.source >= 0:
            facts.failed.append(("/".join(map(str, key)), str(reason)))


def _write_bucket(
    store: Store,
    bucket: int,
    rows: pa.Table,
    stays: dict[Key, _Row],
    sizes: Mapping[str, PartFacts],
) -> list[str]:
    """Write what no part that stays holds; returns the names of those parts."""
    target = store.folded / f"bucket={bucket:04d}"
    staged = target.with_name(f".{target.name}")
    shutil.rmtree(staged, ignore_errors=True)
    staged.mkdir(parents=True)
    held = Counter(row.source for row in stays.values())
    names = [part.rsplit("/", 1)[-1] for part in store.fetch_parts(bucket)]
    whole = [n for n, name in enumerate(names) if held[-1 - n] == sizes[name].rows]
    keep = _without_small(whole, [sizes[names[n]].size for n in whole], SMALL_FETCHES)
    new = [row for _, row in sorted(stays.items()) if -1 - row.source not in keep]
    for name, good in (("part", True), ("none", False)):
        chosen = [row.index for row in new if row.rank[0] == good]
        if chosen:
            pq.write_table(
                rows.take(pa.array(chosen)),
                staged / f"{name}-0000.parquet",
                compression="zstd",
                use_dictionary=["platform", "host", "status", "error_class"],
                write_page_checksum=True,
            )
    os.replace(staged, target)
    return [names[n] for n in sorted(keep)]


def _without_small(parts: Iterable[int], sizes: Iterable[int], small: int) -> set[int]:
    """These parts, or the large ones only when there are many small ones."""
    pairs = list(zip(parts, sizes, strict=True))
    large = {part for part, size in pairs if size >= small}
    return large if len(pairs) - len(large) > MOST_SMALL else {part for part, _ in pairs}


# -- pictures -------------------------------------------------------------------------------


def _write_pictures(store: Store, shown: set[str]) -> list[str]:
    """Write the pictures that no part that stays holds; returns the names of those parts."""
    target = store.folded / "pictures"
    staged = target.with_name(".pictures")
    shutil.rmtree(staged, ignore_errors=True)
    staged.mkdir(parents=True)
    ids, sizes = store.picture_ids, store.sizes("pictures")
    parts = list(ids)
    names = [part.rsplit("/", 1)[-1] for part in parts]
    whole = [n for n, part in enumerate(parts) if shown.issuperset(ids[part])]
    keep = _without_small(whole, [sizes[names[n]].size for n in whole], SMALL)
    left = shown.difference(*(ids[parts[n]] for n in keep))
    with _Writer(staged) as writer:
        for row in _stored(store, [part for n, part in enumerate(parts) if n not in keep], left):
            writer.write(row)
        for row in _spooled(store, left):
            writer.write(row)
    if left:
        raise LikewiseError(
            f"{len(left)} pictures have no bytes, the first is {min(left)}",
            hint="this is a bug in the download; please report it with logs/",
        )
    os.replace(staged, target)
    return [names[n] for n in sorted(keep)]


def _stored(store: Store, parts: Iterable[str], left: set[str]) -> Iterator[pa.RecordBatch]:
    """Single rows that are left, of published parts and of those looked at again; takes them."""
    batches = (batch for part in parts for batch in rows_of(part))
    for source in (batches, store.anew.all_batches()):
        for batch in source:
            for index, picture_id in enumerate(batch["picture_id"].to_pylist()):
                if picture_id in left:
                    left.discard(picture_id)
                    yield batch.slice(index, 1)


def _spooled(store: Store, left: set[str]) -> Iterator[pa.RecordBatch]:
    """Single rows of the spool that bring what is left, by their ids; takes them out."""
    found: dict[str, tuple[int, int, int]] = {}
    for bucket in range(store.n_buckets):
        for number, batch in enumerate(store.rows.batches(bucket)):
            own = batch["bytes"].is_valid().to_pylist()
            ids = batch["picture_id"].to_pylist()
            for index, (picture_id, brings) in enumerate(zip(ids, own, strict=True)):
                if brings and picture_id in left:
                    found.setdefault(picture_id, (bucket, number, index))
    left.difference_update(found)
    schema = PICTURES.schema
    for picture_id, (bucket, number, index) in sorted(found.items()):
        # The batch is a mapped file that is let go with the row, so that memory stays flat.
        row = store.rows.batch(bucket, number).slice(index, 1)
        own = {"bucket": pa.array([bucket_of(picture_id, store.n_buckets)], pa.int32())}
        columns = [own.get(name, row[name]) for name in schema.names]
        yield pa.RecordBatch.from_arrays(columns, schema=schema)


class _Writer:
    """Parts of ``pictures`` in a folder, from single rows."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writer: pq.ParquetWriter | None = None
        self._held: list[pa.RecordBatch] = []
        self._held_bytes = self._part_bytes = self._parts = 0

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self._flush()
        self._close()

    def write(self, row: pa.RecordBatch) -> None:
        """Take a row."""
        self._held.append(row)
        self._held_bytes += row["n_bytes"][0].as_py()
        if len(self._held) >= GROUP_ROWS or self._held_bytes >= GROUP_BYTES:
            self._flush()

    def _flush(self) -> None:
        if not self._held:
            return
        if self._writer is None:
            self._writer = pictures_writer(self._folder / f"pictures-{self._parts:04d}.parquet")
            self._parts += 1
        # Rows are views of files or of whole batches until they are copied here.
        self._writer.write_table(
            pa.Table.from_batches(self._held, PICTURES.schema).combine_chunks()
        )
        self._part_bytes += self._held_bytes
        self._held, self._held_bytes = [], 0
        if self._part_bytes >= LARGE:
            self._close()

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._writer, self._part_bytes = None, 0
