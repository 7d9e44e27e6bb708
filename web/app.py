"""The application: middleware, pages and REST put together. Neither torch nor Spark is loaded."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
import pkgutil
from collections.abc import AsyncIterator

from fastapi import APIRouter, FastAPI
from starlette.requests import Request
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

import web.api
import web.pages
from likewise import __version__
from web import problems
from web.security.cursors import Cursors
from web.security.gate import Gate, Metrics
from web.security.sessions import Sessions
from web.settings import Settings
from web.snapshots import Shelf
from web.templating import HERE

__all__ = ["create_app"]


class _Kept(StaticFiles):
    """Files whose address changes with their content, and what scripts import by its plain name."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """The file, to be kept for a year, or to be asked for again where its address is plain."""
        response = await super().get_response(path, scope)
        named = Request(scope).query_params.get("v")
        kept = "public, max-age=31536000, immutable" if named else "no-cache"
        response.headers["Cache-Control"] = kept
        return response


def create_app(settings: Settings) -> FastAPI:
    """The application that serves ``settings.studies``.

    Every module of ``web.pages`` and ``web.api`` has a ``router``; one that has ``lifespan(app)``,
    an asynchronous context manager, is entered at start and left at the end.

    Raises:
        LikewiseError: a study cannot be read.
    """
    # It warns of every body that is no multipart message: strangers would fill the log.
    logging.getLogger("python_multipart").setLevel(logging.ERROR)
    shelf = Shelf(settings.studies)
    shelf.open()
    # Routes are tried in this order: those of the API, which are asked for most, come first.
    parts = [
        importlib.import_module(f"{package.__name__}.{found.name}")
        for package in (web.api, web.pages)
        for found in pkgutil.iter_modules(package.__path__)
    ]

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with contextlib.AsyncExitStack() as stack:
            for part in parts:
                if hasattr(part, "lifespan"):
                    await stack.enter_async_context(part.lifespan(app))
            watching = asyncio.create_task(shelf.watch())
            try:
                yield
            finally:
                watching.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await watching

    app = FastAPI(
        title="likewise",
        version=__version__,
        summary="Rankings, pictures, scores and reviews of a study.",
        openapi_url="/api/v1/openapi.json",
        docs_url=None,  # both load scripts from elsewhere
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.settings = settings
    app.state.shelf = shelf
    app.state.sessions = Sessions(settings.secret)
    app.state.cursors = Cursors(settings.secret)
    app.state.metrics = Metrics()
    app.state.paths = {route.path for part in parts for route in part.router.routes}
    problems.install(app)
    for part in parts:
        router = part.router
        assert isinstance(router, APIRouter)
        app.include_router(router, include_in_schema=part.__name__.startswith("web.api."))
    app.mount("/static", _Kept(directory=HERE / "static"), name="static")
    app.add_middleware(
        Gate, settings=settings, sessions=app.state.sessions, metrics=app.state.metrics
    )
    return app
