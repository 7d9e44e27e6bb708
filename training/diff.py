"""``diff``: what differs between two studies, or between two nights of one."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from likewise.errors import UsageError
from likewise.study import Study, write_json
from training.changes import FILE, Diff, ModelChange, Moved, compared

if TYPE_CHECKING:
    from likewise.study import At

__all__ = ["FILE", "Diff", "ModelChange", "Moved", "compared", "diff"]


def diff(
    before: Study | str | os.PathLike[str],
    after: Study | str | os.PathLike[str] | None = None,
    *,
    at: tuple[At, At] | None = None,
) -> Diff:
    """Compare two studies, or one study ``at`` two nights or moments.

    The answer is also written to ``reports/diff.json`` of ``after``, for the report.

    Raises:
        UsageError: neither a second study nor two moments are given, or both.
        StudyError: a study is missing, or there was no such night.
    """
    if (after is None) == (at is None):
        raise UsageError("give two studies, or one study and two moments: --at A --at B")
    if at is not None:
        states = [Study.open(Study.open(before), at=moment) for moment in at]
        names = [f"{states[0].root} at {moment}" for moment in at]
    else:
        assert after is not None
        states = [Study.open(before, at="now"), Study.open(after, at="now")]
        names = [str(state.root) for state in states]
    found = compared(states[0], states[1], names[0], names[1])
    write_json(states[1].folder("reports") / FILE, found.to_dict())
    return found
