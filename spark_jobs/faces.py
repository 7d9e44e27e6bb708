"""``faces``: pictures -> faces. A detector's answer about every distinct picture."""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from filters.faces.detectors import DETECTORS, Detect, choose, find_faces, load, model_of
from filters.pictures.decode import PictureError
from likewise.funnel import Funnel
from likewise.study import Manifest, Stage, Study
from likewise.tables import FACES
from spark_jobs.frames import PICTURE_KEY, collect_arrow, read_parts, read_table
from spark_jobs.session import picture_batches, spark_progress, spark_session

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pyspark.sql import DataFrame

__all__ = ["faces"]

CODE = 1


def faces(
    study: Study | str | os.PathLike[str], *, redo: bool = False, master: str | None = None
) -> Manifest:
    """Look for faces in every distinct picture; publish ``faces``, one row a picture.

    With ``[faces] detector = "none"`` the table is empty and ``label`` keeps all pictures.

    Raises:
        MissingTableError: pictures have not been downloaded.
        WeightsError: the chosen detector's model is missing or damaged.
    """
    study = Study.open(study)
    settings = study.config.faces
    if settings.detector == "none":
        return _without_looking(study, redo=redo)
    choice = choose(settings.detector)
    spec = DETECTORS[choice.name]
    looking = Looking(
        choice.name,
        settings.input_side or spec.input_side,
        spec.min_confidence if settings.min_confidence is None else settings.min_confidence,
    )
    n_buckets = study.require("pictures").made_from["n_buckets"]
    stage = study.begin(
        "faces",
        inputs=["pictures"],
        params=asdict(looking),
        code=CODE,
        redo=redo,
        n_buckets=n_buckets,
    )
    if stage.done:
        return stage.manifest
    model = model_of(choice.name)
    load(choice.name, model)  # a missing library is told here and not by a worker
    spark = spark_session(study.config, master=master)
    with spark_progress(spark, f"faces ({choice.name})"), picture_batches(spark):
        pictures = read_table(spark, study, "pictures").where("status = 'ok'")
        copies = _copies(pictures)
        for wave in _waves(stage.missing_buckets(), spark.sparkContext.defaultParallelism):
            _look(study, stage, wave, copies, looking, model)
        rows_in = pictures.count()
    return _publish(stage, rows_in, asdict(looking) | {"reason": choice.reason})


def _without_looking(study: Study, *, redo: bool) -> Manifest:
    stage = study.begin(
        "faces", inputs=["pictures"], params={"detector": "none"}, code=CODE, redo=redo
    )
    if stage.done:
        return stage.manifest
    rows = study.dataset("pictures").count_rows(filter=pc.field("status") == "ok")
    stage.write(FACES.schema.empty_table())
    funnel = Funnel("faces", "pictures", rows, 0, {"not looked at: no detector is set": rows})
    return stage.publish(funnel=funnel, detector="none")


@dataclass(frozen=True, slots=True)
class Looking:
    """How pictures are looked at: what the rows of ``faces`` depend on."""

    detector: str
    input_side: int
    min_confidence: float


def _waves(buckets: Sequence[int], cores: int) -> Iterator[Sequence[int]]:
    """Buckets that one Spark job does: enough to keep all cores busy, few enough to lose little."""
    size = max(4, 2 * cores)
    for start in range(0, len(buckets), size):
        yield buckets[start : start + size]


def _copies(pictures: DataFrame) -> DataFrame | None:
    """Keys of rows whose picture stands under a smaller key too; None when there is none."""
    from pyspark.sql import Window
    from pyspark.sql import functions as F  # noqa: N812

    same = Window.partitionBy("picture_id").orderBy(*PICTURE_KEY)
    ranked = pictures.select("picture_id", *PICTURE_KEY, F.row_number().over(same).alias("rank"))
    copies = collect_arrow(ranked.where("rank > 1").select(*PICTURE_KEY))
    return pictures.sparkSession.createDataFrame(copies) if copies.num_rows else None


