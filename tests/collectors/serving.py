"""Servers for tests: an aiohttp application in a thread, and a proxy that spoils answers."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

import aiohttp
from aiohttp import web

Spoil = Callable[[web.Request], web.Response | None]
"""What a proxy answers itself; None lets the request through."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def served(application: web.Application, port: int = 0) -> Iterator[str]:
    """Serve on loopback while the block lasts; gives the address."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.5)

    async def start() -> str:
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        return f"http://127.0.0.1:{runner.addresses[0][1]}"

    try:
        yield asyncio.run_coroutine_threadsafe(start(), loop).result(10)
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


class Proxy:
    """Stands before a server; ``spoil`` may be set at any time."""

    def __init__(self, upstream: str) -> None:
        self.upstream = upstream
        self.spoil: Spoil = lambda _: None
        self.asked: list[str] = []
        self.application = web.Application()
        self.application.router.add_route("*", "/{path:.*}", self._answer)

    async def _answer(self, request: web.Request) -> web.Response:
        self.asked.append(f"{request.method} {request.path_qs}")
        spoilt = self.spoil(request)
        if spoilt is not None:
            return spoilt
        headers = {k: v for k, v in request.headers.items() if k.lower() != "host"}
        async with (
            aiohttp.ClientSession(auto_decompress=False) as session,
            session.request(
                request.method,
                f"{self.upstream}{request.path_qs}",
                data=await request.read(),
                headers=headers,
                allow_redirects=False,
            ) as answer,
        ):
            kept = {
                k: v
                for k, v in answer.headers.items()
                if k.lower() not in {"transfer-encoding", "connection", "content-length"}
            }
            return web.Response(body=await answer.read(), status=answer.status, headers=kept)
