"""Parquet tables as work items: Spark hands them out, Python workers read and write the Parquet.

Rows then never pass through the JVM, and columns that a stage only copies stay columns. The price
is a folder that all executors see, as for ``extract``. A task may run twice (a retry, a speculative
copy): what it writes has a name of its own until it is whole, and the same content both times.
"""

from __future__ import annotations

import bisect
import contextlib
import itertools
import os
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from likewise.errors import DataError
from likewise.store import open_part
from likewise.tables import TABLES

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

__all__ = [
    "Item",
    "Target",
    "gather",
    "items_of",
    "pieces",
    "ranges",
    "scatter",
    "spread",
    "whole_file",
]

T = TypeVar("T")
R = TypeVar("R")

BATCH_ROWS = 1 << 16
GROUP_ROWS, GROUP_BYTES = 1 << 17, 1 << 26
"""A row group is closed at whichever comes first."""

ITEM_ROWS = 500_000
"""Rows of a work item: many for each core, so that the last ones end together."""

RANGE_ROWS = 2_000_000
"""Rows of a range of keys that one worker sorts: about 200 MB."""


def spread(spark: SparkSession, work: Callable[[T], R], things: Sequence[T]) -> list[R]:
    """``work`` of each thing, each a Spark task, in their order.

    ``work`` and its answers are pickled; it may run twice for one thing.
    """
    if not things:
        return []
    return spark.sparkContext.parallelize(things, len(things)).map(work).collect()