def _look(
    study: Study,
    stage: Stage,
    wave: Sequence[int],
    copies: DataFrame | None,
    looking: Looking,
    model: bytes,
) -> None:
    """Detect in the buckets of one wave and publish each of them."""
    from pyspark.sql import SparkSession
    from pyspark.sql import functions as F  # noqa: N812
    from pyspark.sql.pandas.types import from_arrow_schema

    spark = SparkSession.active()
    parts = [part for bucket in wave for part in study.parts("pictures", bucket)]
    pictures = read_parts(spark, "pictures", parts).where("status = 'ok'")
    if copies is not None:
        pictures = pictures.join(F.broadcast(copies), list(PICTURE_KEY), "left_anti")
    narrow = pictures.select("picture_id", "bucket", "bytes")
    found = narrow.mapInArrow(_detector(looking, model), from_arrow_schema(FACES.schema))
    with tempfile.TemporaryDirectory(dir=study.folder(".staging"), prefix="faces-") as scratch:
        made = Path(scratch) / "parts"
        found.withColumn("part", F.col("bucket")).write.partitionBy("part").parquet(str(made))
        for bucket in wave:
            with stage.bucket(bucket) as directory:
                _move(made / f"part={bucket}", directory)


def _move(source: Path, target: Path) -> None:
    """Move one bucket's parts; a bucket without pictures gets an empty one."""
    parts = sorted(source.glob("*.parquet"))
    for number, part in enumerate(parts):
        os.rename(part, target / f"part-{number:04d}.parquet")
    if not parts:
        pq.write_table(FACES.schema.empty_table(), target / "part-0000.parquet")


def _detector(
    looking: Looking, model: bytes
) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """What runs in Spark's workers: one detector a worker, one thread, batch after batch."""

    def run(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        detect = load(looking.detector, model)
        for batch in batches:
            rows = [_row(picture, detect, looking) for picture in batch.to_pylist()]
            yield pa.RecordBatch.from_pylist(rows, schema=FACES.schema)

    return run


def _row(picture: dict[str, Any], detect: Detect, looking: Looking) -> dict[str, Any]:
    row = {
        "picture_id": picture["picture_id"],
        "bucket": picture["bucket"],
        "detector": looking.detector,
        "status": "ok",
    }
    try:
        found = find_faces(picture["bytes"], detect, input_side=looking.input_side)
    except PictureError as error:
        return row | {"status": "failed", "error_class": error.error_class}
    names = ("x", "y", "width", "height")
    return row | {
        "n_faces": found.count(looking.min_confidence),
        "best_confidence": max(found.confidences.tolist(), default=None),
        "boxes": [dict(zip(names, box, strict=True)) for box in found.boxes.tolist()],
        "confidences": found.confidences.tolist(),
        "landmarks": None if found.landmarks is None else found.landmarks.tolist(),
    }


def _publish(stage: Stage, rows_in: int, facts: dict[str, Any]) -> Manifest:
    """Publish with what the report shows: pictures by number of faces, and failures by class."""
    table = ds.dataset(stage.path, format="parquet", partitioning=None).to_table(
        columns=["n_faces", "best_confidence", "status", "error_class"]
    )
    faces_found = Counter(min(n, 5) for n in table["n_faces"].to_pylist() if n is not None)
    failed = Counter(name for name in table["error_class"].to_pylist() if name is not None)
    funnel = Funnel(
        "faces",
        "pictures",
        rows_in,
        table.num_rows,
        {"copy of another picture": rows_in - table.num_rows},
    )
    return stage.publish(
        funnel=funnel,
        rows=table.num_rows,
        **facts,
        pictures_by_faces={("5+" if n == 5 else str(n)): faces_found[n] for n in range(6)},
        failed=dict(sorted(failed.items())),
        confidence=_confidence_histogram(table["best_confidence"]),
    )


def _confidence_histogram(best: pa.ChunkedArray) -> dict[str, list[float] | list[int]]:
    values = best.drop_null().to_numpy()
    counts, edges = np.histogram(values, bins=40)
    return {"edges": edges.tolist(), "counts": counts.tolist()}


if __name__ == "__main__":
    from spark_jobs.entry import main

    main("spark_jobs.faces", "faces")
