"""Whether a run is at work on a study, and what it says: from its lock, its log and its parts."""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Running", "recent", "running"]

TAIL = 256 * 1024
"""Bytes at the end of the log that are looked at."""


@dataclass(frozen=True, slots=True)
class Running:
    """A run at work: its command, when it began, and finished buckets of tables in the making."""

    pid: int
    command: str
    since: str
    buckets: dict[str, int]


def recent(root: Path, most: int) -> list[dict[str, Any]]:
    """The last lines of the study's log, oldest first; without tracebacks."""
    path = root / "logs" / "likewise.jsonl"
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - TAIL))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return []
    found = []
    for line in lines[-most:]:
        # The first line may be cut; a process that was killed may have left half of one.
        with contextlib.suppress(json.JSONDecodeError):
            entry = json.loads(line)
            if isinstance(entry, dict):
                shown = ("time", "level", "logger", "message")
                found.append({name: str(entry.get(name, "")) for name in shown})
    return found


def running(root: Path) -> Running | None:
    """The run that holds the study's lock; None when nobody does.

    The lock itself is not tried: to hold it for a moment could refuse a run that begins just then.
    """
    try:
        pid = int((root / ".lock").read_text(encoding="utf-8"))
        os.kill(pid, 0)
    except PermissionError:
        pass
    except (OSError, ValueError):
        return None
    begun = None
    for line in recent(root, 500):
        if line["message"].startswith("begin: "):
            begun = line
        elif line["message"].startswith("end: "):
            begun = None
    if begun is None:
        return None
    unfinished = root / ".unfinished"
    buckets = {}
    with contextlib.suppress(OSError):
        for table in sorted(unfinished.iterdir()):
            buckets[table.name] = sum(1 for _ in table.glob("*/bucket=*"))
    return Running(pid, begun["message"].removeprefix("begin: "), begun["time"], buckets)
