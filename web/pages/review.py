"""The review page: one picture after the other, by keys; what was said can always be undone."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from web.snapshots import SnapshotDep
from web.templating import page

__all__ = ["router"]

router = APIRouter()


@router.get("/review")
def review(request: Request, snapshot: SnapshotDep) -> Response:
    """The page; its script asks for the pictures."""
    user = request.state.user
    labelled = snapshot.study.manifest("labels")
    return page(
        request,
        "review.html",
        labelled=labelled is not None and labelled.rows > 0,
        likes=labelled is None or labelled.extra.get("question", "likes") == "likes",
        name=user if user not in (None, "token") else None,
    )
