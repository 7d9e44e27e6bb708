"""The engines that run the metadata stages: DuckDB on one machine, Spark SQL on a cluster.

A stage is one text in the SQL that both know, over the tables that it names; both engines give
identical tables. Where they differ in words there is a method here. Arithmetic in the text is
restricted to what IEEE 754 defines to the last bit (+ - * / and comparisons) and ``log10``;
logarithms that a table keeps are made by NumPy on the driver and joined.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from filters.rules import Rule, double
from likewise.errors import DataError
from likewise.progress import progress
from likewise.store import local_path
from likewise.study import Study, open_part
from likewise.tables import TABLES, same_type
from spark_jobs.frames import collect_arrow, read_parts
from spark_jobs.session import is_submitted, spark_progress, spark_session

if TYPE_CHECKING:
    import duckdb
    from pyspark.sql import DataFrame, SparkSession

__all__ = ["Engine", "as_columns", "reason_counts", "sql_engine"]

SQL_TYPES = {
    pa.int8(): "TINYINT",
    pa.int16(): "SMALLINT",
    pa.int32(): "INT",
    pa.int64(): "BIGINT",
    pa.float64(): "DOUBLE",
}


class Engine(Protocol):
    """What a metadata stage asks of an engine."""

    def table(self, study: Study, name: str) -> None:
        """Make the published table ``name`` known under its name; no row is read yet."""

    def known(self, name: str, rows: pa.Table) -> None:
        """Make rows of the driver known under ``name``."""

    def define(self, name: str, sql: str) -> None:
        """Compute a query once and keep its rows under ``name`` until the stage ends."""

    def fetch(self, sql: str) -> pa.Table:
        """Rows of a query, on the driver."""

    def write(self, sql: str, folder: Path) -> None:
        """Write the rows of a query as Parquet parts into ``folder``."""

    def array(self, values: Sequence[float]) -> str:
        """The expression for a constant array of doubles."""


@contextlib.contextmanager
def sql_engine(study: Study, title: str, master: str | None = None) -> Iterator[Engine]:
    """Spark under a cluster's master, when one is named, or in a cluster's active session; else
    DuckDB in this process, without a JVM. A bar shows how far it is."""
    if _wants_spark(study, master):
        spark = spark_session(study.config, master=master)
        with spark_progress(spark, title), contextlib.closing(_Spark(spark)) as engine:
            yield engine
        return
    with _duckdb(study, title) as connection:
        yield _DuckDB(connection)


def _wants_spark(study: Study, master: str | None) -> bool:
    if master is not None or is_submitted() or not study.config.spark.master.startswith("local"):
        return True
    if "pyspark" not in sys.modules:  # then there is no session, and asking would load it
        return False
    from pyspark.sql import SparkSession

    active = SparkSession.getActiveSession()
    return active is not None and not str(active.conf.get("spark.master")).startswith("local")


def as_columns(table: str) -> str:
    """The select list that gives a query's columns the names, order and types of ``table``."""
    fields = TABLES[table].schema
    kinds = {field.name: SQL_TYPES.get(field.type) for field in fields}
    return ", ".join(f"CAST({n} AS {k}) AS {n}" if k else n for n, k in kinds.items())


def reason_counts(engine: Engine, table: str, asked: Sequence[Rule]) -> tuple[int, dict[str, int]]:
    """Rows of ``table`` that stay, whose ``reason`` is 0, and those dropped by reason."""
    found = engine.fetch(f"SELECT reason, count(*) AS n FROM {table} GROUP BY reason")
    counts = dict(zip(found["reason"].to_pylist(), found["n"].to_pylist(), strict=True))
    dropped = {rule.reason: counts.get(n, 0) for n, rule in enumerate(asked, start=1)}
    return counts.get(0, 0), dropped


