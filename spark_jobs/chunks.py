"""Pictures that wait to be looked at, cut into tasks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from likewise.store import parquet_file
from likewise.study import Study

__all__ = ["Chunk", "chunks", "distinct_pictures", "missing_from"]

LEAST, MOST = 16, 512
"""Pictures in a task: few enough to lose little, enough for parts of some megabytes."""


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
    return study.read("pictures", ["picture_id"])["picture_id"].combine_chunks()


def missing_from(wanted: pa.Array, known: pa.Array) -> pa.Array:
    """Those of ``wanted`` that are not ``known``."""
    return wanted.filter(pc.invert(pc.is_in(wanted, value_set=known)))


def chunks(study: Study, missing: pa.Array, workers: int) -> list[Chunk]:
    """Cut ``missing`` pictures into tasks, each reading as few parts as can be."""
    if not len(missing):
        return []
    size = min(MOST, max(LEAST, -(-len(missing) // (2 * workers))))
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
        rows = file.read(columns=["picture_id", "bucket"])
    columns = rows["picture_id"].to_pylist(), rows["bucket"].to_pylist()
    for picture_id, bucket in zip(*columns, strict=True):
        if picture_id in left:
            left.discard(picture_id)
            yield picture_id, bucket
