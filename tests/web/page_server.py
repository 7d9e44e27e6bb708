"""A real server of pages on loopback, in a thread of its own."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from web.app import create_app
from web.index.build import build
from web.settings import Settings
from web.snapshots import Shelf

PASSWORD = "correct horse battery"


def index_now(root: Path) -> None:
    """Make a study's index in this process: one of the server's own costs two seconds more."""
    shelf = Shelf([root])
    shelf.open()
    [one] = shelf.served.values()
    path = one.cache / f"{one.newest.id}.sqlite"
    if not path.is_file():
        build(one.newest.study, path, one.cache)


class Running:
    """A server in a thread of its own, and a client that talks to it."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.app = create_app(settings)
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        # uvloop notices the end of a child in the main thread only; asyncio does in any.
        config = uvicorn.Config(self.app, log_level="warning", access_log=False, loop="asyncio")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, daemon=True
        )

    def start(self) -> None:
        self._thread.start()
        until = time.monotonic() + 20
        while not self._server.started:
            assert time.monotonic() < until, "the server has not started"
            time.sleep(0.01)

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(20)
        self._socket.close()

    def wait_until_ready(self) -> None:
        """Until every study has its index."""
        until = time.monotonic() + 60
        with self.client() as client:
            while client.get("/readyz").status_code != 200:
                assert time.monotonic() < until, client.get("/readyz").text
                time.sleep(0.05)

    def client(self, **options: Any) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=30, **options)
