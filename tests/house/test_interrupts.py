"""Ctrl-C at any moment of any verb is exit 130 (or the verb's own end), never a traceback."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MOMENTS = int(os.environ.get("LIKEWISE_MOMENTS", "20"))

EARLIEST_S = 0.15
"""Until then Python itself starts, before any line of this project runs."""

VERBS = {
    "clean": ["--redo"],
    "faces": ["--redo"],
    "label": ["--redo"],
    "extract": ["--redo"],
    "compare": ["--redo"],
    "rank": ["--redo"],
    "download": ["--retry", "all"],
    "collect": ["--since", "2015-01-01"],
    "refresh": [],
    "explain": ["--redo"],
    "report": ["--redo"],
    "run": [],
    "status": [],
    "doctor": ["--spark"],
    "tokens": [],
}
"""Verbs that take a study, with what makes them do all their work again."""


def start(verb: str, study: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "likewise", verb, str(study), *VERBS[verb]],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("verb", VERBS)
def test_an_interrupt_at_any_moment(made: Path, tmp_path: Path, verb: str) -> None:
    study = tmp_path / "study"
    shutil.copytree(made, study)
    began = time.monotonic()
    with start(verb, study) as whole:
        _, said = whole.communicate(timeout=600)
    lasted, ended = time.monotonic() - began, whole.returncode
    assert "Traceback" not in said
    for number in range(MOMENTS):
        moment = EARLIEST_S + (lasted - EARLIEST_S) * number / MOMENTS
        with start(verb, study) as process:
            time.sleep(moment)
            with contextlib.suppress(ProcessLookupError):  # it was quicker than before
                os.killpg(process.pid, signal.SIGINT)
            _, said = process.communicate(timeout=120)
        assert process.returncode in {130, ended}, (moment, said)
        assert "Traceback" not in said and "Exception ignored" not in said, (moment, said)
