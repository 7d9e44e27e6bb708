"""Published tables as DataFrames, whose rows are decided upon and counted."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from likewise.study import Study
from likewise.tables import TABLES

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import Column, DataFrame, SparkSession

__all__ = [
    "PICTURE_KEY",
    "POST_KEY",
    "Counts",
    "collect_arrow",
    "counted",
    "decided",
    "hashed",
    "read_parts",
    "read_table",
]

POST_KEY = ("platform", "host", "post_id")
PICTURE_KEY = (*POST_KEY, "media_index")


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
    before = conf.get(key) or "10000"
    conf.set(key, "100000")
    try:
        return frame.toArrow()
    finally:
        conf.set(key, before)


def decided(frame: DataFrame, reasons: Sequence[tuple[str, Column]]) -> DataFrame:
    """Add ``reason``: the number, from 1, of the first of ``reasons`` that holds, or 0."""
    from pyspark.sql import functions as F  # noqa: N812

    first: Any = F
    for number, (_, holds) in enumerate(reasons, start=1):
        first = first.when(holds, number)
    names = ["", *(name for name, _ in reasons)]
    return frame.withColumn("reason", first.otherwise(0)).withMetadata("reason", {"names": names})


@dataclass
class Counts:
    """Rows of a decided frame; filled when the block of ``counted`` ends."""

    rows_in: int = 0
    rows_out: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)


@contextlib.contextmanager
def counted(frame: DataFrame) -> Iterator[tuple[DataFrame, Counts]]:
    """The rows of a decided frame that stay; the block writes them once, which counts the others.

    One pass over the data does both. The counts are those of the tasks that succeeded.
    """
    from pyspark.sql import Observation
    from pyspark.sql import functions as F  # noqa: N812

    names: list[str] = frame.schema["reason"].metadata["names"]
    watch, counts = Observation(), Counts()
    numbers = [F.count_if(F.col("reason") == n).alias(f"n{n}") for n in range(len(names))]
    yield frame.observe(watch, *numbers).where(F.col("reason") == 0), counts
    found = watch.get
    rows = [int(found.get(f"n{n}", 0)) for n in range(len(names))]
    counts.rows_in, counts.rows_out = sum(rows), rows[0]
    counts.dropped = dict(zip(names[1:], rows[1:], strict=True))
