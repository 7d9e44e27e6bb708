"""Published tables as DataFrames, and DataFrames as Parquet parts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from likewise.study import Study
from likewise.tables import TABLES

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa
    from pyspark.sql import Column, DataFrame, SparkSession

__all__ = ["AUTHOR_KEY", "POST_KEY", "collect_arrow", "hashed", "read_table", "write_parts"]

POST_KEY = ("platform", "host", "post_id")
AUTHOR_KEY = ("platform", "host", "author_id")


def read_table(spark: SparkSession, study: Study, name: str) -> DataFrame:
    """The published table, with the schema of ``likewise.tables``; buckets are read too."""
    from pyspark.sql.pandas.types import from_arrow_schema

    # Without recursiveFileLookup Spark would take ``bucket=0001`` folders for a text column.
    reader = spark.read.schema(from_arrow_schema(TABLES[name].schema))
    return reader.option("recursiveFileLookup", "true").parquet(str(study.table_path(name)))


def write_parts(frame: DataFrame, name: str, directory: Path) -> None:
    """Write the columns of table ``name``, in its order, as Parquet parts into ``directory``."""
    frame.select(*TABLES[name].schema.names).write.mode("overwrite").parquet(str(directory))


def hashed(columns: Sequence[str]) -> tuple[Column, Column]:
    """Two independent hashes of a text key, 64 and 32 bits.

    Joins and aggregates over tens of millions of keys run several times faster on a long than on
    three strings. Two keys agree in both by chance once in 2**96: never, for any number of rows
    that this program will see.
    """
    from pyspark.sql import functions as F  # noqa: N812

    return F.xxhash64(*columns), F.hash(*columns)


def collect_arrow(frame: DataFrame) -> pa.Table:
    """The rows on the driver, in large Arrow batches (the session's own are sized for pictures)."""
    key = "spark.sql.execution.arrow.maxRecordsPerBatch"
    conf = frame.sparkSession.conf
    before = conf.get(key)
    conf.set(key, "100000")
    try:
        return frame.toArrow()
    finally:
        conf.set(key, before)
