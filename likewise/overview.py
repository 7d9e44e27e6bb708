"""``likewise status``: where a study stands, with the funnel of every stage."""

from __future__ import annotations

import contextlib
import datetime as dt
import fcntl
import functools
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from likewise.intent import OTHER_ROWS, intent, why
from likewise.study import MADE_BY, Manifest, Study

__all__ = ["AtWork", "StageStatus", "Status", "at_work", "status"]

OPTIONAL = {"licences": "collect", "finetune": "finetune"}
"""Tables that not every study gets, by their verb; they are shown once they are there."""

ASKED = {
    table: verb for table, verb in MADE_BY.items() if verb != "collect" and table != "pictures"
}
"""Tables whose stage says what it would make; what there is to collect, ``likewise plan`` says.

``pictures`` are what ``fetches`` have brought: these tell."""


@dataclass(frozen=True, slots=True)
class StageStatus:
    """One table: ``missing``, ``unfinished`` (some buckets), ``done`` or ``stale``.

    A table is stale when its parameters have changed, when a table it was made from holds other
    rows now, or when that one is stale itself. ``stale_because`` names these tables, ``why`` what
    changed, with the value before and the value now; what changed further up is named by its stage.
    ``notes`` are sentences about the rows: labels that flipped, say.
    """

    stage: str
    table: str
    state: str
    rows: int | None = None
    buckets: str | None = None
    fingerprint: str | None = None
    published_at: str | None = None
    stale_because: tuple[str, ...] = ()
    why: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    funnel: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Status:
    """The whole study. ``moved`` is what the report found since the last night, in sentences."""

    study: str
    stages: list[StageStatus] = field(default_factory=list)
    report: str | None = None
    moved: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return asdict(self)


def status(study: Study | str | os.PathLike[str]) -> Status:
    """Where the study stands. Reads manifests only, so it may run beside a running stage."""
    given = Study.open(study)
    opened = _ReadOnce(given.root, given.config, given.versions)
    every = MADE_BY | OPTIONAL
    manifests = {table: opened.manifest(table) for table in every}
    for table in OPTIONAL:
        if manifests[table] is None:
            del manifests[table]
    known = _Known(opened, manifests)
    stages = [_stage(opened, table, every[table], known) for table in manifests]
    report = opened.root / "reports" / "report.html"
    made = str(report) if report.is_file() else None
    return Status(str(opened.root), stages, made, _moved(report.with_name("night.json")))


class _ReadOnce(Study):
    """A study of which each manifest is read once: one look is one look, and twice as fast."""

    @functools.cached_property
    def _seen(self) -> dict[str, Manifest | None]:
        return {}

    def manifest(self, table: str) -> Manifest | None:
        """As the study's."""
        if table not in self._seen:
            self._seen[table] = super().manifest(table)
        return self._seen[table]


def _moved(path: Path) -> tuple[str, ...]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return (f"since {found['before']}:", *found["sentences"])
    except (OSError, ValueError, KeyError, TypeError):  # not made yet, or of another version
        return ()


@dataclass(frozen=True, slots=True)
class AtWork:
    """Who holds a study's lock: process, and the stage that its log says has begun, and when."""

    pid: int | None
    stage: str | None = None
    since: dt.datetime | None = None


def at_work(study: Study | str | os.PathLike[str]) -> AtWork | None:
    """Who works on the study now; None where nobody does. Looks only, and waits for nothing."""
    root = Study.open(study).root
    path = root / ".lock"
    if path.is_symlink():  # no run holds such a lock: it refuses the folder
        return None
    with contextlib.suppress(FileNotFoundError), path.open(encoding="utf-8") as lock:
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


def _stage(study: Study, table: str, verb: str, known: _Known) -> StageStatus:
    manifest = known.manifests[table]
    if manifest is None:
        buckets = sum(1 for _ in (study.root / ".unfinished" / table).glob("*/bucket=*"))
        state = "unfinished" if buckets else "missing"
        return StageStatus(verb, table, state, buckets=str(buckets) if buckets else None)
    why = known.why(table)
    return StageStatus(
        stage=verb,
        table=table,
        state="stale" if why else "done",
        rows=manifest.rows,
        fingerprint=manifest.fingerprint,
        published_at=manifest.published_at,
        stale_because=known.upset(table),
        why=why,
        notes=_notes(manifest),
        funnel=manifest.funnel,
    )


class _Known:
    """The manifests of a study, and what would be made otherwise now."""

    def __init__(self, study: Study, manifests: Mapping[str, Manifest | None]) -> None:
        self.manifests = manifests
        self._own = {table: self._changes(study, table, verb) for table, verb in ASKED.items()}

    def _changes(self, study: Study, table: str, verb: str) -> tuple[str, ...]:
        """Parameters and code number of a table that are others now."""
        manifest = self.manifests.get(table)
        # A snapshot is what it was, whatever the configuration says by now.
        if manifest is None or study.versions is not None:
            return ()
        changes = why(manifest, intent(study, verb).made_from)
        return tuple(one for one in changes if not one.endswith(OTHER_ROWS))

    def upset(self, table: str) -> tuple[str, ...]:
        """Inputs that hold other rows than those the table was made from, or would if made anew."""
        manifest = self.manifests.get(table)
        if manifest is None:
            return ()
        found = []
        for name, was in manifest.made_from.get("inputs", {}).items():
            now = self.manifests.get(name)
            if now is None or now.fingerprint != was or self.why(name):
                found.append(name)
        return tuple(found)

    def why(self, table: str) -> tuple[str, ...]:
        """Everything that makes the table stale, its own first, then what changed further up."""
        reasons = list(self._own.get(table, ()))
        for name in self.upset(table):
            above = self.why(name)
            verb = MADE_BY.get(name, name)
            reasons += [one if ": " in one else f"{verb}: {one}" for one in above]
            now = self.manifests.get(name)
            if not above:
                reasons.append(f"{name}{OTHER_ROWS if now is not None else ' is not there'}")
        return tuple(dict.fromkeys(reasons))


def _notes(manifest: Manifest) -> tuple[str, ...]:
    flips = manifest.extra.get("flips")
    if not flips or not flips["labelled_before"]:
        return ()
    share = flips["flipped"] / flips["labelled_before"]
    return (
        f"of {flips['labelled_before']:,} labelled before, {flips['flipped']:,} flipped "
        f"({share:.2%}): {flips['counts_changed']:,} by new counts, {flips['cut_moved']:,} as the "
        "cut moved",
    )
