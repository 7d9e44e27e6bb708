"""``faces`` bucket by bucket: what a killed run has published is not made again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from study_rows import BUCKETS, configure, picture, publish_pictures

from likewise.errors import UsageError
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


def test_no_detector_is_told(study_folder: Path) -> None:
    configure(study_folder, faces={"detector": "none"})
    with pytest.raises(UsageError, match="no faces are looked for"):
        job.faces(study_folder)