def _parts(study: Study, name: str) -> list[str]:
    """Files of a published table; their columns are those of its schema, as far as they are there.

    Raises:
        DataError: a part lacks a key column, or has a column of another type.
    """
    parts = study.parts(name)
    for part in parts:
        found = pq.read_schema(open_part(part))
        for field in TABLES[name].schema:
            if field.name not in found.names:
                if not field.nullable:
                    raise DataError(f"{part}: column {field.name!r} ({field.type}) is missing")
            elif not same_type(found.field(field.name).type, field.type):
                kind = found.field(field.name).type
                raise DataError(f"{part}: column {field.name!r} is {kind}, expected {field.type}")
    return parts


class _DuckDB:
    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection

    def table(self, study: Study, name: str) -> None:
        # The empty table in front gives every column that the parts lack, as null.
        self._connection.register(f"{name}_schema", TABLES[name].schema.empty_table())
        parts = _parts(study, name)
        rows = f"read_parquet({parts!r}, union_by_name = true)"
        if any(local_path(part) is None for part in parts):
            rows = f"{name}_parts"  # DuckDB's own way to object stores is an extension to download
            self._connection.register(rows, study.dataset(name))
        union = f" UNION ALL BY NAME SELECT * FROM {rows}" if parts else ""
        self._connection.execute(f"CREATE VIEW {name} AS SELECT * FROM {name}_schema{union}")

    def known(self, name: str, rows: pa.Table) -> None:
        self._connection.register(name, rows)

    def define(self, name: str, sql: str) -> None:
        self._connection.execute(f"CREATE TEMP TABLE {name} AS {sql}")

    def fetch(self, sql: str) -> pa.Table:
        return self._connection.sql(sql).to_arrow_table()

    def write(self, sql: str, folder: Path) -> None:
        path = str(folder / "part-0000.parquet").replace("'", "''")
        self._connection.execute(f"COPY ({sql}) TO '{path}' (FORMAT parquet, COMPRESSION zstd)")

    def array(self, values: Sequence[float]) -> str:
        return f"[{', '.join(map(double, values))}]"


@contextlib.contextmanager
def _duckdb(study: Study, title: str) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection that spills beside the tables, not into a /tmp that may be small."""
    import duckdb

    stop = threading.Event()
    spill = tempfile.TemporaryDirectory(dir=study.folder(".staging"), ignore_cleanup_errors=True)
    with spill as folder, duckdb.connect() as connection, progress(title, 100) as bar:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute("SET temp_directory = ?", [folder])
        connection.execute("CREATE MACRO unix_micros(moment) AS epoch_us(moment)")

        def watch() -> None:
            while not stop.wait(0.5):
                # -1 while no query runs.
                bar.update(max(0, int(connection.query_progress())))

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            yield connection
        finally:
            stop.set()
            watcher.join()


class _Spark:
    def __init__(self, spark: SparkSession) -> None:
        self._spark = spark
        self._kept: list[DataFrame] = []

    def table(self, study: Study, name: str) -> None:
        # Hadoop's name for what everybody else calls s3.
        parts = [part.replace("s3://", "s3a://") for part in _parts(study, name)]
        read_parts(self._spark, name, parts).createOrReplaceTempView(name)

    def known(self, name: str, rows: pa.Table) -> None:
        self._spark.createDataFrame(rows).createOrReplaceTempView(name)

    def define(self, name: str, sql: str) -> None:
        # On the executors' own disks: no folder is shared.
        frame = self._spark.sql(sql).persist()
        frame.createOrReplaceTempView(name)
        self._kept.append(frame)

    def fetch(self, sql: str) -> pa.Table:
        return collect_arrow(self._spark.sql(sql))

    def write(self, sql: str, folder: Path) -> None:
        if str(self._spark.sparkContext.master).startswith("local"):
            self._spark.sql(sql).write.mode("append").parquet(str(folder))
            return
        # The folder is one of the driver's machine, which executors need not share.
        pq.write_table(self.fetch(sql), folder / "part-0000.parquet", compression="zstd")

    def array(self, values: Sequence[float]) -> str:
        return f"array({', '.join(map(double, values))})"

    def close(self) -> None:
        for frame in self._kept:
            frame.unpersist()
