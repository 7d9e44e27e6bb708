"""One table of any file format as text columns that DuckDB reads, and where its rows stand."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from collectors.imports.sqltext import literal

__all__ = ["ROW", "Rows", "cell", "spooled"]

ROW = "__row"
"""Column with the number of a row, from 0."""

_BATCH = 10_000


@dataclass(frozen=True, slots=True)
class Rows:
    """A table: ``source`` is what stands behind FROM, with text columns and ``ROW``.

    ``lines`` turns numbers of rows into lines of the file, for messages; ``unread`` counts lines
    that gave no row, after the table has been read once.
    """

    columns: Sequence[str]
    source: str
    lines: Callable[[Sequence[int]], Mapping[int, int]]
    unread: Callable[[Any], Sequence[tuple[int, str]]] = field(default=lambda _: ())


def cell(value: Any) -> str | None:
    """A value of JSON, Excel or a database as the text that a CSV file would hold."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, dt.datetime):
        return value.isoformat(sep=" ")
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return ",".join(value)
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False)
    return str(value)


def spooled(
    records: Iterable[tuple[int, Mapping[str, Any]]], columns: Sequence[str], path: Path
) -> Rows:
    """Records with their lines, in a Parquet file that DuckDB reads as often as it likes."""
    schema = pa.schema(
        [(ROW, pa.int64()), ("__line", pa.int64()), *((c, pa.string()) for c in columns)]
    )
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for batch in _batches(enumerate(records), columns):
            writer.write_table(pa.table(batch, schema=schema))

    def lines(rows: Sequence[int]) -> Mapping[int, int]:
        found = pq.read_table(path, columns=[ROW, "__line"], filters=pc.field(ROW).isin(list(rows)))
        return dict(zip(found[ROW].to_pylist(), found["__line"].to_pylist(), strict=True))

    return Rows(columns, f"read_parquet({literal(str(path))})", lines)


def _batches(
    records: Iterator[tuple[int, tuple[int, Mapping[str, Any]]]], columns: Sequence[str]
) -> Iterator[list[pa.Array]]:
    while batch := list(islice(records, _BATCH)):
        yield [
            pa.array([number for number, _ in batch], pa.int64()),
            pa.array([line for _, (line, _) in batch], pa.int64()),
            *(pa.array([cell(r.get(c)) for _, (_, r) in batch], pa.string()) for c in columns),
        ]
