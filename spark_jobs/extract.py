"""``extract``: pictures x labels -> features, for the pictures that have none of this network.

A task gets addresses of Parquet parts and ids; its Python worker reads the pictures and writes
their features itself, under a name of its own, and the driver registers finished parts. So neither
pictures nor features (64 KB a picture for fc6 + fc7 of both views) pass through the JVM, a killed
run loses the parts in work only, and few pictures need no JVM at all: docs/extract.md.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from backbones.registry import choose
from likewise.errors import DataError, UsageError
from likewise.funnel import Funnel
from likewise.growth import Growth, Made, Place
from likewise.pictures import bytes_of
from likewise.progress import progress
from likewise.study import Manifest, Study
from likewise.tables import features_schema
from likewise.working import changes_study
from spark_jobs import begin
from spark_jobs.chunks import Chunk, chunks, missing_from
from spark_jobs.session import survives_java
from spark_jobs.tasks import in_turn

if TYPE_CHECKING:
    from backbones.int8 import Effect
    from backbones.plan import Plan

__all__ = ["extract", "measure_int8", "work_on"]


@changes_study("extract")
@survives_java
def extract(
    study: Study | str | os.PathLike[str], *, redo: bool = False, master: str | None = None
) -> Manifest:
    """Compute the features of the labelled pictures that have none; publish ``features``.

    Features of another network, other weights or another preprocessing stay beside these.

    Raises:
        MissingTableError: pictures or labels have not been published.
        WeightsError: the backbone's weights are missing or damaged.
        DataError: not one picture could be decoded.
    """
    opened = Study.open(study)
    plan = begin.plan_of(opened)
    growth = begin.extract(opened, plan, redo=redo)
    if growth.done:
        return growth.manifest
    labelled = opened.read("labels", ["picture_id"])["picture_id"].unique()
    missing = missing_from(labelled, growth.known())
    tasks = chunks(opened, missing, os.cpu_count() or 1)
    if tasks:
        work_on(growth, _quantised(opened, plan), tasks, master)
    return _publish(growth, plan, labelled)


def _quantised(study: Study, plan: Plan) -> Plan:
    """The plan with an int8 graph where that is asked for, calibrated on the study's pictures."""
    if plan.precision == "fp32":
        return plan
    from backbones.int8 import CALIBRATION, quantise

    if plan.onnx is None:
        raise UsageError("precision = 'int8' needs engine = 'onnx'")
    return quantise(plan, [data for _, data in _sample(study, CALIBRATION)])


def measure_int8(study: Study | str | os.PathLike[str], n: int = 1000) -> Effect:
    """What int8 would do to this study: measured on up to ``n`` of its pictures, without Spark.

    Raises:
        MissingTableError: pictures or labels have not been published.
        DataError: the pictures cannot carry the measurement.
    """
    from backbones.int8 import measure

    opened = Study.open(study)
    plan = replace(begin.plan_of(opened), precision="fp32")
    sample = _sample(opened, n)
    wanted = opened.read("labels", columns=["picture_id", "label", "split"]).to_pylist()
    known = {row["picture_id"]: row for row in wanted}
    rows = [known[picture_id] for picture_id, _ in sample]
    return measure(
        plan,
        [data for _, data in sample],
        [row["label"] for row in rows],
        [row["split"] == "test" for row in rows],
    )


def _sample(study: Study, n: int) -> list[tuple[str, bytes]]:
    """(picture_id, bytes) of up to ``n`` labelled pictures, the smallest ids: any night's same."""
    ids = pc.sort_indices(labels := study.read("labels", ["picture_id"])["picture_id"].unique())
    chosen = labels.take(ids[:n])
    found = [
        pair
        for chunk in chunks(study, chosen, 1)
        for part, own in chunk.wanted.items()
        for pair in bytes_of(part, own)
    ]
    return sorted(found)


FEW = 500
"""Pictures up to which one process computes them: each further one starts for 1.7 CPU-seconds,
as many as 85 pictures take, while decoding keeps the second core busy as it is."""


