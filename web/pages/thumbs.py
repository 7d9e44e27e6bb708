"""``/thumbs/SIZE/ID.webp``: thumbnails, to be kept for ever: their address is their content's."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Literal

from fastapi import APIRouter, FastAPI, Request
from starlette.responses import Response

from web.lists import PictureId
from web.snapshots import IndexDep, ServedDep
from web.thumbnails import Thumbnails

__all__ = ["lifespan", "router"]

router = APIRouter()


@contextlib.asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """End the processes that decode."""
    thumbnails = Thumbnails(app.state.settings.workers)
    app.state.thumbnails = thumbnails
    try:
        yield
    finally:
        await thumbnails.stop()


@router.get("/thumbs/{size}/{picture_id}.webp")
async def thumbnail(
    request: Request,
    size: Literal["small", "large"],
    picture_id: PictureId,
    one: ServedDep,
    index: IndexDep,
) -> Response:
    """A picture, 384 or 1280 pixels long, as WebP without the original's metadata."""
    thumbnails: Thumbnails = request.app.state.thumbnails
    content = await thumbnails.get(index, one.cache, picture_id, size)
    headers = {"Cache-Control": "private, max-age=31536000, immutable"}
    return Response(content, media_type="image/webp", headers=headers)
