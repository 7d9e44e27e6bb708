"""The page to try pictures: drop them, and see how they would be liked, and how sure that is."""

from __future__ import annotations

import asyncio
import contextlib

from fastapi import APIRouter, Request
from starlette.responses import Response

from training.models import saved
from web.scoring.limits import MOST
from web.scoring.service import asked_of
from web.snapshots import SnapshotDep
from web.templating import page

__all__ = ["router"]

router = APIRouter()


@router.get("/try")
async def trying(request: Request, snapshot: SnapshotDep) -> Response:
    """The page. The model is loaded meanwhile, so that the first answer does not wait for it."""
    study = snapshot.study
    models = await asyncio.to_thread(saved.names, study)
    likes = study.config.question.kind == "likes"
    if models and likes and study.manifest("features") is not None:
        task = asyncio.create_task(request.app.state.scoring.warm(asked_of(snapshot)))
        request.app.state.score_warming = task  # kept, or the collector might take it
        task.add_done_callback(_seen)
    return page(
        request,
        "try.html",
        models=models,
        likes=likes,
        most=MOST,
        megabytes=study.config.download.max_bytes // 1_000_000,
    )


def _seen(task: asyncio.Task[None]) -> None:
    with contextlib.suppress(asyncio.CancelledError):
        task.exception()  # the first picture tells it again, with words
