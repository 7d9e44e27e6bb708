"""The sandbox's HTTP server: the part of Mastodon's REST interface that reading needs.

``async with Sandbox(World(spec)) as server: server.url`` inside an event loop, or
``with running(World(spec)) as server`` from ordinary code (own thread). Collectors know nothing
of it but its URL.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Any

from aiohttp import web

from infra.sandbox.authorization import Authorization
from infra.sandbox.dialect import Dialect
from infra.sandbox.faults import Faults
from infra.sandbox.gate import Gate, Handler
from infra.sandbox.limits import Limiter
from infra.sandbox.media import MediaStore
from infra.sandbox.oauth import OOB, OAuthServer
from infra.sandbox.platform import Feeds, Platform
from infra.sandbox.reading import Reading
from infra.sandbox.threads import loop_in_thread
from infra.sandbox.world import World

__all__ = ["Sandbox", "running"]


class Sandbox:
    """A synthetic world on a socket."""

    def __init__(
        self,
        world: World,
        *,
        faults: Faults | None = None,
        limiter: Limiter | None = None,
        media: MediaStore | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        feeds: Feeds = "public",
    ) -> None:
        self.world = world
        self.oauth = OAuthServer()
        self._host, self._port = host, port
        self._runner: web.AppRunner | None = None
        self._platform = Platform(
            world=world,
            url="",
            dialect=Dialect(world, ""),
            media=media or MediaStore(world),
            oauth=self.oauth,
            faults=faults or Faults(),
            limiter=limiter or Limiter(),
            feeds=feeds,
        )

    @property
    def url(self) -> str:
        """Address of the server, without a slash at the end; empty before the start."""
        return self._platform.url

    @property
    def faults(self) -> Faults:
        """What goes wrong; its switches may be changed while the server runs."""
        return self._platform.faults

    @property
    def limiter(self) -> Limiter:
        """The rate limits; they may be switched off while the server runs."""
        return self._platform.limiter

    @property
    def calls(self) -> Counter[str]:
        """Number of calls by kind, e.g. ``calls["timeline"]``, and by status, e.g. ``"429"``."""
        return self._platform.calls

    # -- life -----------------------------------------------------------------------------

    async def start(self) -> Sandbox:
        """Listen; ``url`` is set afterwards. Raises OSError when the address is taken."""
        runner = web.AppRunner(self._application(), access_log=None, shutdown_timeout=0.5)
        await runner.setup()
        site = web.TCPSite(runner, self._host, self._port)
        try:
            await site.start()
        except OSError:
            await runner.cleanup()
            raise
        self._runner = runner
        host = f"[{self._host}]" if ":" in self._host else self._host
        self._platform.url = f"http://{host}:{runner.addresses[0][1]}"
        self._platform.dialect = Dialect(self.world, self.url)
        return self

    async def stop(self) -> None:
        """Close the socket and all connections."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        self._platform.media.close()

    async def __aenter__(self) -> Sandbox:
        return await self.start()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    def _application(self) -> web.Application:
        gate = Gate(self._platform)

        @web.middleware
        async def around(request: web.Request, handler: Handler) -> web.StreamResponse:
            return await gate(request, handler)

        application = web.Application(middlewares=[around])
        Authorization(self._platform).add_routes(application.router)
        Reading(self._platform).add_routes(application.router)
        return application

    # -- what tests and the world's author may do ----------------------------------------

    def delete_posts(self, post_ids: Iterable[str | int]) -> int:
        """Delete posts by id; the answer is how many of them existed."""
        found = {self.world.find_post(int(post_id)) for post_id in post_ids}
        existing = {index for index in found if index is not None}
        self._platform.gone |= existing
        return len(existing)

    def delete_doomed(self) -> list[str]:
        """Delete the posts that are marked for it; the answer is their ids."""
        doomed = [str(i) for i in self.world.post_id[self.world.doomed]]
        self.delete_posts(doomed)
        return doomed

    def set_likes(self, post_id: str | int, likes: int) -> None:
        """Give a post another like count from now on. Raises KeyError for an unknown post."""
        index = self.world.find_post(int(post_id))
        if index is None:
            raise KeyError(post_id)
        self.world.likes[index] = likes
        self._platform.dialect.forget_post(index)

    def new_token(self, *, user: int | None = None, scopes: str = "read") -> str:
        """A token without the ceremony; ``user`` is an account's index, None an app's token."""
        form = {"client_name": "direct", "redirect_uris": OOB, "scopes": scopes}
        application = self.oauth.register(form)
        client = {
            "client_id": application.client_id,
            "client_secret": application.client_secret,
            "scope": scopes,
        }
        if user is None:
            return self.oauth.issue({**client, "grant_type": "client_credentials"}).value
        asked = {**client, "response_type": "code", "redirect_uri": OOB}
        code = self.oauth.approve(asked, user)
        return self.oauth.issue({**asked, "grant_type": "authorization_code", "code": code}).value


@contextlib.contextmanager
def running(world: World, **options: Any) -> Iterator[Sandbox]:
    """Run a sandbox in a thread of its own while the block lasts.

    ``options`` are those of :class:`Sandbox`. For programs and tests without an event loop.
    """
    with loop_in_thread("sandbox") as loop:
        server = Sandbox(world, **options)
        try:
            asyncio.run_coroutine_threadsafe(server.start(), loop).result(30)
            yield server
        finally:
            asyncio.run_coroutine_threadsafe(server.stop(), loop).result(30)
