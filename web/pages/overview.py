"""The first page: where the study stands."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from web.snapshots import SnapshotDep
from web.templating import page

__all__ = ["router"]

router = APIRouter()


@router.get("/")
def overview(request: Request, snapshot: SnapshotDep) -> Response:
    """Funnel, runs and warnings."""
    return page(request, "overview.html", funnels=snapshot.study.funnels())
