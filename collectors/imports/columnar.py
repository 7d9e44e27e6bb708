"""Parquet files, and queries of DuckDB and SQLite databases."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.parquet as pq

from collectors.imports.base import Options, Refusals, TableKind, What
from collectors.imports.sqltext import literal, name
from collectors.imports.tables import ROW, Rows, spooled
from collectors.imports.trees import Tree
from likewise.errors import DataError, UsageError

__all__ = ["Database", "Parquet"]


class Parquet(TableKind):
    """A Parquet file."""

    name: ClassVar[str] = "parquet"
    platform: ClassVar[str] = "table"
    title: ClassVar[str] = "Parquet file"

    def recognise(self, tree: Tree) -> What | None:
        found = [e for e in tree.sample if e.path.suffix.lower() == ".parquet"]
        if len(found) != 1:
            return None
        return What("a table beside its pictures", tree.root / found[0].path)

    def rows(self, path: Path, options: Options, scratch: Path, refusals: Refusals) -> Rows:  # noqa: ARG002
        try:
            schema = pq.read_schema(path)
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{path} is no whole Parquet file: {error}") from error
        columns = [f.name for f in schema if not pa.types.is_binary(f.type)]
        texts = ", ".join(_as_text(schema.field(column)) for column in columns)
        source = f"read_parquet({literal(str(path))}, file_row_number = true)"
        return Rows(
            columns,
            f"(SELECT file_row_number AS {ROW}, {texts} FROM {source})",
            lambda numbers: {number: number + 1 for number in numbers},
        )


def _as_text(field: Any) -> str:
    column = name(field.name)
    if pa.types.is_list(field.type):
        return f"array_to_string({column}::VARCHAR[], ',') AS {column}"
    if pa.types.is_floating(field.type):
        # 12.0 is 12; DuckDB writes large ones as 1e+16, which no count is. A file's statistics
        # leave NaN out, so that DuckDB may take the condition for true: NaN must cast to null.
        whole = f"{column} = trunc({column}) AND abs({column}) < 9e15"
        return (
            f"CASE WHEN {whole} THEN try_cast({column} AS BIGINT)::VARCHAR "
            f"ELSE {column}::VARCHAR END AS {column}"
        )
    return f"{column}::VARCHAR AS {column}"


class Database(TableKind):
    """A query, or the only table, of a DuckDB or SQLite file; both are opened for reading only."""

    name: ClassVar[str] = "database"
    platform: ClassVar[str] = "table"
    title: ClassVar[str] = "database"

    def recognise(self, tree: Tree) -> What | None:
        endings = {".db", ".sqlite", ".sqlite3", ".duckdb"}
        found = [e for e in tree.sample if e.path.suffix.lower() in endings]
        if len(found) != 1:
            return None
        return What("a database beside its pictures", tree.root / found[0].path)

    def rows(self, path: Path, options: Options, scratch: Path, refusals: Refusals) -> Rows:  # noqa: ARG002
        with path.open("rb") as file:
            start = file.read(16)
        read = _sqlite if start.startswith(b"SQLite format 3") else _duckdb
        columns, records = read(path, options.query)
        numbered = enumerate(records, 1)
        return spooled(
            ((line, dict(zip(columns, row, strict=True))) for line, row in numbered),
            columns,
            scratch / "table.parquet",
        )


def _sqlite(path: Path, query: str | None) -> tuple[list[str], Iterator[Any]]:
    db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
    try:
        tables = [
            row[0]
            for row in db.execute(
                "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') "
                "AND name NOT LIKE 'sqlite_%'"
            )
        ]
        cursor = db.execute(query or _only(path, tables))
    except sqlite3.Error as error:
        db.close()
        raise DataError(f"{path}: {error}") from error
    return _columns(cursor.description), _closing(db, cursor)


def _duckdb(path: Path, query: str | None) -> tuple[list[str], Iterator[Any]]:
    import duckdb

    try:
        db = duckdb.connect(str(path), read_only=True)
    except duckdb.Error as error:
        raise DataError(f"{path} is neither a SQLite nor a DuckDB file: {error}") from error
    try:
        # A query of a stranger's database must not reach other files.
        db.execute("SET enable_external_access = false")
        tables = [row[0] for row in db.execute("SHOW TABLES").fetchall()]
        cursor = db.execute(query or _only(path, tables))
    except duckdb.Error as error:
        db.close()
        raise DataError(f"{path}: {error}") from error
    return _columns(cursor.description), _closing(db, cursor)


def _only(path: Path, tables: list[str]) -> str:
    if len(tables) != 1:
        raise UsageError(
            f"{path} holds {len(tables)} tables: {', '.join(tables) or 'none'}",
            hint='say what to read: --query "SELECT ... FROM ..."',
        )
    return f"SELECT * FROM {name(tables[0])}"


def _columns(description: Any) -> list[str]:
    return [str(column[0]) for column in description]


def _closing(db: Any, cursor: Any) -> Iterator[Mapping[str, Any]]:
    with closing(db):
        while rows := cursor.fetchmany(10_000):
            yield from rows
