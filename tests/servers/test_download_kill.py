"""``kill -9`` at random moments: the final rows are those of a run that nobody disturbed."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from misbehaving import Misbehaving

from likewise.study import Study

CALL = "from likewise.cli import main; main()"


def rows(study: Study) -> list[tuple[Any, ...]]:
    """Everything of both tables that does not depend on the clock, sorted."""
    names = ["post_id", "bucket", "status", "error_class", "picture_id"]
    fetches, pictures = study.read("fetches", names), study.read("pictures")
    order = [("picture_id", "ascending")]
    return [
        *sorted(zip(*fetches.to_pydict().values(), strict=True), key=lambda row: row[0]),
        *zip(*pictures.sort_by(order).to_pydict().values(), strict=True),
    ]


def start(root: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", CALL, "download", str(root)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def survive(study: Study, kills: int, seed: int) -> int:
    """Run the command, kill it ``kills`` times, and let it end. Returns how many kills hit it."""
    moments = random.Random(seed)
    hits = 0
    for _ in range(kills):
        process = start(study.root)
        time.sleep(moments.uniform(0.6, 3.0))
        hits += process.poll() is None
        process.kill()
        process.communicate()
    process = start(study.root)
    _, said = process.communicate(timeout=120)
    assert process.returncode in {0, 3}, said.decode()
    return hits


@pytest.mark.parametrize(
    ("kills", "n"),
    [(3, 240), pytest.param(50, 2_400, marks=[pytest.mark.slow, pytest.mark.timeout(900)])],
)
def test_kill(server: Misbehaving, make_study: Callable[..., Study], kills: int, n: int) -> None:
    server.delay = 0.02 if kills == 3 else 0.1
    urls = [
        server.url("/status/404" if number % 40 == 7 else f"/ok/{number % 50}")
        for number in range(n)
    ]
    study = make_study(urls, concurrency=4, per_host=4, buckets=4, max_attempts=1)
    # The last ones may find the work done.
    assert survive(study, kills, seed=kills) >= max(1, kills - 15)
    disturbed = rows(study)
    asked = Counter(seen.path for seen in server.seen)
    # 50 pictures, of which number 7 and its like are asked for at addresses that are gone.
    shown = {number % 50 for number in range(n) if number % 40 != 7}
    assert len({row[0] for row in disturbed}) == len(disturbed) == n + len(shown)
    # A kill costs what had not reached the disk: the rows of one second and those in flight.
    lost = sum(asked.values()) - n
    assert lost <= kills * (1.0 / server.delay * 4 + 64)

    server.delay = 0.0
    calm = make_study(urls, concurrency=4, per_host=4, buckets=4, max_attempts=1)
    import shutil

    for table in ("fetches", "pictures"):
        shutil.rmtree(study.root / "tables" / table)
    survive(calm, 0, seed=0)
    assert rows(calm) == disturbed


def test_no_process_is_left_behind_by_a_kill(
    server: Misbehaving, make_study: Callable[..., Study]
) -> None:
    import psutil

    server.delay = 0.2
    study = make_study([server.url(f"/ok/{number}") for number in range(200)], per_host=1)
    process = start(study.root)
    children: list[psutil.Process] = []
    until = time.monotonic() + 30
    while not children and time.monotonic() < until:
        children = psutil.Process(process.pid).children(recursive=True)
        time.sleep(0.05)
    process.kill()
    process.communicate()
    gone, alive = psutil.wait_procs(children, timeout=10)
    assert gone and not alive
