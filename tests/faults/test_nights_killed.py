"""Nights that are killed at random moments while somebody reads: no row differs."""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest
from night_runs import (
    DAYS_AGO,
    TABLES,
    Reader,
    differing,
    finish,
    make,
    place,
    start,
    state,
)

from likewise.nights import nights
from likewise.study import Study

pytestmark = [pytest.mark.faults, pytest.mark.timeout(3600)]


STAGES = ("collect", "refresh", "clean", "download", "label", "extract")


def reach(folder: Path, process: subprocess.Popen[bytes], stage: str) -> None:
    """Wait until the night is at a stage, or has ended."""
    while process.poll() is None and place(folder, process.pid) != stage:
        time.sleep(0.05)


def test_kills_over_three_nights_with_a_reader(url: str, tmp_path: Path) -> None:
    kills = int(os.environ.get("LIKEWISE_KILLS", "100"))
    calm, rough = make(tmp_path / "calm", url), make(tmp_path / "rough", url)
    moments, places = random.Random(1), Counter[str]()
    reader = Reader(rough)
    reader.start()
    for number, days in enumerate(DAYS_AGO, start=1):
        finish(calm, days)
        for _ in range(kills // len(DAYS_AGO) + 1):
            process = start(rough, days)
            reach(rough, process, moments.choice(STAGES))
            time.sleep(moments.uniform(0, 2))
            hit = process.poll() is None
            with contextlib.suppress(ProcessLookupError):  # it has ended before
                os.killpg(process.pid, 9)
            process.communicate()
            places[place(rough, process.pid) if hit else "missed"] += 1
        finish(rough, days)
        assert [one["night"] for one in nights(Study.open(rough))] == list(range(1, number + 1))
    reader.stop.set()
    reader.join(60)
    hits = places.total() - places["missed"]
    print(f"{hits} kills hit a running night: {dict(places)}; a reader read {reader.reads} nights")
    assert hits >= kills // 3 and reader.reads >= 3
    assert not reader.errors
    for night in (1, 2, 3):
        mine, yours = (state(Study.open(one, at=night)) for one in (rough, calm))
        rows = sum(map(len, yours.values()))
        print(f"night {night}: {rows:,} rows, different {differing(mine, yours)}")
        assert differing(mine, yours) == dict.fromkeys(TABLES, 0)
