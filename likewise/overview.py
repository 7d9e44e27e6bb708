"""``likewise status``: where a study stands, with the funnel of every stage."""

from __future__ import annotations

import contextlib
import datetime as dt
import fcntl
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from likewise.study import MADE_BY, Manifest, Study

__all__ = ["AtWork", "StageStatus", "Status", "at_work", "status"]

OPTIONAL = ("finetune",)
"""Tables that `likewise run` does not make; they are shown once they are there."""


@dataclass(frozen=True, slots=True)
class StageStatus:
    """One table: ``missing``, ``unfinished`` (some buckets), ``done`` or ``stale``.

    A table is stale when a table it was made from holds other rows now, or is stale itself;
    ``stale_because`` names these tables.
    """

    stage: str
    table: str
    state: str
    rows: int | None = None
    buckets: str | None = None
    fingerprint: str | None = None
    published_at: str | None = None
    stale_because: tuple[str, ...] = ()
    funnel: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Status:
    """The whole study."""

    study: str
    stages: list[StageStatus] = field(default_factory=list)
    report: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return asdict(self)


def status(study: Study | str | os.PathLike[str]) -> Status:
    """Where the study stands. Reads manifests only, so it may run beside a running stage."""
    opened = Study.open(study)
    made_by = {**MADE_BY, **{name: name for name in OPTIONAL if opened.manifest(name)}}
    manifests = {table: opened.manifest(table) for table in made_by}
    stages = [_stage(opened, table, verb, manifests) for table, verb in made_by.items()]
    report = opened.root / "reports" / "report.html"
    return Status(str(opened.root), stages, str(report) if report.is_file() else None)


@dataclass(frozen=True, slots=True)
class AtWork:
    """Who holds a study's lock: process, and the stage that its log says has begun, and when."""

    pid: int | None
    stage: str | None = None
    since: dt.datetime | None = None


def at_work(study: Study | str | os.PathLike[str]) -> AtWork | None:
    """Who works on the study now; None where nobody does. Looks only, and waits for nothing."""
    root = Study.open(study).root
    with contextlib.suppress(FileNotFoundError), (root / ".lock").open(encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            text = lock.read().strip()
            return AtWork(int(text) if text.isdigit() else None, *_last_begun(root))
    return None


def _last_begun(root: Path) -> tuple[str | None, dt.datetime | None]:
    try:
        with (root / "logs" / "likewise.jsonl").open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - 8192))
            last = json.loads(log.read().splitlines()[-1])
        return last["stage"], dt.datetime.fromisoformat(last["time"])
    except (OSError, ValueError, IndexError, KeyError):
        return None, None


def _stage(
    study: Study, table: str, verb: str, manifests: Mapping[str, Manifest | None]
) -> StageStatus:
    manifest = manifests[table]
    if manifest is None:
        buckets = sum(1 for _ in (study.root / ".unfinished" / table).glob("*/bucket=*"))
        state = "unfinished" if buckets else "missing"
        return StageStatus(verb, table, state, buckets=str(buckets) if buckets else None)
    changed = _changed(manifest, manifests)
    return StageStatus(
        stage=verb,
        table=table,
        state="stale" if changed else "done",
        rows=manifest.rows,
        fingerprint=manifest.fingerprint,
        published_at=manifest.published_at,
        stale_because=changed,
        funnel=manifest.funnel,
    )


def _changed(manifest: Manifest, manifests: Mapping[str, Manifest | None]) -> tuple[str, ...]:
    """Inputs that hold other rows than those the table was made from, or will once made anew."""
    changed = []
    for name, was in manifest.made_from.get("inputs", {}).items():
        now = manifests.get(name)
        if now is None or now.fingerprint != was or _changed(now, manifests):
            changed.append(name)
    return tuple(changed)
