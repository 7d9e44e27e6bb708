"""Scores on Spark: every task scores whole Parquet parts of ``features``, read by Arrow.

The floats never pass through the JVM: a task gets the address of a part and answers with one
score a view, so Spark moves a few bytes for each picture and not its 16 KiB of activations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from spark_jobs.session import spark_progress, spark_session

if TYPE_CHECKING:
    import pyarrow as pa

    from likewise.config import Config

__all__ = ["score_parts"]


def score_parts(
    config: Config,
    parts: Sequence[str],
    score_part: Callable[[str], Iterator[pa.RecordBatch]],
    schema: pa.Schema,
    *,
    master: str | None = None,
) -> pa.Table:
    """Scores of all views in ``parts``, in the parts' order.

    ``score_part`` is pickled; it gives picture_id, status and the score, or the scores of k
    classes, of one part, as ``schema``.
    """
    from pyspark.sql.pandas.types import from_arrow_schema

    spark = spark_session(config, master=master)

    def score(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for path in batch["path"].to_pylist():
                yield from score_part(path)

    rows = [(str(path),) for path in parts]
    addresses = spark.createDataFrame(rows, "path string").repartition(max(len(rows), 1))
    with spark_progress(spark, "rank"):
        answer = addresses.mapInArrow(score, from_arrow_schema(schema))
        return answer.toArrow().cast(schema)


if __name__ == "__main__":
    from spark_jobs.entry import main

    main("training.rank", "rank")
