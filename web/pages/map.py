"""The map: all pictures on a plane, near ones alike; made in a process of its own, then kept."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator
from importlib.resources import files
from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, Path, Request
from starlette.responses import FileResponse, Response

from web.children import have_done
from web.index.reading import Index
from web.pages.gallery import ReadyDep
from web.problems import ProblemError
from web.snapshots import IndexDep, ServedDep, Shelf, Snapshot, SnapshotDep
from web.templating import page

__all__ = ["lifespan", "router"]

router = APIRouter()


@contextlib.asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Maps in the making, by snapshot; what is not ready at the end is given up."""
    app.state.maps = {}
    try:
        yield
    finally:
        for task in app.state.maps.values():
            task.cancel()
        await asyncio.gather(*app.state.maps.values(), return_exceptions=True)


@router.get("/map")
def show(request: Request, one: ServedDep, snapshot: SnapshotDep, index: ReadyDep) -> Response:
    """The map, or how far it is."""
    path = one.cache / "maps" / snapshot.id / "map.json"
    content = None
    # A map shows every picture at once: once one of them is deleted, it is not shown any more.
    if path.is_file() and not index.hidden_count:
        content = json.loads(path.read_text(encoding="utf-8"))
        content["folder"] = f"/map/{snapshot.id}/"
    return page(
        request,
        "map.html",
        content=content,
        # "<" could end the script element from within a class name.
        data="" if content is None else json.dumps(content).replace("<", "\\u003c"),
        possible=index.facts["vectors"] is not None and index.n > 3,
        making=snapshot.id in request.app.state.maps,
        n=index.n,
    )


@router.post("/map")
async def make(request: Request, one: ServedDep, snapshot: SnapshotDep, index: IndexDep) -> Any:
    """Begin to make the map, unless it is in the making; what is known of it."""
    maps: dict[str, asyncio.Task[str | None]] = request.app.state.maps
    folder = one.cache / "maps" / snapshot.id
    if (folder / "map.json").is_file():
        return {"state": "ready"}
    task = maps.get(snapshot.id)
    if task is None:
        if index.facts["vectors"] is None:
            raise ProblemError(404, "there are no features to lay out", hint="likewise extract")
        task = asyncio.create_task(_made(str(one.root), str(folder), snapshot, index))
        maps[snapshot.id] = task
    if task.done():
        del maps[snapshot.id]
        problem = task.result()
        return {"state": "ready"} if problem is None else {"state": "failed", "detail": problem}
    return {"state": "making"}


@router.get("/map/map.js")
async def script() -> Response:
    """The script that `classify map` writes into its page."""
    text = (files("training.maps") / "page" / "map.js").read_text(encoding="utf-8")
    return Response(text, media_type="text/javascript", headers={"Cache-Control": "no-cache"})


@router.get("/map/{snapshot_id}/{name}")
def atlas(
    request: Request,
    snapshot_id: Annotated[str, Path(pattern=r"^[0-9a-f]{16}$")],
    name: Annotated[str, Path(pattern=r"^atlas-\d{3}\.webp$")],
) -> Response:
    """Many thumbnails in one picture."""
    shelf: Shelf = request.app.state.shelf
    # The map's script knows no study: the snapshot's id tells which it is.
    one = next((one for one in shelf.served.values() if snapshot_id in one.kept), None)
    index = None if one is None else one.kept[snapshot_id].index
    if one is None or index is None or index.hidden_count:
        raise ProblemError(410, "this map shows what is not there any more")
    path = one.cache / "maps" / snapshot_id / "map-files" / name
    if not path.is_file():
        raise ProblemError(404, "there is no such part of the map")
    return FileResponse(path, headers={"Cache-Control": "private, max-age=3600"})


async def _made(root: str, folder: str, snapshot: Snapshot, index: Index) -> str | None:
    """Make the map in another process; why it could not be made."""
    asked = {
        "root": root,
        "folder": folder,
        "versions": dict(snapshot.study.versions or {}),
        "index": str(index.path),
    }
    why = await have_done("web.maps", asked)
    return None if why is None else re.sub(r"\s+", " ", why) or "the map could not be made"
