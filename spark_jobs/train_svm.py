"""MLlib's SVMWithSGD by its public interface, on vectors that tasks read from files.

The driver writes the standardised features as arrays; each task makes LabeledPoints of its own
files, which MLlib keeps in the JVM for all steps, on disk where memory has no room.

As a Spark job this file runs the whole comparison, whose last fit of SVMWithSGD is made here:

    spark-submit spark_jobs/train_svm.py STUDY
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pyspark.sql import SparkSession

__all__ = ["fit", "write_vectors"]

ROWS_A_FILE = 2048
"""Rows of one file, and least rows of a partition: every step of a fit is a job over all of them,
so that small partitions cost more in scheduling than they gain."""


def write_vectors(
    folder: Path,
    rows: NDArray[np.float32],
    label: NDArray[np.int64],
    mean: NDArray[np.float64],
    scale: NDArray[np.float64],
) -> None:
    """Write ``(rows - mean) / scale`` and labels as arrays; an older folder is replaced.

    Args:
        folder: directory to write; on a cluster, where the executors can read it.
        rows: (n, d) float32 features.
        label: (n,) number of each row's class.
        mean: (d,) subtracted.
        scale: (d,) divided by; infinite where a column is to be 0.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for number, start in enumerate(range(0, len(rows), ROWS_A_FILE)):
        part = slice(start, start + ROWS_A_FILE)
        scaled = ((rows[part] - mean) / scale).astype(np.float32)
        np.savez(folder / f"part-{number:04d}.npz", rows=scaled, label=label[part])


def fit(
    spark: SparkSession,
    folder: Path,
    *,
    reg_param: float,
    step_size: float,
    iterations: int,
    tolerance: float,
    positive: int = 1,
) -> NDArray[np.float64]:
    """(d,) weights by SVMWithSGD with the whole data in each step, L2 and no intercept.

    Args:
        spark: a classic session (MLlib's RDD interface does not work through Spark Connect).
        folder: what ``write_vectors`` wrote.
        reg_param: MLlib's regParam.
        step_size: MLlib's stepSize.
        iterations: most steps.
        tolerance: MLlib's convergenceTol.
        positive: the class that is told from all others.
    """
    from pyspark.mllib.classification import SVMWithSGD

    context = spark.sparkContext
    parts = sorted(str(part) for part in folder.absolute().glob("*.npz"))
    partitions = min(context.defaultParallelism, len(parts))
    model = SVMWithSGD.train(
        context.parallelize(parts, partitions).flatMap(partial(_points, positive=positive)),
        iterations=iterations,
        step=step_size,
        regParam=reg_param,
        validateData=False,
        convergenceTol=tolerance,
    )
    weights: NDArray[np.float64] = model.weights.toArray()
    return weights


def _points(part: str, positive: int) -> Iterator[Any]:
    from pyspark.mllib.regression import LabeledPoint

    with np.load(part) as held:
        for label, row in zip(held["label"], held["rows"].astype(np.float64), strict=True):
            yield LabeledPoint(float(label == positive), row)


if __name__ == "__main__":
    from spark_jobs.entry import main

    main("training.compare", "compare")
