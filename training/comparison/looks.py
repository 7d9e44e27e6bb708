"""How often the held-out authors have been looked at, in ``logs/held-out.jsonl``.

Every look chooses a little: the best of many comparisons on the same people is better than it
would be on others. The authors' sides are drawn once in a study's life, so looks add up over all
runs; a run that is done again as it was counts once.
"""

from __future__ import annotations

import datetime as dt
import json
import os
from pathlib import Path
from typing import Any

from likewise.study import Study
from training.comparison.results import Looks

__all__ = ["look", "looks"]


def look(study: Study, stage: str, fingerprint: str, models: int) -> Looks:
    """Write down that ``stage`` has scored ``models`` on the held-out authors; count all looks."""
    known = {one["fingerprint"] for one in _read(_path(study))}
    if fingerprint not in known:
        line = {
            "at": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
            "stage": stage,
            "fingerprint": fingerprint,
            "models": models,
        }
        with _path(study).open("ab+") as file:
            # A line that a power cut has left open must not swallow this one.
            torn = file.tell() > 0 and (file.seek(-1, os.SEEK_END), file.read())[1] != b"\n"
            file.write((b"\n" if torn else b"") + json.dumps(line).encode() + b"\n")
    return looks(study)


def looks(study: Study) -> Looks:
    """All looks so far."""
    found = _read(_path(study))
    return Looks(len(found), sum(one["models"] for one in found))


def _path(study: Study) -> Path:
    return study.folder("logs") / "held-out.jsonl"


def _read(path: Path) -> list[dict[str, Any]]:
    """Every whole line; one that a kill has cut short is nobody's look."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    found = []
    for line in lines:
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return found
