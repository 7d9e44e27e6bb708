"""Nights of a small study as processes of their own, what they made, and a reader beside them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from moved_clock import Clock

from likewise.config import render
from likewise.nights import nights
from likewise.study import Study

DAYS_AGO = (90, 45, 0)

NIGHT = """
import sys, time
time.time_ns = lambda: int(sys.argv[2])
import likewise
from likewise.cli import run
sys.exit(run(["run", sys.argv[1], "--until", "extract", "--json", *sys.argv[3:]]))
"""

TABLES = (
    "posts",
    "authors",
    "post_counts",
    "kept_posts",
    "fetches",
    "pictures",
    "labels",
    "people",
    "features",
)
TO_THE_REPORT = (*TABLES, "faces", "comparison", "fold_scores", "scores")
"""Tables of a whole night, which the others end before."""

WHEN = ("fetched_at", "attempts")
"""Columns that say when a server was asked, by the real clock, and how often."""


def make(folder: Path, url: str, store: str = "", detector: str = "none") -> Path:
    source = {"platform": "mastodon", "host": url, "permission": "a test", "tags": ["photo"]}
    folder.mkdir()
    text = render(
        {
            "study": {"store": store},
            "collect": {"sources": [source]},
            "download": {"allow_hosts": ["127.0.0.1"], "buckets": 2, "workers": 1},
            "faces": {"detector": detector},
            "extract": {"backbone": "efficientnet-lite0"},
            "label": {"folds": 2, "require_faces": False},
            "compare": {"classifiers": ["linear-svc"], "bootstrap": 100, "permutations": 99},
        }
    )
    (folder / "likewise.toml").write_text(text, encoding="utf-8")
    return folder


def start(
    folder: Path, days_ago: float, *options: str, environment: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """A night in the background; ``environment`` goes beside this process's own."""
    clock = Clock()
    clock.set(days_ago)
    return subprocess.Popen(
        [sys.executable, "-c", NIGHT, str(folder), str(clock()), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        env={**os.environ, **(environment or {})},
    )


def finish(folder: Path, days_ago: float, *options: str) -> None:
    process = start(folder, days_ago, *options)
    _, said = process.communicate(timeout=900)
    assert process.returncode in {0, 3}, said.decode()


def place(folder: Path, pid: int) -> str:
    """What a process of this study was at when its log ended."""
    log = folder / "logs" / "likewise.jsonl"
    text = log.read_text(encoding="utf-8") if log.is_file() else ""
    lines = [json.loads(line) for line in text.splitlines() if line.endswith("}")]
    begun = [n for n, line in enumerate(lines) if line.get("pid") == pid]
    if not begun:
        return "start"
    last = lines[-1]
    if last["message"] == "stage begins":
        return str(last["stage"])
    if last.get("stage") == "rank":
        return "report"  # which writes no table, and so no line
    return f"after {last['stage']}" if last["message"] == "stage ends" else "start"


def differing(mine: dict[str, list[str]], yours: dict[str, list[str]]) -> dict[str, int]:
    """Rows of each table that only one side has."""
    counts = {table: (Counter(mine[table]), Counter(yours[table])) for table in yours}
    return {table: ((a - b) + (b - a)).total() for table, (a, b) in counts.items()}


def state(study: Study, tables: Sequence[str] = TABLES) -> dict[str, list[str]]:
    """Every row of these tables, without what hangs on the real clock."""
    return {table: rows(study, table) for table in tables}


def rows(study: Study, table: str) -> list[str]:
    found = study.read(table)
    kept: Any = found.drop_columns([name for name in WHEN if name in found.column_names])
    return sorted(map(str, kept.to_pylist()))


class Reader(threading.Thread):
    """Reads every night that has ended, again and again, and what is newest."""

    def __init__(self, folder: Path, tables: Sequence[str] = TABLES) -> None:
        super().__init__(daemon=True)
        self.folder, self.tables, self.stop = folder, tables, threading.Event()
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
            found = state(Study.open(self.folder, at=night), self.tables)
            before = self.seen.setdefault(night, found)
            if found != before:
                self.errors.append(f"night {night} has changed")
            self.reads += 1
