"""Runs: nights that have ended, the run at work, and news of it as server-sent events."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from starlette.responses import StreamingResponse

from likewise.study import Study
from training.diff import compared
from web.problems import ProblemError, responses
from web.running import recent, running
from web.snapshots import Served, ServedDep, SnapshotDep

__all__ = ["router"]

router = APIRouter(prefix="/api/v1", tags=["runs"])

EVERY = 1.0
"""Seconds between two looks at a running stage."""
LINES = 200


class Night(BaseModel):
    """A run that has ended."""

    night: int
    ended_at: dt.datetime
    versions: dict[str, int] = Field(description="Version of each table that it left.")


class AtWork(BaseModel):
    """A run at work."""

    pid: int
    command: str
    stage: str | None
    since: str
    buckets: dict[str, int] = Field(description="Finished buckets of tables in the making.")


class Line(BaseModel):
    """A line of the study's log."""

    time: str
    level: str
    message: str


class Runs(BaseModel):
    """Everything about a study's runs."""

    running: AtWork | None
    nights: list[Night] = Field(description="Newest first.")
    log: list[Line] = Field(description="The last lines, oldest first.")


class Changes(BaseModel):
    """What moved between the last two nights."""

    before: int
    after: int
    sentences: list[str]
    pictures: list[dict[str, Any]]
    tags: list[dict[str, Any]]


@router.get("/runs", responses=responses(404, 410))
def runs(one: ServedDep, snapshot: SnapshotDep) -> Runs:
    """Nights, the run at work, and the end of the log."""
    state = _now(one)
    nights = [Night(**night) for night in reversed(snapshot.study.nights())]
    return Runs(running=state["running"], nights=nights, log=state["log"])


@router.get("/runs/changes", responses=responses(404, 410))
def changes(snapshot: SnapshotDep) -> Changes:
    """What moved between the last two nights of this state: pictures, tags, labels, the model."""
    nights = snapshot.study.nights()
    if len(nights) < 2:
        raise ProblemError(404, "there are not two nights to compare yet")
    left, right = nights[-2], nights[-1]
    if snapshot.changes is None:
        study = snapshot.study
        states = [Study.open(study, at=one["versions"]) for one in (left, right)]
        names = [f"night {one['night']}" for one in (left, right)]
        snapshot.changes = compared(states[0], states[1], names[0], names[1]).to_dict()
    found = snapshot.changes
    return Changes(
        before=left["night"],
        after=right["night"],
        sentences=found["sentences"],
        pictures=list(found["pictures"]),
        tags=list(found["tags"]),
    )


@router.get(
    "/runs/events",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {}}}, **responses(404)},
)
async def events(request: Request, one: ServedDep) -> StreamingResponse:
    """``state`` whenever the run at work, its buckets or the log have changed."""
    return StreamingResponse(
        _events(request, one),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


async def _events(request: Request, one: Served) -> AsyncIterator[str]:
    before, quiet = "", 0
    yield "retry: 3000\n\n"
    while not await request.is_disconnected():
        state = await asyncio.to_thread(_now, one)
        now = json.dumps(state, ensure_ascii=False)
        if now != before:
            before, quiet = now, 0
            yield f"event: state\ndata: {now}\n\n"
        elif quiet >= 15:  # so that a proxy does not take the silence for the end
            quiet = 0
            yield ": still here\n\n"
        quiet += 1
        await asyncio.sleep(EVERY)


def _now(one: Served) -> dict[str, Any]:
    at_work = running(one.root)
    return {
        "running": None if at_work is None else asdict(at_work),
        "log": recent(one.root, LINES),
    }
