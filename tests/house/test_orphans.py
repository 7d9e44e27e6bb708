"""What killed runs leave in temporary places, by whose process is gone."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from likewise.orphans import clean, left_folders

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where joblib puts what its processes share


@pytest.fixture(params=["temporary", "joblib's own", "shared memory"])
def place(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    if request.param == "shared memory":
        if not os.access(SHARED_MEMORY, os.W_OK):
            pytest.skip("no /dev/shm")
        yield SHARED_MEMORY
        return
    if request.param == "joblib's own":
        monkeypatch.setenv("JOBLIB_TEMP_FOLDER", str(tmp_path))
    else:
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    yield tmp_path


def test_folders_of_processes_that_are_gone_are_found_and_removed(
    place: Path, study_folder: Path
) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        pass  # it has ended
    name = uuid.uuid4().hex
    gone = place / f"joblib_memmapping_folder_{process.pid}_{name}_0"
    at_work = place / f"joblib_memmapping_folder_{os.getpid()}_{name}_0"
    other = place / f"somebody's folder {process.pid} {name}"
    try:
        for folder in (gone, at_work, other):
            folder.mkdir()
        (gone / "shared.pkl").write_bytes(b"x")
        found = left_folders()
        assert gone in found and at_work not in found and other not in found
        assert clean(study_folder)["temporary folders"] >= 1
        assert [folder.exists() for folder in (gone, at_work, other)] == [False, True, True]
    finally:
        for folder in (at_work, other):
            folder.rmdir()
