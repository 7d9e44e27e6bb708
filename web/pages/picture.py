"""One picture: what is known, what every model says, where it looks, and what is like it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Annotated, Literal

from fastapi import APIRouter, FastAPI, Query, Request
from starlette.responses import Response

from web.heat import Heat
from web.lists import PictureId, there
from web.pages.gallery import ReadyDep
from web.problems import ProblemError
from web.snapshots import IndexDep, ServedDep, SnapshotDep
from web.templating import page

__all__ = ["lifespan", "router"]

router = APIRouter()


@contextlib.asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """The process that paints heat is started when it is first asked."""
    app.state.heat = Heat()
    try:
        yield
    finally:
        app.state.heat.stop()


@router.get("/picture/{picture_id}")
def picture(request: Request, picture_id: PictureId, index: ReadyDep) -> Response:
    """The page."""
    found = there(index, picture_id)
    return page(
        request,
        "picture.html",
        picture=found,
        facts=index.facts,
        median=index.facts["median_ratio"],
        n=index.n,
    )


@router.get("/heat/{picture_id}.webp")
async def heat(
    request: Request,
    picture_id: PictureId,
    one: ServedDep,
    snapshot: SnapshotDep,
    index: IndexDep,
    model: Annotated[str, Query(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.\-]*$", max_length=100)],
    towards: Literal["liked", "unliked"] = "liked",
) -> Response:
    """Where a model sees what speaks for or against the picture."""
    if index.is_hidden(picture_id):
        raise ProblemError(410, "this picture was deleted")
    if index.row_of(picture_id) is None:
        raise ProblemError(404, "there is no such picture in this study")
    painter: Heat = request.app.state.heat
    content = await painter.get(one, snapshot, picture_id, model, liked=towards == "liked")
    return Response(content, media_type="image/webp", headers={"Cache-Control": "private"})
