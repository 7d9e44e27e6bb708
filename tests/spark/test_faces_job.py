"""``faces``: every distinct picture is looked at once by each detector, whatever kills the run."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from study_rows import configure, picture, publish_pictures

from filters.pictures.decode import decode_rgb
from likewise.study import Study
from spark_jobs import faces as job


def test_pictures_are_looked_at_once_by_each_detector(
    study_folder: Path, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photographs = sorted((shared / "faces" / "caltech_people").glob("*.jpg"))[:12]
    rows = [picture(n, p.read_bytes()) for n, p in enumerate(photographs)]
    publish_pictures(study_folder, [*rows[:8], picture(99, photographs[0].read_bytes())])
    configure(study_folder, faces={"detector": "dlib-hog"})
    monkeypatch.setattr("spark_jobs.chunks.LEAST", 3)
    monkeypatch.setattr("spark_jobs.chunks.MOST", 3)
    work, seen = job._Work.__call__, list[str]()

    def watch(self, chunk):  # type: ignore[no-untyped-def]
        if len(seen) == 3:
            raise KeyboardInterrupt
        seen.extend(chunk.ids)
        return work(self, chunk)

    monkeypatch.setattr(job._Work, "__call__", watch)
    with pytest.raises(KeyboardInterrupt):
        job.faces(study_folder)
    assert Study.open(study_folder).manifest("faces") is None

    def count(self, chunk):  # type: ignore[no-untyped-def]
        seen.extend(chunk.ids)
        return work(self, chunk)

    monkeypatch.setattr(job._Work, "__call__", count)
    manifest = job.faces(study_folder)
    assert len(seen) == len(set(seen)) == 8
    assert manifest.funnel is not None
    assert (manifest.funnel["rows_in"], manifest.funnel["rows_out"]) == (8, 8)
    by_faces = manifest.extra["pictures_by_faces"]
    assert by_faces["1"] >= 7 and sum(by_faces.values()) == manifest.rows == 8
    assert job.faces(study_folder) == manifest
    publish_pictures(study_folder, rows)
    assert job.faces(study_folder).rows == 12
    assert len(seen) == len(set(seen)) == 12
    before = Study.open(study_folder).read("faces")
    configure(study_folder, faces={"detector": "haar"})
    job.faces(study_folder)
    assert set(Study.open(study_folder).read("faces")["detector"].to_pylist()) == {"haar"}
    configure(study_folder, faces={"detector": "dlib-hog"})
    job.faces(study_folder)
    assert len(seen) == 24
    assert Study.open(study_folder).read("faces").equals(before)


def test_without_a_detector_nothing_is_looked_at(study_folder: Path) -> None:
    publish_pictures(study_folder, [picture(n, bytes([n])) for n in range(3)])
    configure(study_folder, faces={"detector": "none"})
    manifest = job.faces(study_folder)
    assert manifest.rows == 0
    assert manifest.funnel is not None
    assert manifest.funnel["dropped"] == {"not looked at: no detector is set": 3}


@pytest.mark.parametrize(
    ("turned", "size", "found"),
    [("auto", None, 1), ("never", None, 0), ("auto", (640, 360), 0), ("always", (640, 360), 1)],
)
def test_turned_pictures_are_tried_unless_they_are_frames(
    study_folder: Path, shared: Path, turned: str, size: tuple[int, int] | None, found: int
) -> None:
    """A portrait on its side, as it is and in a picture of a film frame's size."""
    path = shared / "faces" / "caltech_people" / "image_0001.jpg"
    lying = np.rot90(decode_rgb(path.read_bytes()))
    image = Image.fromarray(np.ascontiguousarray(lying))
    if size is not None:
        canvas = Image.new("RGB", size)
        image.thumbnail(size)
        canvas.paste(image)
        image = canvas
    file = io.BytesIO()
    image.save(file, "jpeg", quality=95)
    publish_pictures(study_folder, [picture(1, file.getvalue())])
    configure(study_folder, faces={"detector": "dlib-hog", "turned": turned})
    manifest = job.faces(study_folder)
    assert manifest.extra["found_turned"] == found
    assert Study.open(study_folder).read("faces")["n_faces"].to_pylist() == [found]
