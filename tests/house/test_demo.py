"""The demo, killed at random moments, ends with the tables of an undisturbed one."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pytest

from likewise.study import Study
from likewise.tables import TABLES

ROOT = Path(__file__).resolve().parents[2]

WORLD = ["--authors", "80", "--posts", "220", "--seed", "5"]

# What depends on the moment at which a row was read, and on how often it had to be asked for.
MOMENTS = {"collected_at", "fetched_at", "audience_at", "age_days", "attempts"}


def start(folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "infra.demo", "--folder", str(folder), *WORLD],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def kill(process: subprocess.Popen[bytes]) -> None:
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def rows(study: Study, table: str) -> pa.Table:
    spec = TABLES[table]
    names = [name for name in study.dataset(table).schema.names if name not in MOMENTS]
    keys = [(name, "ascending") for name in spec.key if name not in MOMENTS]
    return study.read(table, names).sort_by(keys)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_killed_ten_times_it_ends_with_the_same_tables(tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    assert start(whole).wait(600) == 0
    killed = tmp_path / "killed"
    killed.mkdir()
    shutil.copy(whole / "world.json", killed)
    draw = random.Random(7)
    for _ in range(10):
        process = start(killed)
        time.sleep(draw.uniform(3, 25))
        if process.poll() is not None:
            break
        kill(process)
    assert start(killed).wait(600) == 0
    one, other = Study.open(whole / "study"), Study.open(killed / "study")
    for table in TABLES:
        assert rows(one, table).equals(rows(other, table)), table
    assert (killed / "study" / "reports" / "report.html").is_file()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_ctrl_c_is_130_and_nothing_is_left_running(tmp_path: Path) -> None:
    process = start(tmp_path / "demo")
    time.sleep(12)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(60) == 130
    deadline = time.monotonic() + 30  # Java and its Python workers notice on their own
    while group_lives(process.pid) and time.monotonic() < deadline:
        time.sleep(0.5)
    assert not group_lives(process.pid)
