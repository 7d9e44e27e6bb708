"""Three nights under faults at seeded moments: afterwards every table is that of a calm run.

The clock that jumps is the one that budgets, downloads and locks read; the one that dates rows
(``time.time_ns``) stands still in these nights, since what is read under a wrong clock says so.

``LIKEWISE_FAULTS`` (60) moments, for at most ``LIKEWISE_FAULTS_S`` (900) seconds beside the nights
themselves; what was done is printed, and what the time did not suffice for as well.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest
from night_runs import DAYS_AGO, TABLES, Reader, differing, finish, make, start, state

from likewise.errors import ExitCode
from likewise.nights import nights
from likewise.orphans import left_files, left_folders, left_processes
from likewise.study import Study

pytestmark = [pytest.mark.faults, pytest.mark.timeout(3600)]

MOMENTS = int(os.environ.get("LIKEWISE_FAULTS", "60"))
BOUND_S = float(os.environ.get("LIKEWISE_FAULTS_S", "900"))

WHO = {
    "driver": "",
    "inspection": "inspect_worker",
    "worker": "loky",
    "python worker": "pyspark.daemon",
    "jvm": "java",
}
"""Whom ``kill -9`` hits, and what its command line holds."""

ON_SPARK = {"python worker", "jvm"}
OTHERS = ("group", "second scheduler", "descriptors", "memory", "clock")
KINDS = (*WHO, *OTHERS)
# Sessions on Spark cost a minute each: every twentieth moment is one of them.
WEIGHTS = (6, 4, 4, 1, 1, 4, 2, 2, 2, 2)


def fault(kind: str, folder: Path, days: float, draw: random.Random) -> str:
    """Let one night run into a fault; returns what came of it."""
    if kind == "second scheduler":
        first = start(folder, days)
        time.sleep(draw.uniform(1.5, 4))
        second = start(folder, days)
        second.communicate(timeout=300)
        was = first.poll()
        end(first, 0, os.killpg)
        assert second.returncode == ExitCode.BUSY or was is not None, second.returncode
        return "hit" if second.returncode == ExitCode.BUSY else "missed"
    if kind in ("descriptors", "memory"):
        limit = {"descriptors": resource.RLIMIT_NOFILE, "memory": resource.RLIMIT_AS}[kind]
        most = draw.choice((24, 40, 60)) if kind == "descriptors" else draw.choice((1, 2)) << 30
        process = start(folder, days)
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(process.pid, limit, (most, most))
        process.communicate(timeout=600)
        return "hit" if process.returncode not in {0, 3} else "missed"
    if kind == "clock":
        return jump(folder, days, draw)
    if kind in ("group", "driver"):
        killer = os.killpg if kind == "group" else os.kill
        return end(start(folder, days), draw.uniform(0.5, 8), killer)
    return kill_below(kind, folder, days, draw)


def jump(folder: Path, days: float, draw: random.Random) -> str:
    """Set the wall clock forward and back by a day during a night, which ends as usual."""
    library, file = folder.parent / "clock.so", folder.parent / "clock"
    if not library.is_file():
        source = Path(__file__).with_name("clock.c")
        command = ["cc", "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"]
        subprocess.run(command, check=True)
    file.write_text("0", encoding="ascii")
    clock = {"LD_PRELOAD": str(library), "LIKEWISE_CLOCK": str(file)}
    process = start(folder, days, environment=clock)
    hits = 0
    for ahead in draw.choices((86_400, -86_400, 0), k=6):
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(draw.uniform(0.2, 2))
        hits += process.poll() is None and ahead != 0
        file.write_text(str(ahead), encoding="ascii")
    _, said = process.communicate(timeout=300)  # and nothing waits for a day
    assert process.returncode in {0, 3}, said.decode()
    return "hit" if hits else "missed"


def end(process: subprocess.Popen[bytes], after: float, killer: object) -> str:
    time.sleep(after)
    hit = process.poll() is None
    with contextlib.suppress(ProcessLookupError):  # it has ended before
        (os.killpg if killer is os.killpg else os.kill)(process.pid, signal.SIGKILL)
    process.communicate()
    return "hit" if hit else "missed"


def kill_below(kind: str, folder: Path, days: float, draw: random.Random) -> str:
    """Kill a process below the driver as soon as there is one; the night itself goes on."""
    options = ["--master", "local[2]"] if kind in ON_SPARK else []
    process = start(folder, days, *options)
    wait, hits = draw.uniform(0, 1.5), 0
    until = time.monotonic() + 60
    while process.poll() is None and not hits and time.monotonic() < until:
        time.sleep(0.05)
        for child in below(process.pid):
            with contextlib.suppress(psutil.Error):
                if WHO[kind] in " ".join(child.cmdline()):
                    time.sleep(wait)
                    child.kill()
                    hits += 1
                    break
    if kind == "jvm" and hits:
        process.communicate(timeout=600)
        return "hit"
    return end(process, draw.uniform(0, 4), os.killpg) if hits else end(process, 0, os.killpg)


def below(pid: int) -> list[psutil.Process]:
    with contextlib.suppress(psutil.Error):
        return psutil.Process(pid).children(recursive=True)
    return []


def clean(folder: Path) -> None:
    """``doctor --clean`` leaves nothing of killed runs behind."""
    command = [sys.executable, "-m", "likewise", "doctor", str(folder), "--clean", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, (done.stdout, done.stderr)
    study = Study.open(folder)
    assert {name: left_files(study, name) for name in study.store.names()} == {
        name: [] for name in study.store.names()
    }
    assert left_processes(folder) == [] and left_folders() == []
    assert not any((folder / ".staging").glob("*")), json.loads(done.stdout)


def test_three_nights_under_faults(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = tmp_path / "tmp"  # other tests' temporary folders are not ours to judge
    space.mkdir()
    monkeypatch.setenv("TMPDIR", str(space))
    monkeypatch.setattr(tempfile, "tempdir", str(space))
    # Faces are looked for by worker processes, so that there are some to kill.
    calm, rough = (make(tmp_path / name, url, detector="dlib-hog") for name in ("calm", "rough"))
    draw, spent = random.Random(int(os.environ.get("LIKEWISE_SEED", "19"))), 0.0
    hits, done = Counter[str](), Counter[str]()
    reader = Reader(rough)
    reader.start()
    for number, days in enumerate(DAYS_AGO, start=1):
        finish(calm, days)
        for _ in range(MOMENTS // len(DAYS_AGO)):
            if spent > BOUND_S * number / len(DAYS_AGO):
                break
            began = time.monotonic()
            kind = draw.choices(KINDS, WEIGHTS)[0]
            done[kind] += 1
            hits[kind] += fault(kind, rough, days, draw) == "hit"
            if done.total() % 5 == 0:
                clean(rough)
            spent += time.monotonic() - began
        finish(rough, days)
        clean(rough)
        known = [one["night"] for one in nights(Study.open(rough))]
        assert known[-1] >= number
    reader.stop.set()
    reader.join(60)
    print(
        f"\n{done.total()} of {MOMENTS} moments in {spent:.0f} s (seed and "
        f"bound: LIKEWISE_SEED, LIKEWISE_FAULTS_S); hit of done by place: "
        f"{ {kind: f'{hits[kind]}/{done[kind]}' for kind in KINDS} }; "
        f"a reader read {reader.reads} nights"
    )
    assert reader.errors == []
    mine, yours = state(Study.open(rough, at="now")), state(Study.open(calm, at="now"))
    assert differing(mine, yours) == dict.fromkeys(TABLES, 0)
    crashed = Study.open(rough).read("fetches", ["error_class"])["error_class"].to_pylist()
    assert "decoder_crashed" not in crashed


def test_a_zombie_that_writes_after_another_has_published_adds_nothing(
    url: str, tmp_path: Path
) -> None:
    study = Study.open(make(tmp_path / "study", url))
    finish(study.root, 0)
    before = study.read("features").num_rows
    part = study.parts("features")[0]
    maker = study.require("features").extra["maker"]
    add = study.store.put(Path(part), "features", f"{maker}-{'0' * 16}-zombie.parquet", 1)
    assert study.read("features").num_rows == before  # no commit names it
    assert left_files(study, "features") == [add.path]
    clean(study.root)
    assert study.read("features").num_rows == before
