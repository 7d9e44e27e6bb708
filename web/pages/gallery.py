"""The gallery: pictures by filter and order, as many as there are."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from web.index import SORTS
from web.index.filters import FilterDep, OrderDep
from web.index.reading import Index
from web.problems import ProblemError
from web.snapshots import SnapshotDep
from web.templating import page

__all__ = ["ReadyDep", "router"]

router = APIRouter()


async def ready(snapshot: SnapshotDep) -> Index:
    """The index of the state that a page shows.

    Raises:
        ProblemError: 503 with a page that loads itself again.
    """
    if snapshot.index is None:
        words = snapshot.failed or "The index of this study is being made."
        raise ProblemError(
            503,
            words,
            hint="It takes about a minute for 100,000 pictures; this page loads itself again.",
            headers={"Retry-After": "2", "Refresh": "2"},
        )
    return snapshot.index


ReadyDep = Annotated[Index, Depends(ready)]


@router.get("/gallery")
def gallery(request: Request, index: ReadyDep, asked: FilterDep, order: OrderDep) -> Response:
    """The page; its script asks for the pictures."""
    known = index.facts["known"]
    state = request.app.state
    return page(
        request,
        "gallery.html",
        filter=asked,
        order=order,
        facts=index.facts,
        sorts=[name for name in SORTS if known[name]] or ["score"],
        models=index.models,
        can_review="/api/v1/reviews/bulk" in state.paths and not state.settings.read_only,
    )
