"""Whether the server lives, whether it is ready, and its counters."""

from __future__ import annotations

from fastapi import APIRouter, Request
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel
from starlette.responses import Response

from web.problems import ProblemError, responses

__all__ = ["router"]

router = APIRouter(tags=["health"])


class Alive(BaseModel):
    """The process answers."""

    status: str = "ok"


@router.get("/healthz")
async def healthz() -> Alive:
    """200 as long as the process answers."""
    return Alive()


@router.get("/readyz", responses=responses(503))
async def readyz(request: Request) -> Alive:
    """200 once every study has its index."""
    for one in request.app.state.shelf.served.values():
        if one.newest.index is None:
            words = one.newest.failed or "its index is being made"
            raise ProblemError(503, f"{one.name}: {words}", headers={"Retry-After": "2"})
    return Alive()


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {CONTENT_TYPE_LATEST: {}}}, **responses()},
)
async def metrics(request: Request) -> Response:
    """Counters for Prometheus."""
    found = generate_latest(request.app.state.metrics.registry)
    return Response(found, media_type=CONTENT_TYPE_LATEST)
