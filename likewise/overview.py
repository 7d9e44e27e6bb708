"""``likewise status``: where a study stands, with the funnel of every stage."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from likewise.study import MADE_BY, Study

__all__ = ["StageStatus", "Status", "status"]

OPTIONAL = ("finetune",)
"""Tables that `likewise run` does not make; they are shown once they are there."""


@dataclass(frozen=True, slots=True)
class StageStatus:
    """One table: ``missing``, ``unfinished`` (some buckets), ``done`` or ``stale``.

    A table is stale when a table it was made from has been published anew since.
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
    stages = [_stage(opened, table, verb) for table, verb in made_by.items()]
    report = opened.root / "reports" / "report.html"
    return Status(str(opened.root), stages, str(report) if report.is_file() else None)


def _stage(study: Study, table: str, verb: str) -> StageStatus:
    manifest = study.manifest(table)
    if manifest is None:
        buckets = sum(1 for _ in (study.root / "tables" / table).glob("*/bucket=*"))
        state = "unfinished" if buckets else "missing"
        return StageStatus(verb, table, state, buckets=str(buckets) if buckets else None)
    inputs: Mapping[str, str] = manifest.made_from.get("inputs", {})
    changed = tuple(name for name, was in inputs.items() if _fingerprint(study, name) != was)
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


def _fingerprint(study: Study, table: str) -> str | None:
    manifest = study.manifest(table)
    return manifest.fingerprint if manifest else None
