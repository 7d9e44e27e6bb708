"""Published tables as DataFrames, and their rows on the driver."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from likewise.study import Study
from likewise.tables import PICTURE_KEY, TABLES

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import DataFrame, SparkSession

__all__ = ["PICTURE_KEY", "collect_arrow", "read_parts", "read_table"]


def read_table(spark: SparkSession, study: Study, name: str) -> DataFrame:
    """The published table, with the schema of ``likewise.tables``; buckets are read too."""
    return read_parts(spark, name, study.parts(name))


def read_parts(spark: SparkSession, name: str, parts: Sequence[str]) -> DataFrame:
    """Parquet ``parts`` of table ``name``."""
    from pyspark.sql.pandas.types import from_arrow_schema

    schema = from_arrow_schema(TABLES[name].schema)
    if not parts:
        return spark.createDataFrame([], schema)
    return spark.read.schema(schema).parquet(*parts)


def collect_arrow(frame: DataFrame) -> pa.Table:
    """The rows on the driver, in large Arrow batches (the session's own are sized for pictures)."""
    key = "spark.sql.execution.arrow.maxRecordsPerBatch"
    conf = frame.sparkSession.conf
    before = conf.get(key) or "10000"
    conf.set(key, "100000")
    try:
        return frame.toArrow()
    finally:
        conf.set(key, before)
