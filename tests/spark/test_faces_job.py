"""``faces`` bucket by bucket: what a killed run has published is not made again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from study_rows import BUCKETS, configure, picture, publish_pictures

from likewise.study import Study
from spark_jobs import faces as job


def test_a_killed_run_goes_on_at_the_first_missing_bucket(
    study_folder: Path, spark: Any, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photographs = sorted((shared / "faces" / "caltech_people").glob("*.jpg"))[:24]
    publish_pictures(study_folder, [picture(n, p.read_bytes()) for n, p in enumerate(photographs)])
    configure(study_folder, faces={"detector": "dlib-hog"})
    looked = job._look
    waves: list[list[int]] = []

    def look_and_stop(*arguments: Any) -> None:
        waves.append(list(arguments[2]))
        if len(waves) == 2:
            raise KeyboardInterrupt
        looked(*arguments)

    monkeypatch.setattr(job, "_look", look_and_stop)
    with pytest.raises(KeyboardInterrupt):
        job.faces(study_folder)
    assert Study.open(study_folder).manifest("faces") is None
    manifest = job.faces(study_folder)
    again = [bucket for wave in waves[1:] for bucket in wave]
    assert set(waves[0]).isdisjoint(waves[2])
    assert set(waves[0]) | set(again) == set(range(BUCKETS))
    assert manifest.rows == 24
    by_faces = manifest.extra["pictures_by_faces"]
    assert by_faces["1"] >= 23 and sum(by_faces.values()) == 24
    assert job.faces(study_folder) == manifest


def test_without_a_detector_nothing_is_looked_at(study_folder: Path) -> None:
    publish_pictures(study_folder, [picture(n, bytes([n])) for n in range(3)])
    configure(study_folder, faces={"detector": "none"})
    manifest = job.faces(study_folder)
    assert manifest.rows == 0
    assert manifest.funnel is not None
    assert manifest.funnel["dropped"] == {"not looked at: no detector is set": 3}
