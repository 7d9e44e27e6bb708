"""MLlib's SVMWithSGD on cached vectors that no Python object ever stood for.

The features go to Parquet in the physical layout of MLlib's VectorUDT, and Spark reads them as
RDD[LabeledPoint] through an encoder that is put together over Py4J. PySpark's own way pickles a
LabeledPoint for each row and unpickles it in the JVM.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pyspark.sql import SparkSession

__all__ = ["CachedVectors", "write_vectors"]

ROWS_A_FILE = 8192
ROWS_A_GROUP = 1024
ROWS_A_PARTITION = 2000


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
        cores = spark.sparkContext.defaultParallelism
        self._jvm: Any = spark.sparkContext._jvm
        frame = spark.read.schema(_schema()).parquet(folder.absolute().as_uri())
        partitions = max(1, min(cores, n_rows // ROWS_A_PARTITION))
        whole = frame.coalesce(partitions) if partitions < cores else frame.repartition(partitions)
        self.points = getattr(whole._jdf, "as")(self._labeled_point()).rdd()

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
        self.points.persist(self._jvm.org.apache.spark.storage.StorageLevel.MEMORY_AND_DISK())
        return self

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
