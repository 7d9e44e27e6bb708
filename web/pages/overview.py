"""The first page: where the study stands, what its last nights did, and what to look after."""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from likewise.errors import LikewiseError
from likewise.overview import StageStatus, status
from likewise.study import Study
from training.comparison import results
from web.running import running, troubles
from web.snapshots import Served, ServedDep, Snapshot, SnapshotDep
from web.templating import page

__all__ = ["router"]

router = APIRouter()

NIGHTS = 7
LATE = dt.timedelta(hours=26)
"""A nightly run that has not ended for so long has been missed."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of the funnel, with its bar's widths as shares of the widest."""

    status: StageStatus
    rows_in: int
    rows_out: int
    unit: str
    share_in: float
    share_out: float
    dropped: Mapping[str, int]


@router.get("/")
def overview(request: Request, one: ServedDep, snapshot: SnapshotDep) -> Response:
    """Funnel, nights, warnings; what moved is asked for afterwards."""
    study = snapshot.study
    states = status(study)
    nights = list(reversed(study.nights()))[:NIGHTS]
    return page(
        request,
        "overview.html",
        title=study.config.study.name,
        stages=_stages(states.stages),
        nights=[_night(study, night) for night in nights],
        warnings=_warnings(one, snapshot, states.stages, nights),
        answer=_answer(study),
        facts=snapshot.index.facts if snapshot.index is not None else None,
        report=states.report is not None,
        running=running(one.root),
        can_compare=len(nights) > 1,
    )


def _stages(states: Sequence[StageStatus]) -> list[Stage]:
    funnels = [one for one in states if one.funnel]
    widest = max((one.funnel["rows_in"] for one in funnels if one.funnel), default=0) or 1
    found = []
    for one in funnels:
        funnel = one.funnel or {}
        found.append(
            Stage(
                one,
                funnel["rows_in"],
                funnel["rows_out"],
                funnel["unit"],
                funnel["rows_in"] / widest,
                funnel["rows_out"] / widest,
                funnel["dropped"],
            )
        )
    return found


def _night(study: Study, night: Mapping[str, Any]) -> dict[str, Any]:
    """A night and the rows of a few of its tables; None where they cannot be read any more."""
    rows: dict[str, int | None] = {}
    for table in ("posts", "pictures", "labels", "scores"):
        version = night["versions"].get(table)
        found = None
        if version is not None:
            with contextlib.suppress(LikewiseError, OSError):
                found = study.store.manifest(table, version)
        rows[table] = None if found is None else found.rows
    return {"night": night["night"], "ended_at": night["ended_at"], "rows": rows}


def _warnings(
    one: Served,
    snapshot: Snapshot,
    states: Sequence[StageStatus],
    nights: Sequence[Mapping[str, Any]],
) -> list[str]:
    """What somebody should look after, the gravest first."""
    found = []
    if snapshot.failed:
        found.append(f"The index could not be made: {snapshot.failed}")
    found += [
        f"The log says{f' {times} times' if times > 1 else ''}: {words}"
        for words, times in troubles(one.root, 500).most_common(3)
    ]
    stale = [state for state in states if state.stale_because]
    if len(stale) == 1:
        changed = ", ".join(stale[0].stale_because)
        found.append(
            f"{stale[0].table} is older than {changed}: likewise {stale[0].stage} renews it."
        )
    elif stale:
        *most, last = [state.table for state in stale]
        found.append(
            f"{', '.join(most)} and {last} are older than what they are made from: likewise run "
            "renews them."
        )
    for state in states:
        if state.state == "unfinished":
            found.append(
                f"{state.table} is unfinished ({state.buckets} buckets): the same command goes on."
            )
    if nights and dt.datetime.now(dt.UTC) - nights[0]["ended_at"] > LATE and len(nights) > 1:
        found.append(f"The last night ended on {nights[0]['ended_at']:%d %b %Y, %H:%M} UTC.")
    index = snapshot.index
    if index is not None and index.facts["published"] and not index.facts["known"]["uncertainty"]:
        found.append("The model's calibration was refused: scores have no probabilities.")
    return found


def _answer(study: Study) -> list[str]:
    """The comparison's own first sentences."""
    with contextlib.suppress(LikewiseError):
        found = results.load(study)
        return [] if found is None else list(found.answer[:2])
    return []
