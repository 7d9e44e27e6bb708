"""Rows on disk by bucket, in small files that are whole or absent.

A part is an Arrow IPC file with one record batch for each bucket that has rows in it. Parts are
memory-mapped when they are read, so that looking at keys and states does not load the pictures.
"""

from __future__ import annotations

import os
import uuid
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

__all__ = ["Parts"]


class Parts:
    """A folder of parts; column ``by`` (int32) of a row is its bucket."""

    def __init__(self, folder: Path, schema: pa.Schema, *, by: str = "bucket") -> None:
        self.folder = folder
        self.schema = schema
        self.by = by
        self._index: dict[int, list[tuple[Path, int]]] | None = None

    def write(self, rows: pa.Table, name: str | None = None) -> None:
        """Add a part. ``name`` makes a repeated write replace the earlier one."""
        if not rows.num_rows:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        target = self.folder / f"{name or uuid.uuid4().hex}.arrow"
        staged = target.with_suffix(f".{os.getpid()}.tmp")
        with pa.OSFile(str(staged), "wb") as file, pa.ipc.new_file(file, self.schema) as writer:
            for batch in _split(rows, self.by):
                writer.write_batch(batch)
        os.replace(staged, target)
        self._index = None

    def batches(self, bucket: int) -> Iterator[pa.RecordBatch]:
        """Batches of one bucket, in the order in which they were written."""
        for number in range(len(self._located()[bucket])):
            yield self.batch(bucket, number)

    def batch(self, bucket: int, number: int) -> pa.RecordBatch:
        """Batch ``number`` of one bucket; its pages are let go with it."""
        path, position = self._located()[bucket][number]
        with pa.memory_map(str(path)) as file:
            return pa.ipc.open_file(file).get_batch(position)

    def all_batches(self) -> Iterator[pa.RecordBatch]:
        """Every batch, bucket by bucket."""
        for bucket in sorted(self._located()):
            yield from self.batches(bucket)

    def paths(self) -> list[Path]:
        """Whole parts, oldest first."""
        found = self.folder.glob("*.arrow") if self.folder.is_dir() else ()
        return sorted(found, key=lambda path: (path.stat().st_mtime_ns, path.name))

    def refresh(self) -> None:
        """Look at the folder anew: other processes may have written parts."""
        self._index = None

    def count(self, path: Path) -> int:
        """Rows of one part."""
        with pa.memory_map(str(path)) as file:
            part = pa.ipc.open_file(file)
            return sum(part.get_batch(n).num_rows for n in range(part.num_record_batches))

    def _located(self) -> dict[int, list[tuple[Path, int]]]:
        if self._index is None:
            index: dict[int, list[tuple[Path, int]]] = defaultdict(list)
            for path in self.paths():
                for number, bucket in enumerate(_buckets_in(path, self.by)):
                    index[bucket].append((path, number))
            self._index = index
        return self._index


def _split(rows: pa.Table, by: str) -> Iterator[pa.RecordBatch]:
    buckets = rows[by].to_numpy()
    order = np.argsort(buckets, kind="stable")
    edges = np.flatnonzero(np.diff(buckets[order])) + 1
    if not len(edges):  # nothing to sort: large pictures come one by one, and are not copied
        yield from rows.combine_chunks().to_batches()
        return
    for chosen in np.split(order, edges):
        yield from rows.take(pa.array(chosen)).combine_chunks().to_batches()


def _buckets_in(path: Path, by: str) -> list[int]:
    """Bucket of each batch of a part; none when a power cut has left it broken."""
    try:
        with pa.memory_map(str(path)) as file:
            part = pa.ipc.open_file(file)
            return [
                int(part.get_batch(number)[by][0].as_py())
                for number in range(part.num_record_batches)
            ]
    except pa.ArrowInvalid:
        path.unlink()
        return []