# -- work -----------------------------------------------------------------------------------


def work_on(growth: Growth, plan: Plan, tasks: list[Chunk], master: str | None = None) -> None:
    """Compute the tasks and register their parts as they are done."""
    study, schema = growth.study, features_schema(plan.layers)
    items = sum(len(task.ids) for task in tasks)
    with progress(f"extract ({plan.backbone})", items) as bar:
        work = _Work(growth.place, plan)
        for made in in_turn(study.config, tasks, work, items=items, few=FEW, master=master):
            growth.commit(made, schema)
            bar.advance(sum(one.items for one in made))


@dataclass(frozen=True, slots=True)
class _Work:
    """What a worker does with a task."""

    place: Place
    plan: Plan

    def __call__(self, chunk: Chunk) -> Made:
        # Arrow's own pool keeps some 25 MB a worker that the system's gives back.
        pa.set_memory_pool(pa.system_memory_pool())
        plan = _on_this_worker(self.plan)
        return self.place.put(chunk.ids, lambda path: self._write(path, chunk, plan))

    def _write(self, path: Path, chunk: Chunk, plan: Plan) -> tuple[int, dict[str, int]]:
        from backbones.features_table import features_writer
        from backbones.inference import embed, record_batch

        rows, failed, buckets = 0, Counter[str](), chunk.buckets
        schema = features_schema(plan.layers)
        with features_writer(path, schema, plan) as write:
            for batch in embed(_pictures(chunk), plan):
                at = [buckets[one] for one in batch.ids]
                more: dict[str, list[Any]] = {"bucket": at, "maker": [self.place.maker] * len(at)}
                rows += write(record_batch(batch, plan, schema, **more))
                failed.update(error for error in batch.errors if error is not None)
        return rows, dict(failed)


def _pictures(chunk: Chunk) -> Iterator[tuple[str, bytes | None]]:
    for part, wanted in chunk.wanted.items():
        yield from bytes_of(part, wanted)
    for picture_id in chunk.without:
        yield picture_id, None


def _on_this_worker(plan: Plan) -> Plan:
    """The plan on this worker's GPU, where Spark has given it one."""
    if "pyspark" not in sys.modules:  # a process of this machine, not a worker of Spark
        return plan
    from pyspark import TaskContext

    context = TaskContext.get()
    gpus = context.resources().get("gpu") if context is not None else None
    if gpus is None or not gpus.addresses or plan.precision == "int8":
        return plan
    return replace(plan, engine="torch", device=f"cuda:{gpus.addresses[0]}")


def _publish(growth: Growth, plan: Plan, labelled: pa.Array) -> Manifest:
    """Count the labelled pictures' rows (also those of earlier runs) and publish."""
    rows = growth.rows(["picture_id", "flipped", "status", "error_class"])
    here = pc.and_(pc.is_in(rows["picture_id"], value_set=labelled), pc.invert(rows["flipped"]))
    failed = rows.filter(pc.and_(here, pc.not_equal(rows["status"], "ok")))
    reasons = Counter(failed["error_class"].to_pylist())
    pictures = len(labelled)
    good = pictures - failed.num_rows
    if pictures and not good:
        raise DataError(
            f"none of {pictures:,} pictures could be turned into features: {dict(reasons)}",
            hint="look at the pictures table: likewise status",
        )
    return growth.publish(
        features_schema(plan.layers),
        Funnel("extract", "pictures", pictures, good, dict(reasons)),
        rows.num_rows,
        backbone=plan.backbone,
        reason=choose(growth.study.config.extract.backbone).reason,
        layers=list(plan.layers),
        weights=plan.weights_id,
        random_weights=plan.random_weights,
        pre_relu=plan.pre_relu,
        engine=plan.engine,
        precision=plan.precision,
        views=plan.views,
    )


if __name__ == "__main__":
    from spark_jobs.entry import main

    main("spark_jobs.extract", "extract")
