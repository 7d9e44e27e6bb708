"""SIGTERM, to the process or its whole group, ends any stage within 10 s with 130 and one JSON."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).resolve().parents[2]
MOMENTS = int(os.environ.get("LIKEWISE_MOMENTS", "3"))
LIMIT_S = 10.0

STAGES = {
    "clean": ["--redo"],
    "clean-on-spark": ["--redo", "--master", "local[2]"],
    "faces": ["--redo"],
    "extract": ["--redo"],
    "extract-on-spark": ["--redo", "--master", "local[2]"],
    "compare": ["--redo"],
    "rank": ["--redo"],
    "download": ["--retry", "all"],
    "doctor": ["--spark"],
}

LOADED_S = 0.5
"""Until then Python itself may still start: nothing of ours could answer."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def left_of(session: int) -> list[list[str]]:
    """Living processes of a session."""
    found = []
    for one in psutil.process_iter():
        with contextlib.suppress(psutil.Error, ProcessLookupError):
            if os.getsid(one.pid) == session and one.status() != psutil.STATUS_ZOMBIE:
                found.append(one.cmdline())
    return found


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("kill", [os.kill, os.killpg], ids=["process", "group"])
def test_sigterm_at_any_moment(made: Path, tmp_path: Path, stage: str, kill: object) -> None:
    study = tmp_path / "study"
    shutil.copytree(made, study)
    verb = stage.partition("-")[0]
    command = [sys.executable, "-m", "likewise", verb, str(study), *STAGES[stage], "--json"]
    began = time.monotonic()
    whole = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900)
    lasted = time.monotonic() - began
    moments = random.Random(stage)
    slowest = 0.0
    for _ in range(MOMENTS):
        moment = moments.uniform(LOADED_S, lasted)
        with subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            start_new_session=True,
        ) as process:  # fmt: skip
            time.sleep(moment)
            asked = time.monotonic()
            with contextlib.suppress(ProcessLookupError):  # it was quicker than before
                (os.kill if kill is os.kill else os.killpg)(process.pid, signal.SIGTERM)
            said, errors = process.communicate(timeout=120)
            slowest = max(slowest, time.monotonic() - asked)
        assert process.returncode in {130, whole.returncode}, (moment, said, errors)
        assert slowest < LIMIT_S, (moment, errors)
        assert "Traceback" not in errors, (moment, errors)
        told = json.loads(said.strip().splitlines()[-1])
        assert process.returncode != 130 or told["code"] == 130
        time.sleep(0.5)  # loky's tracker leaves when it sees that everybody has gone
        assert left_of(process.pid) == [], moment
    print(f"{stage}: {MOMENTS} moments, the slowest end took {slowest:.1f} s")
