"""Pictures that wait to be looked at, cut into tasks, and their bytes for the workers."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from likewise.errors import StudyError
from likewise.store import parquet_file
from likewise.study import Study

if TYPE_CHECKING:
    import pyarrow.parquet as pq

__all__ = ["Chunk", "bytes_of", "chunks", "distinct_pictures", "missing_from"]

LEAST, MOST = 16, 512
"""Pictures in a task: few enough to lose little, enough for parts of some megabytes."""

SHA256 = 64


@dataclass(frozen=True, slots=True)
class Chunk:
    """Work of one task: part of ``pictures`` -> picture_id -> bucket; and ids with no picture."""

    wanted: dict[str, dict[str, int]] = field(default_factory=dict)
    without: dict[str, int] = field(default_factory=dict)

    @property
    def ids(self) -> list[str]:
        """All pictures of the task."""
        return [*(one for own in self.wanted.values() for one in own), *self.without]

    @property
    def buckets(self) -> dict[str, int]:
        """picture_id -> bucket."""
        return {one: at for own in (*self.wanted.values(), self.without) for one, at in own.items()}


def distinct_pictures(study: Study) -> pa.Array:
    """Ids of all pictures that were fetched and are in order."""
    found = study.read("pictures", ["picture_id"], filter=pc.field("status") == "ok")
    return found["picture_id"].unique()


def missing_from(wanted: pa.Array, known: pa.Array) -> pa.Array:
    """Those of ``wanted`` that are not ``known``."""
    return wanted.filter(pc.invert(pc.is_in(wanted, value_set=known)))


def chunks(study: Study, missing: pa.Array, workers: int) -> list[Chunk]:
    """Cut ``missing`` pictures into tasks, each reading as few parts as can be."""
    if not len(missing):
        return []
    size = min(MOST, max(LEAST, -(-len(missing) // (4 * workers))))
    left = set(missing.to_pylist())
    cut: list[Chunk] = []
    room = 0
    for part in study.parts("pictures"):
        for picture_id, bucket in _here(part, left):
            if not room:
                cut.append(Chunk())
                room = size
            cut[-1].wanted.setdefault(part, {})[picture_id] = bucket
            room -= 1
    if left:
        cut.append(Chunk(without=dict.fromkeys(sorted(left), 0)))
    return cut


def _here(part: str, left: set[str]) -> Iterator[tuple[str, int]]:
    """(picture_id, bucket) of the pictures of a part that are left; takes them out."""
    with parquet_file(part) as file:
        table = file.read(columns=["picture_id", "bucket", "status"])
    rows = table.filter(pc.equal(table["status"], "ok"))
    columns = rows["picture_id"].to_pylist(), rows["bucket"].to_pylist()
    for picture_id, bucket in zip(*columns, strict=True):
        if picture_id in left:
            left.discard(picture_id)
            yield picture_id, bucket


def bytes_of(part: str, wanted: Collection[str]) -> Iterator[tuple[str, bytes]]:
    """(picture_id, file) of the wanted pictures of a part, in its order.

    Only row groups that hold one of them are read.

    Raises:
        StudyError: a file is not the one that was fetched: its sha256 is not its picture_id.
    """
    left = set(wanted)
    with parquet_file(part) as file:
        for group in range(file.num_row_groups):
            yield from _group(file, group, left, part)


def _group(
    file: pq.ParquetFile, group: int, left: set[str], part: str
) -> Iterator[tuple[str, bytes]]:
    ids = file.read_row_group(group, columns=["picture_id"])["picture_id"]
    if left.isdisjoint(ids.to_pylist()):
        return
    for batch in file.iter_batches(16, [group], ["picture_id", "bytes"], use_threads=False):
        for row, picture_id in enumerate(batch["picture_id"].to_pylist()):
            if picture_id not in left or not batch["bytes"][row].is_valid:
                continue
            left.discard(picture_id)
            data = batch["bytes"][row].as_py()
            if len(picture_id) == SHA256 and hashlib.sha256(data).hexdigest() != picture_id:
                raise StudyError(
                    f"{part}: picture {picture_id} is not what was fetched: its bytes have changed",
                    hint="look at the disk; likewise download --retry damaged fetches it again",
                )
            yield picture_id, data
