"""An OAuth 2 provider of Mastodon's shape that behaves as a test wants it to."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from aiohttp import web


class Provider:
    """Everybody agrees at once; ``scope`` is what is granted, None repeats what was asked for."""

    def __init__(self) -> None:
        self.scope: str | None = None
        self.spoil: dict[str, Callable[[], web.Response | None]] = {}
        self.applications: dict[str, str] = {}
        self.forms: list[tuple[str, dict[str, Any]]] = []
        self.codes: dict[str, str] = {}
        self.revoked: list[str] = []
        self.application = web.Application()
        add = self.application.router.add_route
        add("POST", "/api/v1/apps", self._guarded(self._register))
        add("GET", "/oauth/authorize", self._guarded(self._authorize))
        add("POST", "/oauth/token", self._guarded(self._token))
        add("POST", "/oauth/revoke", self._guarded(self._revoke))
        add("GET", "/api/v1/accounts/verify_credentials", self._guarded(self._whose))
        add("*", "/{path:.*}", self._guarded(self._elsewhere))

    def _guarded(self, handler: Any) -> Any:
        async def guarded(request: web.Request) -> web.Response:
            form = dict(await request.post())
            self.forms.append((request.path, {**form, **dict(request.headers)}))
            spoilt = self.spoil.get(request.path, lambda: None)()
            return spoilt if spoilt is not None else handler(request, form)

        return guarded

    def _register(self, request: web.Request, form: dict[str, Any]) -> web.Response:
        client = secrets.token_hex(16)
        self.applications[client] = secrets.token_hex(16)
        return web.json_response({"client_id": client, "client_secret": self.applications[client]})

    def _authorize(self, request: web.Request, form: dict[str, Any]) -> web.Response:
        query = request.query
        code = secrets.token_hex(16)
        self.codes[code] = query["scope"]
        back = {"code": code, "state": query["state"]}
        return web.Response(
            status=302, headers={"Location": f"{query['redirect_uri']}?{urlencode(back)}"}
        )

    def _known(self, form: dict[str, Any]) -> bool:
        return self.applications.get(form.get("client_id", "")) == form.get("client_secret")

    def _token(self, request: web.Request, form: dict[str, Any]) -> web.Response:
        if not self._known(form):
            words = {"error": "invalid_client", "error_description": "This client is not known"}
            return web.json_response(words, status=401)
        asked = self.codes.pop(form["code"]) if "code" in form else form["scope"]
        scope = asked if self.scope is None else self.scope
        body = {"access_token": secrets.token_hex(16), "token_type": "Bearer", "scope": scope}
        return web.json_response(body)

    def _revoke(self, request: web.Request, form: dict[str, Any]) -> web.Response:
        if not self._known(form):
            return web.json_response({"error": "unauthorized_client"}, status=403)
        self.revoked.append(form["token"])
        return web.json_response({})

    def _whose(self, request: web.Request, form: dict[str, Any]) -> web.Response:
        return web.json_response({"id": "7"})

    def _elsewhere(self, request: web.Request, form: dict[str, Any]) -> web.Response:
        return web.json_response({"error": "Not Found"}, status=404)