# -- reading ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Item:
    """Row groups of a table's Parquet parts: what one task reads."""

    number: int
    rows: int
    groups: tuple[tuple[str, tuple[int, ...]], ...]

    def batches(self, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        """The rows, some ten thousand at a time, with exactly the columns of ``schema``.

        Columns that the part has not are null.

        Raises:
            DataError: a part lacks a key column, or has a column of another type.
        """
        for path, groups in self.groups:
            with pq.ParquetFile(open_part(path), pre_buffer=False) as file:
                here = [name for name in schema.names if name in file.schema_arrow.names]
                for batch in file.iter_batches(
                    BATCH_ROWS, row_groups=list(groups), columns=here, use_threads=False
                ):
                    yield _conformed(batch, schema, path)


def items_of(parts: Path | Sequence[str], at_least: int = 1) -> list[Item]:
    """Parquet parts, or those in a folder, as items of similar size, by whole row groups.

    There are ``at_least`` so many, or as many as there are row groups.
    """
    if isinstance(parts, Path):
        found = sorted(parts.rglob("*.parquet"))
        parts = [str(path) for path in found if not path.name.startswith(".")]
    groups: list[_Group] = []
    for part in parts:
        footer = pq.read_metadata(open_part(part))
        sizes = [footer.row_group(number).num_rows for number in range(footer.num_row_groups)]
        groups += [_Group(part, at, rows) for at, rows in enumerate(sizes) if rows]
    total = sum(group.rows for group in groups)
    n = max(at_least, -(-total // ITEM_ROWS))
    dealt: dict[int, list[_Group]] = {}
    before = 0
    for group in groups:  # each belongs where its middle lies
        dealt.setdefault((2 * before + group.rows) * n // (2 * total), []).append(group)
        before += group.rows
    return [_item(number, own) for number, own in enumerate(dealt.values())]


class _Group(NamedTuple):
    path: str
    number: int
    rows: int


def _item(number: int, groups: list[_Group]) -> Item:
    by_path = itertools.groupby(groups, key=lambda group: group.path)
    numbers = tuple((path, tuple(group.number for group in own)) for path, own in by_path)
    return Item(number, sum(group.rows for group in groups), numbers)


def _conformed(batch: pa.RecordBatch, schema: pa.Schema, path: str) -> pa.RecordBatch:
    columns = []
    for field in schema:
        at = batch.schema.get_field_index(field.name)
        if at < 0 and not field.nullable:
            raise DataError(f"{path}: column {field.name!r} ({field.type}) is missing")
        column = pa.nulls(batch.num_rows, field.type) if at < 0 else batch.column(at)
        try:
            columns.append(column.cast(field.type))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise DataError(
                f"{path}: column {field.name!r} is {column.type}, expected {field.type}"
            ) from error
    return pa.RecordBatch.from_arrays(columns, schema=schema)


# -- writing ------------------------------------------------------------------------------

# Columns whose values nearly all differ: a dictionary of them is built in vain, and dearly.
ALL_DIFFERENT = frozenset(
    [
        *("post_id", "author_id", "picture_id", "url", "text", "created_at", "collected_at"),
        *("media.list.element.url", "media.list.element.preview_url", "media.list.element.alt"),
        *("age_days", "ratio"),
    ]
)


@dataclass(frozen=True, slots=True)
class Target:
    """Where the parts of ``table`` go, and a scratch folder on the same disk."""

    table: str
    folder: Path
    scratch: Path

    @contextlib.contextmanager
    def part(self, number: int) -> Iterator[Callable[[pa.RecordBatch], None]]:
        """Write batches as part ``number``; without a row there is no part."""
        path = self.folder / f"part-{number:05d}.parquet"
        schema = TABLES[self.table].schema
        with (
            whole_file(path, self.scratch) as staged,
            contextlib.closing(_Rows(staged, schema)) as rows,
        ):
            yield rows.write

    def finish(self) -> None:
        """Give a table that has no rows its schema."""
        if not any(self.folder.glob("*.parquet")):
            empty = TABLES[self.table].schema.empty_table()
            pq.write_table(empty, self.folder / "part-00000.parquet")


@contextlib.contextmanager
def whole_file(path: Path, scratch: Path) -> Iterator[Path]:
    """A place in ``scratch`` to write a file, which is renamed to ``path`` when the block ends.

    A file that has not been written is left out.
    """
    staged = scratch / f"{path.name}.{uuid.uuid4().hex}"
    try:
        yield staged
        if staged.exists():
            os.replace(staged, path)
    finally:
        staged.unlink(missing_ok=True)


class _Rows:
    """One Parquet part in the making."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._path, self._schema = path, schema
        self._writer: pq.ParquetWriter | None = None
        self._held: list[pa.RecordBatch] = []

    def write(self, batch: pa.RecordBatch) -> None:
        if batch.num_rows:
            self._held.append(batch)
        rows = sum(held.num_rows for held in self._held)
        if rows >= GROUP_ROWS or sum(held.nbytes for held in self._held) >= GROUP_BYTES:
            self._flush()

    def _flush(self) -> None:
        if not self._held:
            return
        if self._writer is None:
            self._writer = pq.ParquetWriter(
                self._path,
                self._schema,
                compression="zstd",
                compression_level=1,
                use_dictionary=[x for x in _leaves(self._schema) if x not in ALL_DIFFERENT],
            )
        self._writer.write_table(pa.Table.from_batches(self._held, self._schema))
        self._held.clear()

    def close(self) -> None:
        self._flush()
        if self._writer is not None:
            self._writer.close()


def _leaves(schema: pa.Schema) -> list[str]:
    """Parquet's paths of the primitive columns."""

    def below(path: str, kind: pa.DataType) -> Iterator[str]:
        if pa.types.is_list(kind):
            yield from below(f"{path}.list.element", kind.value_type)
        elif pa.types.is_struct(kind):
            for field in kind:
                yield from below(f"{path}.{field.name}", field.type)
        else:
            yield path

    return [leaf for field in schema for leaf in below(field.name, field.type)]


# -- records by key -----------------------------------------------------------------------


def scatter(rows: NDArray[Any], path: Path) -> None:
    """Keep records on disk in the order of their ``key``, for ``gather``."""
    with whole_file(path, path.parent.parent) as staged, staged.open("wb") as file:
        np.save(file, rows[np.argsort(rows["key"], kind="stable")])


def ranges(folder: Path) -> list[tuple[int, int, int]]:
    """Ranges of keys that hold about ``RANGE_ROWS`` of the scattered records each.

    Returns:
        (number, first key, last key) of each range; keys are hashes, so they are spread evenly.
    """
    total = sum(piece.size for piece in pieces(folder))
    n = 1
    while n * RANGE_ROWS < total:
        n *= 2
    width = 2**64 // n
    return [(number, number * width, (number + 1) * width - 1) for number in range(n)]


def gather(folder: Path, low: int, high: int, kind: np.dtype[Any]) -> NDArray[Any]:
    """All scattered records of ``kind`` with ``low <= key <= high``, in the order of the pieces."""
    found = [np.empty(0, kind)]
    for piece in pieces(folder):
        # Bisection by hand: NumPy's would copy the whole column out of the records.
        start = bisect.bisect_left(piece, low, key=_key)
        found.append(piece[start : bisect.bisect_right(piece, high, key=_key)])
    return np.concatenate(found)


def _key(row: Any) -> int:
    return int(row["key"])


def pieces(folder: Path) -> list[NDArray[Any]]:
    """The scattered records, mapped, piece by piece."""
    return [np.load(path, mmap_mode="r") for path in sorted(folder.glob("*.npy"))]
