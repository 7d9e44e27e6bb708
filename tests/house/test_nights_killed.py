"""Nights that are killed at random moments while somebody reads: no row differs."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.sandbox import World, WorldSpec, running
from likewise.config import render
from likewise.nights import nights
from likewise.study import Study

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

EPOCH = dt.datetime(2026, 1, 10, 12, tzinfo=dt.UTC)
DAYS_AGO = (90, 45, 0)

NIGHT = """
import sys, time
time.time_ns = lambda: int(sys.argv[2])
import likewise
from likewise.cli import run
sys.exit(run(["run", sys.argv[1], "--until", "extract"]))
"""

TABLES = ("posts", "authors", "kept_posts", "fetches", "pictures", "labels", "people", "features")
WHEN = ("fetched_at", "attempts")
"""Columns that say when a server was asked, by the real clock, and how often."""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running(World(WorldSpec(seed=3, authors=60, posts=240, epoch=EPOCH.date()))) as sandbox:
        sandbox.limiter.enabled = False
        yield sandbox.url


def make(folder: Path, url: str) -> Path:
    source = {"platform": "mastodon", "host": url, "permission": "a test", "tags": ["photo"]}
    folder.mkdir()
    text = render(
        {
            "collect": {"sources": [source]},
            "download": {"allow_hosts": ["127.0.0.1"], "buckets": 2, "workers": 1},
            "faces": {"detector": "none"},
            "extract": {"backbone": "efficientnet-lite0"},
            "label": {"folds": 2, "require_faces": False},
        }
    )
    (folder / "likewise.toml").write_text(text, encoding="utf-8")
    return folder


def start(folder: Path, days_ago: int) -> subprocess.Popen[bytes]:
    now = round((EPOCH - dt.timedelta(days=days_ago)).timestamp() * 1e9)
    return subprocess.Popen(
        [sys.executable, "-c", NIGHT, str(folder), str(now)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def finish(folder: Path, days_ago: int) -> None:
    process = start(folder, days_ago)
    _, said = process.communicate(timeout=900)
    assert process.returncode in {0, 3}, said.decode()


def state(study: Study) -> dict[str, list[str]]:
    """Every row of every table, without what hangs on the real clock."""
    return {table: rows(study, table) for table in TABLES}


def rows(study: Study, table: str) -> list[str]:
    found = study.read(table)
    kept: Any = found.drop_columns([name for name in WHEN if name in found.column_names])
    return sorted(map(str, kept.to_pylist()))


class Reader(threading.Thread):
    """Reads every night that has ended, again and again, and what is newest."""

    def __init__(self, folder: Path) -> None:
        super().__init__(daemon=True)
        self.folder, self.stop = folder, threading.Event()
        self.seen: dict[int, dict[str, list[str]]] = {}
        self.reads, self.errors = 0, list[str]()

    def run(self) -> None:
        while not self.stop.wait(0.2):
            try:
                self._look()
            except Exception as error:  # noqa: BLE001 - whatever a reader meets is a fault
                self.errors.append(repr(error))

    def _look(self) -> None:
        newest = Study.open(self.folder, at="now")
        for table in newest.tables():
            if newest.manifest(table) is not None:
                newest.read(table, newest.dataset(table).schema.names[:3])
        for night in [one["night"] for one in nights(Study.open(self.folder))]:
            found = state(Study.open(self.folder, at=night))
            before = self.seen.setdefault(night, found)
            if found != before:
                self.errors.append(f"night {night} has changed")
            self.reads += 1


def test_kills_over_three_nights_with_a_reader(url: str, tmp_path: Path) -> None:
    kills = int(os.environ.get("LIKEWISE_KILLS", "100"))
    calm, rough = make(tmp_path / "calm", url), make(tmp_path / "rough", url)
    moments, hits = random.Random(1), 0
    reader = Reader(rough)
    reader.start()
    for number, days in enumerate(DAYS_AGO, start=1):
        finish(calm, days)
        for _ in range(kills // len(DAYS_AGO) + 1):
            process = start(rough, days)
            time.sleep(moments.uniform(0.5, 8.0))
            hits += process.poll() is None
            with contextlib.suppress(ProcessLookupError):  # it has ended before
                os.killpg(process.pid, 9)
            process.communicate()
        finish(rough, days)
        assert [one["night"] for one in nights(Study.open(rough))] == list(range(1, number + 1))
    reader.stop.set()
    reader.join(60)
    print(f"{hits} kills hit a running night; a reader read {reader.reads} nights")
    assert hits >= kills // 3 and reader.reads >= 3
    assert not reader.errors
    for night in (1, 2, 3):
        mine, yours = (state(Study.open(one, at=night)) for one in (rough, calm))
        assert {t: mine[t] == yours[t] for t in TABLES} == dict.fromkeys(TABLES, True)
