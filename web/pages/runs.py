"""The runs: what is at work now, and the nights that have ended."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from web.running import recent, running
from web.snapshots import ServedDep, SnapshotDep
from web.templating import page

__all__ = ["router"]

router = APIRouter()


@router.get("/runs")
def runs(request: Request, one: ServedDep, snapshot: SnapshotDep) -> Response:
    """The page; its script listens to what happens."""
    nights = list(reversed(snapshot.study.nights()))
    for older, newer in zip(nights[1:], nights, strict=False):
        newer["changed"] = [
            table
            for table, version in newer["versions"].items()
            if older["versions"].get(table) != version
        ]
    return page(
        request,
        "runs.html",
        nights=nights,
        running=running(one.root),
        log=recent(one.root, 200),
        root=str(one.root),
    )
