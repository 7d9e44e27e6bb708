"""MLlib's SVMWithSGD on cached vectors that no Python object ever stood for.

The features go to Parquet in the physical layout of MLlib's VectorUDT, and Spark reads them as
RDD[LabeledPoint] through an encoder that is put together over Py4J. PySpark's own way pickles a
LabeledPoint for each row and unpickles it in the JVM.

As a Spark job this file runs the whole comparison, whose last fit of SVMWithSGD is made here:

    spark-submit spark_jobs/train_svm.py STUDY
"""

from __future__ import annotations

import shutil
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from spark_jobs.session import picture_batches

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pyspark.sql import SparkSession

__all__ = ["CachedVectors", "write_vectors"]

ROWS_A_FILE = 8192
ROWS_A_GROUP = 1024
ROWS_A_PARTITION = 2000

# Share of the heap beyond what Spark keeps for itself that blocks may take, by Spark's defaults.
RESERVED, STORAGE = 300 * 2**20, 0.6


def write_vectors(
    folder: Path,
    rows: NDArray[np.float32],
    label: NDArray[np.int64],
    mean: NDArray[np.float64],
    scale: NDArray[np.float64],
) -> None:
    """Write ``(rows - mean) / scale`` and labels as Parquet; an older folder is replaced.

    Args:
        folder: directory to write; on a cluster, where the executors can read it.
        rows: (n, d) float32 features.
        label: (n,) 0 and 1.
        mean: (d,) subtracted.
        scale: (d,) divided by; infinite where a column is to be 0.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for number, start in enumerate(range(0, len(rows), ROWS_A_FILE)):
        stop = min(start + ROWS_A_FILE, len(rows))
        schema = pa.schema([("label", pa.float64()), ("features", _vector_type())])
        with pq.ParquetWriter(
            folder / f"part-{number:04d}.parquet",
            schema,
            compression="NONE",
            use_dictionary=False,
            write_statistics=False,
        ) as writer:
            for at in range(start, stop, ROWS_A_GROUP):
                end = min(at + ROWS_A_GROUP, stop)
                scaled = ((rows[at:end] - mean) / scale).astype(np.float32)
                writer.write_table(_vectors(scaled, label[at:end], schema))
    pa.default_memory_pool().release_unused()


def _vector_type() -> Any:
    import pyarrow as pa

    return pa.struct(
        [
            ("type", pa.int8()),
            ("size", pa.int32()),
            ("indices", pa.list_(pa.int32())),
            ("values", pa.list_(pa.float32())),
        ]
    )


def _vectors(scaled: NDArray[np.float32], label: NDArray[np.int64], schema: Any) -> Any:
    """Dense vectors as VectorUDT lays them out: type 1, no size, no indices, the values."""
    import pyarrow as pa

    n, d = scaled.shape
    values = pa.ListArray.from_arrays(np.arange(0, (n + 1) * d, d, dtype=np.int32), scaled.ravel())
    parts = [
        pa.array(np.ones(n, np.int8)),
        pa.nulls(n, pa.int32()),
        pa.nulls(n, pa.list_(pa.int32())),
        values,
    ]
    features = pa.StructArray.from_arrays(parts, fields=list(_vector_type()))
    return pa.table([pa.array(label.astype(np.float64)), features], schema=schema)


class CachedVectors:
    """Vectors of ``write_vectors`` as a cached RDD[LabeledPoint]; use as a context manager.

    Args:
        spark: a classic session (MLlib's RDD interface does not work through Spark Connect).
        folder: what ``write_vectors`` wrote.
        n_rows: decides the number of partitions; few, because every step of every fit is a job.
    """

    def __init__(self, spark: SparkSession, folder: Path, n_rows: int) -> None:
        context = spark.sparkContext
        self._jvm: Any = context._jvm
        self._size = 2 * sum(part.stat().st_size for part in folder.glob("*.parquet"))
        self._local = str(context.master).startswith("local")
        partitions = max(1, min(context.defaultParallelism, n_rows // ROWS_A_PARTITION))
        with picture_batches(spark):  # a row is as large as a picture
            frame = spark.read.schema(_schema()).parquet(folder.absolute().as_uri())
            vectors = getattr(frame.coalesce(partitions)._jdf, "as")(self._labeled_point())
            self.points = vectors.rdd()

    def _labeled_point(self) -> Any:
        """Encoder of LabeledPoint(label: Double, features: Vector)."""
        jvm = self._jvm
        encoders = jvm.org.apache.spark.sql.catalyst.encoders.AgnosticEncoders
        public = jvm.org.apache.spark.sql.Encoders
        nothing, empty = jvm.scala.Option.empty(), jvm.org.apache.spark.sql.types.Metadata.empty()
        vector = public.udt(jvm.org.apache.spark.mllib.linalg.VectorUDT())
        fields = [
            encoders.EncoderField(name, encoder, False, empty, nothing, nothing)
            for name, encoder in (("label", public.scalaDouble()), ("features", vector))
        ]
        name = "org.apache.spark.mllib.regression.LabeledPoint"
        tag = jvm.scala.reflect.ClassTag.apply(jvm.java.lang.Class.forName(name))
        sequence = jvm.org.apache.spark.api.python.PythonUtils.toSeq(fields)
        return encoders.ProductEncoder(tag, sequence, nothing)

    def __enter__(self) -> CachedVectors:
        self.points.persist(self._level())
        return self

    def _level(self) -> Any:
        """In memory where all vectors have room, as float64; on disk where they have not.

        A heap that holds a part of them is filled to the brim, and every step collects garbage.
        """
        levels = self._jvm.org.apache.spark.storage.StorageLevel
        heap = self._jvm.java.lang.Runtime.getRuntime().maxMemory()
        if self._local and self._size > STORAGE * (heap - RESERVED):
            return levels.DISK_ONLY()
        return levels.MEMORY_AND_DISK()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.points.unpersist(False)

    def fit(
        self, reg_param: float, step_size: float, iterations: int, tolerance: float
    ) -> NDArray[np.float64]:
        """(d,) weights by SVMWithSGD with the whole data in each step, L2 and no intercept."""
        svm = self._jvm.org.apache.spark.mllib.classification.SVMWithSGD()
        optimizer = svm.optimizer()
        optimizer.setRegParam(float(reg_param))
        optimizer.setStepSize(float(step_size))
        optimizer.setNumIterations(int(iterations))
        optimizer.setConvergenceTol(float(tolerance))
        svm.setValidateData(False)
        return self._to_numpy(svm.run(self.points).weights())

    def _to_numpy(self, vector: Any) -> NDArray[np.float64]:
        """The vector in one message; Py4J would ask for each of its numbers by itself."""
        from pyspark.serializers import CPickleSerializer

        content = self._jvm.org.apache.spark.mllib.api.python.SerDe.dumps(vector)
        numbers: NDArray[np.float64] = CPickleSerializer().loads(bytes(content)).toArray()  # type: ignore[no-untyped-call]
        return numbers


def _schema() -> Any:
    from pyspark.mllib.linalg import VectorUDT
    from pyspark.sql.types import DoubleType, StructField, StructType

    return StructType(
        [StructField("label", DoubleType(), False), StructField("features", VectorUDT(), False)]
    )


if __name__ == "__main__":
    from spark_jobs.entry import main

    main("training.compare", "compare")
