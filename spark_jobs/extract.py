"""``extract``: pictures x labels -> features, one Spark task a bucket.

Spark hands out buckets, retries them and spreads them over the executors; the Python worker reads
the bucket's Parquet and writes its features itself. So neither the pictures nor the features
(64 KB a picture for fc6 + fc7 of both views) pass through the JVM: docs/extract.md has the figures.
A bucket is published by a rename when it is whole: a killed run goes on at the first missing one.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from likewise.errors import DataError, UsageError
from likewise.funnel import Funnel
from likewise.study import Manifest, Stage, Study

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from backbones.int8 import Effect
    from backbones.plan import Plan

__all__ = ["extract", "measure_int8"]

CODE = 1
"""Raised whenever the same inputs would give other rows."""

RESULT = "bucket int, pictures long, rows long, failed map<string, long>"


def extract(
    study: Study | str | os.PathLike[str], *, redo: bool = False, master: str | None = None
) -> Manifest:
    """Compute the features of every labelled picture and publish the table ``features``.

    Raises:
        MissingTableError: pictures or labels have not been published.
        WeightsError: the backbone's weights are missing or damaged.
        DataError: not one picture could be decoded.
    """
    opened = Study.open(study)
    plan, reason = _plan(opened)
    stage = opened.begin(
        "features",
        inputs=["pictures", "labels"],
        params=dict(plan.identity()),
        code=CODE,
        redo=redo,
        n_buckets=opened.config.download.buckets,
    )
    if stage.done:
        return stage.manifest
    missing = stage.missing_buckets()
    if missing:
        _run(stage, _quantised(opened, plan), missing, master)
    return _publish(stage, plan, reason)


def _plan(study: Study) -> tuple[Plan, str]:
    from backbones.plan import make_plan
    from backbones.registry import choose

    settings = study.config.extract
    choice = choose(settings.backbone)
    plan = make_plan(
        choice.name,
        settings.layers,
        random_weights=settings.random_weights,
        engine=settings.engine,
        folder=study.folder("cache", "onnx"),
        flip=settings.flip,
        pre_relu=settings.pre_relu,
        batch_size=settings.batch_size,
        half=settings.storage == "float16",
        precision=settings.precision,
    )
    return plan, choice.reason


def _quantised(study: Study, plan: Plan) -> Plan:
    """The plan with an int8 graph where that is asked for, calibrated on the study's pictures."""
    if plan.precision == "fp32":
        return plan
    from backbones.features_table import labelled_pictures
    from backbones.int8 import CALIBRATION, quantise

    if plan.onnx is None:
        raise UsageError("precision = 'int8' needs engine = 'onnx'")
    return quantise(plan, [data for _, data in labelled_pictures(study, CALIBRATION)])


def measure_int8(study: Study | str | os.PathLike[str], n: int = 1000) -> Effect:
    """What int8 would do to this study: measured on up to ``n`` of its pictures, without Spark.

    Raises:
        MissingTableError: pictures or labels have not been published.
        DataError: the pictures cannot carry the measurement.
    """
    from backbones.features_table import labelled_pictures
    from backbones.int8 import measure

    opened = Study.open(study)
    plan = replace(_plan(opened)[0], precision="fp32")
    sample = labelled_pictures(opened, n)
    wanted = opened.read("labels", columns=["picture_id", "label", "split"]).to_pylist()
    known = {row["picture_id"]: row for row in wanted}
    rows = [known[picture_id] for picture_id, _ in sample]
    return measure(
        plan,
        [data for _, data in sample],
        [row["label"] for row in rows],
        [row["split"] == "test" for row in rows],
    )


def _run(stage: Stage, plan: Plan, buckets: list[int], master: str | None) -> None:
    from spark_jobs.session import spark_progress, spark_session

    spark = spark_session(stage.study.config, master=master)
    with spark_progress(spark, "extract"):
        run_buckets(spark, stage, plan, buckets)


def run_buckets(
    spark: SparkSession, stage: Stage, plan: Plan, buckets: list[int], partitions: int = 0
) -> list[Any]:
    """Compute ``buckets`` on Spark; ``partitions`` 0 makes each of them a task of its own."""
    pictures = {bucket: stage.study.parts("pictures", bucket) for bucket in buckets}
    labels = stage.study.parts("labels")

    def work(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        from backbones.features_table import extract_bucket

        # Arrow's own pool keeps some 25 MB a worker that the system's gives back.
        pa.set_memory_pool(pa.system_memory_pool())
        here = _on_this_worker(plan)
        for batch in batches:
            for place in batch.column(0).to_pylist():
                bucket = buckets[place]
                with stage.bucket(bucket) as target:
                    result = extract_bucket(pictures[bucket], labels, bucket, target, here)
                yield _result_row(result)

    # A range has as many partitions as it is asked for, without a shuffle.
    places = spark.range(0, len(buckets), 1, partitions or len(buckets))
    return places.mapInArrow(work, RESULT).collect()


def _on_this_worker(plan: Plan) -> Plan:
    """The plan on this worker's GPU, where Spark has given it one."""
    from pyspark import TaskContext

    context = TaskContext.get()
    gpus = context.resources().get("gpu") if context is not None else None
    if gpus is None or not gpus.addresses or plan.precision == "int8":
        return plan
    return replace(plan, engine="torch", device=f"cuda:{gpus.addresses[0]}")


def _result_row(result: Any) -> pa.RecordBatch:
    columns = [
        pa.array([result.bucket], pa.int32()),
        pa.array([result.pictures], pa.int64()),
        pa.array([result.rows], pa.int64()),
        pa.array([list(result.failed.items())], pa.map_(pa.string(), pa.int64())),
    ]
    return pa.RecordBatch.from_arrays(columns, ["bucket", "pictures", "rows", "failed"])


def _publish(stage: Stage, plan: Plan, reason: str) -> Manifest:
    """Count what is in the buckets (also those of earlier runs) and publish."""
    failed = _failures(stage)
    pictures = stage.study.require("labels").rows
    good = pictures - sum(failed.values())
    if pictures and not good:
        raise DataError(
            f"none of {pictures:,} pictures could be turned into features: {dict(failed)}",
            hint="look at the pictures table: likewise status",
        )
    funnel = Funnel("extract", "pictures", pictures, good, dict(failed))
    return stage.publish(
        funnel=funnel,
        backbone=plan.backbone,
        reason=reason,
        layers=list(plan.layers),
        weights=plan.weights_id,
        random_weights=plan.random_weights,
        engine=plan.engine,
        precision=plan.precision,
        views=plan.views,
    )


def _failures(stage: Stage) -> Counter[str]:
    import pyarrow.dataset as ds

    rows = ds.dataset(stage.path, format="parquet", partitioning=None).to_table(
        columns=["error_class"],
        filter=(ds.field("status") != "ok") & ~ds.field("flipped"),
    )
    return Counter(rows["error_class"].to_pylist())


if __name__ == "__main__":
    from spark_jobs.entry import main

    main("spark_jobs.extract", "extract")
