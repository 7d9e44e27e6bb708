"""Nights that can be read: what every table was when a run had ended."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from typing import Any

from likewise.errors import StudyError

__all__ = ["NIGHTS", "At", "decoded", "versions_at"]

NIGHTS = "nights"
"""The table of them: ``night``, ``ended_at``, and ``versions`` by table, as JSON."""

At = int | str | dt.datetime
"""A night's number, a moment (aware, or ISO text taken as UTC), or ``"now"``."""


def decoded(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows of the table with ``versions`` as a mapping."""
    return [{**row, "versions": json.loads(row["versions"])} for row in rows]


def versions_at(known: Sequence[Mapping[str, Any]], at: At) -> dict[str, int]:
    """Version of every table at a night or at a moment, of nights that are ``known``.

    Raises:
        StudyError: there was no such night, or no run had ended at that moment.
    """
    if isinstance(at, str):
        at = int(at) if at.isdigit() else _moment(at)
    if isinstance(at, int):
        found = [one for one in known if one["night"] == at]
    else:
        moment = at if at.tzinfo is not None else at.replace(tzinfo=dt.UTC)
        found = [one for one in known if one["ended_at"] <= moment]
    if not found:
        there = f"1 to {known[-1]['night']}" if known else "none"
        raise StudyError(
            f"no run had ended at {at}",
            hint=f"nights that can be read: {there}; a night is one likewise run",
        )
    return dict(found[-1]["versions"])


def _moment(text: str) -> dt.datetime:
    try:
        return dt.datetime.fromisoformat(text)
    except ValueError as error:
        raise StudyError(f"{text!r} is neither a night's number nor a moment: {error}") from error
