"""A provider whose refresh tokens are good once: a second use revokes the whole grant."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable

from aiohttp import web


class Rotating:
    """Grants by name; ``expire`` makes the access token of one old."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.access: dict[str, str] = {}
        self.refresh: dict[str, str] = {}
        self.used: set[str] = set()
        self.revoked: set[str] = set()
        self.renewals = 0
        self.before: Callable[[], web.Response | None] = lambda: None
        self.application = web.Application()
        self.application.router.add_post("/oauth/token", self._renew)
        self.application.router.add_post("/oauth/revoke", self._revoke)
        self.taken_back: list[str] = []
        self.application.router.add_get("/api/v1/anything", self._answer)

    def grant(self, name: str) -> dict[str, str]:
        with self.lock:
            return self._fresh(name)

    def _fresh(self, name: str) -> dict[str, str]:
        self.access[name], self.refresh[name] = secrets.token_hex(16), secrets.token_hex(16)
        pair = {"access_token": self.access[name], "refresh_token": self.refresh[name]}
        return {**pair, "client_id": "client", "client_secret": "hush-hush-hush"}

    def expire(self, name: str) -> None:
        with self.lock:
            self.access[name] = "expired"

    async def _renew(self, request: web.Request) -> web.Response:
        form = await request.post()
        given = str(form["refresh_token"])
        spoilt = self.before()
        if spoilt is not None:
            return spoilt
        with self.lock:
            names = [name for name, one in self.refresh.items() if one == given]
            if given in self.used or not names or names[0] in self.revoked:
                self.revoked |= {n for n in self.refresh if given.startswith(n)} | set(names)
                self.revoked.add(given)
                return web.json_response({"error": "invalid_grant"}, status=400)
            self.used.add(given)
            self.renewals += 1
            fresh = self._fresh(names[0])
        return web.json_response({k: fresh[k] for k in ("access_token", "refresh_token")})

    async def _revoke(self, request: web.Request) -> web.Response:
        self.taken_back.append(str((await request.post())["token"]))
        return web.json_response({})

    async def _answer(self, request: web.Request) -> web.Response:
        value = request.headers.get("Authorization", "").removeprefix("Bearer ")
        with self.lock:
            good = [name for name, one in self.access.items() if one == value]
        if good and good[0] not in self.revoked:
            return web.json_response({"ok": True})
        return web.json_response({"error": "The access token expired"}, status=401)
