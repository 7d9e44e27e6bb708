"""Nights that are killed in every stage while somebody reads: no row differs."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest
from night_runs import DAYS_AGO, TO_THE_REPORT, Reader, differing, finish, make, place, start, state

from likewise import runner
from likewise.nights import nights
from likewise.study import Study

pytestmark = [pytest.mark.faults, pytest.mark.timeout(7200)]

STAGES = (runner.STAGES[0], "refresh", *runner.STAGES[1:])
WORK = set(STAGES[2:])
WHOLE = ("--until", "report")
KILLS = int(os.environ.get("LIKEWISE_KILLS", "110"))


def reach(folder: Path, process: subprocess.Popen[bytes], stage: str) -> None:
    """Wait until the night is at a stage or beyond it, or has ended."""
    wanted = STAGES.index(stage)
    while process.poll() is None:
        at = place(folder, process.pid).removeprefix("after ")
        if at in STAGES and STAGES.index(at) >= wanted:
            return
        time.sleep(0.01)


def lasted(folder: Path, night: int) -> dict[str, float]:
    """Seconds of each stage of a night that nobody disturbed; of the report, those of `compare`."""
    text = (folder / "logs" / "likewise.jsonl").read_text(encoding="utf-8")
    lines = [json.loads(line) for line in text.splitlines()]
    ended = [x for x in lines if x["message"] == "stage ends" and x.get("night") == night]
    found = {line["stage"]: float(line["seconds"]) for line in ended}
    return found | {"report": found["compare"]}


def test_kills_over_three_nights_with_a_reader(url: str, tmp_path: Path) -> None:
    calm, rough = (make(tmp_path / name, url, detector="dlib-hog") for name in ("calm", "rough"))
    moments, places = random.Random(1), Counter[str]()
    reader = Reader(rough, TO_THE_REPORT)
    reader.start()
    for number, days in enumerate(DAYS_AGO, start=1):
        finish(calm, days, *WHOLE)
        lasts = lasted(calm, number)
        for stage in STAGES:
            # The stages that work get twice as many as collecting, which asks nothing again.
            share = 2 if stage in WORK else 1
            for _ in range(round(KILLS * share / (len(STAGES) + len(WORK)) / len(DAYS_AGO))):
                process = start(rough, days, *WHOLE)
                reach(rough, process, stage)
                time.sleep(moments.uniform(0, 0.7 * lasts[stage]))
                hit = process.poll() is None
                with contextlib.suppress(ProcessLookupError):  # it has ended before
                    os.killpg(process.pid, signal.SIGKILL)
                process.communicate()
                at = place(rough, process.pid) if hit else "missed"
                places[at] += 1
                print(f"night {number}, aimed at {stage}, hit {at}", flush=True)
        finish(rough, days, *WHOLE)
        assert [one["night"] for one in nights(Study.open(rough))] == list(range(1, number + 1))
    reader.stop.set()
    reader.join(60)
    at_work = sum(times for at, times in places.items() if at in WORK)
    print(
        f"{places.total()} kills, {at_work} of them in a stage that works: {dict(places)}; "
        f"a reader read {reader.reads} nights"
    )
    assert not reader.errors
    for night in (1, 2, 3):
        mine, yours = (state(Study.open(one, at=night), TO_THE_REPORT) for one in (rough, calm))
        rows = sum(map(len, yours.values()))
        print(f"night {night}: {rows:,} rows, different {differing(mine, yours)}")
        assert differing(mine, yours) == dict.fromkeys(TO_THE_REPORT, 0)
    assert at_work >= 0.6 * places.total() and reader.reads >= 3
