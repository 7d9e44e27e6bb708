"""``faces``: pictures -> faces. A detector's answer about every distinct picture, asked once."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from filters.faces.detectors import Detect, find_faces, is_frame, load
from filters.faces.known import model_of
from filters.pictures.decode import PictureError
from likewise.funnel import Funnel
from likewise.growth import Growth, Made, Place
from likewise.pictures import bytes_of
from likewise.progress import progress
from likewise.study import Manifest, Study
from likewise.tables import FACES
from likewise.working import changes_study
from spark_jobs import begin
from spark_jobs.begin import Looking
from spark_jobs.chunks import Chunk, chunks, distinct_pictures, missing_from
from spark_jobs.session import survives_java
from spark_jobs.tasks import in_turn

__all__ = ["faces"]

ROWS_AT_ONCE = 256


@changes_study("faces")
@survives_java
def faces(
    study: Study | str | os.PathLike[str], *, redo: bool = False, master: str | None = None
) -> Manifest:
    """Look for faces in every distinct picture that this detector has not seen; publish ``faces``.

    With ``[faces] detector = "none"`` no row is published and ``label`` keeps all pictures.

    Raises:
        MissingTableError: pictures have not been downloaded.
        WeightsError: the chosen detector's model is missing or damaged.
    """
    study = Study.open(study)
    growth = begin.faces(study, redo=redo)
    if study.config.faces.detector == "none":
        return _without_looking(study, growth)
    looking, choice = begin.looking(study)
    if growth.done:
        return growth.manifest
    model = model_of(choice.name)
    load(choice.name, model)  # a missing library is told here and not by a worker
    pictures = distinct_pictures(study)
    tasks = chunks(study, missing_from(pictures, growth.known()), os.cpu_count() or 1)
    items = sum(len(task.ids) for task in tasks)
    with progress(f"faces ({choice.name})", items) as bar:
        work = _Work(growth.place, looking, model)
        for made in in_turn(study.config, tasks, work, items=items, master=master):
            growth.commit(made, FACES.schema)
            bar.advance(sum(one.items for one in made))
    return _publish(growth, pictures, asdict(looking) | {"reason": choice.reason})


def _without_looking(study: Study, growth: Growth) -> Manifest:
    if growth.done:
        return growth.manifest
    rows = study.require("pictures").rows
    funnel = Funnel("faces", "pictures", rows, 0, {"not looked at: no detector is set": rows})
    return growth.publish(FACES.schema, funnel, 0, detector="none")


@dataclass(frozen=True, slots=True)
class _Work:
    """What a worker does with a task: one detector a worker, one thread, picture after picture."""

    place: Place
    looking: Looking
    model: bytes

    def __call__(self, chunk: Chunk) -> Made:
        return self.place.put(chunk.ids, lambda path: self._write(path, chunk))

    def _write(self, path: Path, chunk: Chunk) -> tuple[int, dict[str, int]]:
        rows = 0
        with pq.ParquetWriter(
            path, FACES.schema, compression="zstd", write_page_checksum=True
        ) as writer:
            for batch in self._batches(chunk):
                writer.write_batch(batch)
                rows += batch.num_rows
        return rows, {}

    def _batches(self, chunk: Chunk) -> Iterator[pa.RecordBatch]:
        detect = load(self.looking.detector, self.model)
        held: list[dict[str, Any]] = []
        for part, wanted in chunk.wanted.items():
            for picture_id, data in bytes_of(part, wanted):
                who = {"picture_id": picture_id, "bucket": wanted[picture_id]}
                held.append(_row(who | {"maker": self.place.maker}, data, detect, self.looking))
                if len(held) == ROWS_AT_ONCE:
                    yield pa.RecordBatch.from_pylist(held, schema=FACES.schema)
                    held = []
        yield pa.RecordBatch.from_pylist(held, schema=FACES.schema)


def _row(who: dict[str, Any], data: bytes, detect: Detect, looking: Looking) -> dict[str, Any]:
    row = who | {"detector": looking.detector, "status": "ok"}
    try:
        turns = looking.turned == "always" or (looking.turned == "auto" and not is_frame(data))
        found = find_faces(
            data,
            detect,
            input_side=looking.input_side,
            turn_below=looking.min_confidence if turns else None,
        )
    except PictureError as error:
        return row | {"status": "failed", "error_class": error.error_class}
    names = ("x", "y", "width", "height")
    return row | {
        "n_faces": found.count(looking.min_confidence),
        "best_confidence": max(found.confidences.tolist(), default=None),
        "boxes": [dict(zip(names, box, strict=True)) for box in found.boxes.tolist()],
        "confidences": found.confidences.tolist(),
        "landmarks": None if found.landmarks is None else found.landmarks.tolist(),
        "turned": found.turned,
    }


def _publish(growth: Growth, pictures: pa.Array, facts: dict[str, Any]) -> Manifest:
    """Publish with what the report shows: pictures by number of faces, and failures by class."""
    columns = ["picture_id", "n_faces", "best_confidence", "turned", "status", "error_class"]
    everything = growth.rows(columns)
    table = everything.filter(pc.is_in(everything["picture_id"], value_set=pictures))
    faces_found = Counter(min(n, 5) for n in table["n_faces"].to_pylist() if n is not None)
    failed = Counter(name for name in table["error_class"].to_pylist() if name is not None)
    funnel = Funnel("faces", "pictures", len(pictures), table.num_rows, {})
    return growth.publish(
        FACES.schema,
        funnel,
        everything.num_rows,
        **facts,
        pictures_by_faces={("5+" if n == 5 else str(n)): faces_found[n] for n in range(6)},
        found_turned=sum(bool(turned) for turned in table["turned"].to_pylist()),
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
