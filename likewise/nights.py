"""Nights: what every table was when a run had ended, so that yesterday can be read today.

The table ``nights`` holds one row a run: its number, when it ended, and the version of each table.
"""

from __future__ import annotations

import datetime as dt
import json
import os
from typing import Any

import pyarrow as pa

from likewise.moments import NIGHTS as TABLE
from likewise.study import Study
from likewise.working import changes_study

__all__ = ["end_night", "forget_nights", "last_night", "nights", "prune"]

SCHEMA = pa.schema(
    [
        pa.field("night", pa.int64(), nullable=False),
        pa.field("ended_at", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("versions", pa.string(), nullable=False),
    ]
)


def nights(study: Study) -> list[dict[str, Any]]:
    """Runs that have ended, oldest first: ``night``, ``ended_at`` and ``versions`` by table."""
    return study.nights()


def end_night(study: Study) -> int:
    """Note that a run has ended; returns its number. Nothing is noted where nothing changed."""
    before = nights(study)
    versions = {name: number for name, number in study.current().items() if name != TABLE}
    if before and before[-1]["versions"] == versions:
        return int(before[-1]["night"])
    number = last_night(study) + 1
    row = {"night": number, "ended_at": dt.datetime.now(dt.UTC), "versions": versions}
    rows = [{**one, "versions": json.dumps(one["versions"])} for one in [*before, row]]
    _write(study, rows, number)
    return number


def last_night(study: Study) -> int:
    """Number of the last night, also of one that cannot be read any more."""
    manifest = study.manifest(TABLE)
    return 0 if manifest is None else int(manifest.extra["last"])


def _write(study: Study, rows: list[dict[str, Any]], last: int) -> None:
    stage = study.begin(TABLE, params={"last": last}, redo=True)
    stage.write(pa.Table.from_pylist(rows, schema=SCHEMA))
    stage.publish(last=last)


@changes_study("prune")
def prune(study: Study | str | os.PathLike[str], keep: int = 14) -> dict[str, int]:
    """Delete versions that neither the newest state nor the last ``keep`` nights need.

    Returns files deleted by table; parts that killed runs left are among them. Hold the lock.

    Raises:
        StudyError: an ``upgrade`` was killed half-way, and its older version is still needed.
    """
    opened = Study.open(study)
    pictures = opened.manifest("pictures")
    if pictures is not None and "wide" in pictures.extra:
        opened.require("fetches")  # they are made of that version
    known = nights(opened)
    kept = known[-keep:] if keep else []
    gone: dict[str, int] = {}
    for name in opened.store.names():
        wanted = [one["versions"][name] for one in kept if name in one["versions"]]
        files = opened.store.vacuum(name, wanted)
        if files:
            gone[name] = files
    if len(kept) < len(known):
        _rewrite(opened, kept)
    return gone


def forget_nights(study: Study) -> None:
    """Note that no earlier night can be read any more: an erasure has gone through them."""
    if nights(study):
        _rewrite(study, [])
        study.store.vacuum(TABLE, ())


def _rewrite(study: Study, kept: list[dict[str, Any]]) -> None:
    rows = [{**one, "versions": json.dumps(one["versions"])} for one in kept]
    _write(study, rows, last_night(study))
