"""Whether a run is at work on a study, and what it says: from its lock, its log and its parts."""

from __future__ import annotations

import contextlib
import json
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from likewise.errors import ExitCode
from likewise.study import MADE_BY

__all__ = ["Running", "recent", "running", "troubles"]

TAIL = 256 * 1024
"""Bytes at the end of the log that are looked at."""


@dataclass(frozen=True, slots=True)
class Running:
    """A run at work: command, stage, since when, and finished buckets of tables in the making."""

    pid: int
    command: str
    stage: str | None
    since: str
    buckets: dict[str, int]


def recent(root: Path, most: int) -> list[dict[str, Any]]:
    """The last lines of the study's log, oldest first, each as time, level and words."""
    return [
        {"time": line["time"], "level": line["level"], "message": _words(line)}
        for line in _lines(root)[-most:]
    ]


def troubles(root: Path, most: int) -> Counter[str]:
    """Errors among the last lines of the log that no later run has made good, by their words.

    A run that ended with 0 or 3 makes good what the same command had met before it; ``run`` also
    what one of its stages had.
    """
    met: list[tuple[str, str]] = []
    verbs: dict[object, str] = {}
    for line in _lines(root)[-most:]:
        if line["message"] == "begin":
            verbs[line["run"]] = str(line.get("command", [""])[-1])
        verb = verbs.get(line["run"], "")
        good = line.get("exit_code") in (ExitCode.DONE, ExitCode.PARTIAL)
        if line["message"] == "end" and good:
            made_good = {verb, *(STAGES if verb == "run" else ())}
            met = [one for one in met if one[0] not in made_good]
        if line["level"] == "error":
            met.append((verb, _words(line)))
    return Counter(words for _, words in met)


STAGES = {*MADE_BY.values(), "refresh", "report"}
"""Verbs that ``likewise run`` goes through."""


def running(root: Path) -> Running | None:
    """The run that holds the study's lock; None when nobody does.

    The lock itself is not tried: to hold it for a moment could refuse a run that begins just then.
    """
    begun: dict[str, Any] | None = None
    stage = None
    for line in _lines(root):
        if line["message"] == "begin":
            begun, stage = line, None
        elif line["message"] == "end" and begun is not None and line["run"] == begun["run"]:
            begun = None
        elif line["message"] == "stage begins":
            stage = str(line.get("stage"))
        elif line["message"] == "stage ends":
            stage = None
    if begun is None or not _alive(begun.get("pid")):
        return None
    command = " ".join(map(str, begun.get("command", [])))
    buckets = {}
    with contextlib.suppress(OSError):
        for table in sorted((root / ".unfinished").iterdir()):
            buckets[table.name] = sum(1 for _ in table.glob("*/bucket=*"))
    return Running(int(begun["pid"]), command, stage, begun["time"], buckets)


def _lines(root: Path) -> list[dict[str, Any]]:
    path = root / "logs" / "likewise.jsonl"
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - TAIL))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return []
    found = []
    for line in text.splitlines():
        # The first line may be cut; a process that was killed may have left half of one.
        with contextlib.suppress(json.JSONDecodeError):
            entry = json.loads(line)
            if isinstance(entry, dict) and {"time", "level", "message"} <= entry.keys():
                found.append({"run": None, **entry})
    return found


def _alive(pid: object) -> bool:
    if not isinstance(pid, int):
        return False
    try:
        os.kill(pid, 0)
    except PermissionError:  # somebody else's process is alive, too
        return True
    except OSError:
        return False
    return True


def _words(line: Mapping[str, Any]) -> str:
    """A line of the log as a person reads it."""
    message = str(line["message"])
    if message == "begin":
        return f"begin: {' '.join(map(str, line.get('command', [])))}"
    if message == "end" and line.get("exit_code") == 0:
        return "end: done"
    if message == "end":
        return f"end: {line.get('error', 'failed')}, exit code {line.get('exit_code', '?')}"
    if message == "stage begins":
        return f"{line.get('stage')} begins"
    if message == "stage ends":
        cost = f"{line.get('new', 0):,} new, {line.get('reused', 0):,} as before"
        failed = f", {line['failed']:,} failed" if line.get("failed") else ""
        return f"{line.get('stage')} ends: {cost}{failed}, {line.get('seconds', 0):.1f} s"
    return message
