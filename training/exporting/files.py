"""Rows as CSV, Excel, JSONL, Parquet or a DuckDB file, each written whole."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from likewise.errors import UsageError
from likewise.whole import whole_file
from training.exporting.view import described

if TYPE_CHECKING:
    import duckdb

__all__ = ["FORMATS", "neutral", "write"]

EXCEL_ROWS = 1_048_575
EXCEL_CELL = 32_767
"""Characters that a cell of Excel can hold."""

_FORMULA = re.compile(r"^[=+\-@\t\r]")
_UNWRITABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f]")


def neutral(text: str) -> str:
    """Text that a spreadsheet program does not run: it starts with an apostrophe if it would.

    Source: OWASP, "CSV Injection".
    """
    return f"'{text}" if _FORMULA.match(text) else text


def write(db: duckdb.DuckDBPyConnection, query: str, rows: int, path: Path) -> list[str]:
    """Write the rows of a query; returns sentences about what the format could not hold.

    Raises:
        UsageError: the ending of ``path`` is of no known format, or Excel cannot hold the rows.
    """
    writer = FORMATS.get(path.suffix.lower())
    if writer is None:
        raise UsageError(
            f"{path}: the ending says no format; known are {', '.join(FORMATS)}",
        )
    if path.is_dir():
        raise UsageError(f"{path} is a folder, expected a file to write to")
    with whole_file(path) as staged:
        return writer(db, query, rows, staged)


def _name(column: str) -> str:
    return '"' + column.replace('"', '""') + '"'


def _flat(columns: Mapping[str, str], *, safe: bool) -> str:
    """Columns as single values: lists of words are joined, deeper ones become JSON."""
    parts = []
    for column, kind in columns.items():
        name = _name(column)
        if kind == "VARCHAR[]":
            value = f"array_to_string({name}, ' ')"
        elif kind.endswith("[]") or kind.startswith("STRUCT"):
            value = f"to_json({name})::VARCHAR"
        else:
            value = name
        if safe and (kind == "VARCHAR" or value != name):
            value = (
                f"CASE WHEN regexp_matches({value}, '^[=+\\-@\\t\\r]') THEN '''' || {value} "
                f"ELSE {value} END"
            )
        parts.append(f"{value} AS {name}")
    return ", ".join(parts)


def _copied(how: str, *, flat: bool) -> Callable[..., list[str]]:
    def copy(db: duckdb.DuckDBPyConnection, query: str, rows: int, path: Path) -> list[str]:
        del rows
        columns = _flat(described(db, query), safe=True) if flat else "*"
        target = str(path).replace("'", "''")
        db.execute(f"COPY (SELECT {columns} FROM ({query})) TO '{target}' ({how})")
        return []

    return copy


def _excel(db: duckdb.DuckDBPyConnection, query: str, rows: int, path: Path) -> list[str]:
    import openpyxl

    if rows > EXCEL_ROWS:
        raise UsageError(
            f"{rows:,} rows: a sheet of Excel holds {EXCEL_ROWS:,}",
            hint="filter them, or write .csv or .parquet",
        )
    book = openpyxl.Workbook(write_only=True)
    sheet = book.create_sheet("likewise")
    columns = described(db, query)
    sheet.append(list(columns))
    cut = 0
    result = db.execute(f"SELECT {_flat(columns, safe=False)} FROM ({query})")
    while batch := result.fetchmany(1000):
        for row in batch:
            cells = [_cell(value) for value in row]
            cut += sum(isinstance(c, str) and len(c) > EXCEL_CELL for c in cells)
            sheet.append([c[:EXCEL_CELL] if isinstance(c, str) else c for c in cells])
    book.save(path)
    return [f"{cut:,} texts are cut to Excel's {EXCEL_CELL:,} characters a cell"] if cut else []


def _cell(value: Any) -> Any:
    """A value that openpyxl can write; times lose their zone, which is UTC."""
    if isinstance(value, dt.datetime):
        return value.astimezone(dt.UTC).replace(tzinfo=None)
    if isinstance(value, str):
        return neutral(_UNWRITABLE.sub("", value))
    return value


def _database(db: duckdb.DuckDBPyConnection, query: str, rows: int, path: Path) -> list[str]:
    """All tables, and the chosen rows as ``chosen``; ``everything`` stays a view."""
    del rows
    target = str(path).replace("'", "''")
    db.execute(f"ATTACH '{target}' AS target")
    try:
        views = db.execute(
            "SELECT view_name, sql FROM duckdb_views() WHERE NOT internal AND database_name != "
            "'target'"
        ).fetchall()
        tables = [name for name, _ in views if name != "everything"]
        for name in tables:
            db.execute(f"CREATE TABLE target.{name} AS SELECT * FROM {name}")
        db.execute(f"CREATE TABLE target.chosen AS {query}")
        db.execute("USE target")
        joined = next(sql for name, sql in views if name == "everything")
        db.execute(joined)
    finally:
        db.execute("USE memory")
        db.execute("DETACH target")
    return []


FORMATS: dict[str, Callable[..., list[str]]] = {
    ".csv": _copied("FORMAT csv, HEADER true", flat=True),
    ".xlsx": _excel,
    ".jsonl": _copied("FORMAT json", flat=False),
    ".parquet": _copied("FORMAT parquet, COMPRESSION zstd", flat=False),
    ".duckdb": _database,
}
"""Ending of the file -> what writes it."""
