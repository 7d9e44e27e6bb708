"""Which state of the tables a reader sees, and whether there is a newer one."""

from __future__ import annotations

import datetime as dt

from fastapi import APIRouter
from pydantic import BaseModel, Field

from web.problems import responses
from web.snapshots import ServedDep, SnapshotDep

__all__ = ["router"]

router = APIRouter(prefix="/api/v1", tags=["snapshots"])


class SnapshotAnswer(BaseModel):
    """A state of the tables."""

    study: str
    snapshot: str = Field(description="Id of the state that was asked about.")
    newest: str = Field(description="Id of the newest state; another one: reload to see it.")
    seen_at: dt.datetime
    night: int | None = Field(description="The night that left this state, where one did.")
    tables: dict[str, int] = Field(description="Version of each table.")


@router.get("/snapshot", responses=responses(404, 410))
async def snapshot(one: ServedDep, snapshot: SnapshotDep) -> SnapshotAnswer:
    """The state that is shown, and the newest."""
    return SnapshotAnswer(
        study=one.name,
        snapshot=snapshot.id,
        newest=one.newest.id,
        seen_at=snapshot.seen_at,
        night=snapshot.night,
        tables=dict(snapshot.study.versions or {}),
    )
