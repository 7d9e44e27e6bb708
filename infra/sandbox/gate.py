"""What stands before every call: latency, rate limits, tokens, and faults on purpose."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping

from aiohttp import web

from infra.sandbox.faults import Fault
from infra.sandbox.http import RefusedError, as_json, bearer
from infra.sandbox.limits import CURSORS
from infra.sandbox.oauth import OAuthError, Token
from infra.sandbox.platform import Platform

__all__ = ["Gate", "Handler"]

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
MARK = {"X-Synthetic-World": "1"}


class Gate:
    """Called with a request and the handler that would answer it."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform

    async def __call__(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Latency, limits, tokens and faults around every handler."""
        if wait := self._platform.faults.wait():
            await asyncio.sleep(wait)
        fault = self._platform.faults.draw(request.path)
        if fault is Fault.RESET:
            return self._reset(request)
        headers, refusal = self._admit(request, expired=fault is Fault.EXPIRED)
        response: web.StreamResponse
        if refusal is not None:
            response = refusal
        elif fault is Fault.ERROR:
            response = as_json({"error": "Something went wrong"}, self._platform.faults.status())
        else:
            response = await self._answer(request, handler)
        response.headers.update(headers)
        response.headers.update(MARK)
        self._platform.calls[str(response.status)] += 1
        if fault in (Fault.TRUNCATE, Fault.DRIP) and isinstance(response, web.Response):
            return await self._spoil(request, response, fault)
        return response

    async def _answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except OAuthError as error:
            body = {"error": error.error, "error_description": str(error)}
            return as_json(body, error.status)
        except RefusedError as error:
            return as_json({"error": str(error)}, error.status)
        except web.HTTPException as error:
            if error.status < 400:
                raise
            text = {404: "Not Found", 405: "Method Not Allowed"}.get(error.status, error.reason)
            return as_json({"error": text}, error.status)

    def _admit(
        self, request: web.Request, *, expired: bool
    ) -> tuple[Mapping[str, str], web.Response | None]:
        """Count the call against the limits and look at its token."""
        value = bearer(request)
        token = self._platform.oauth.tokens.get(value) if value else None
        path = request.path
        api = path.startswith("/api")
        good = token is not None and not (token.revoked or token.expired)
        verdict = self._platform.limiter.check(
            address=request.remote or "0.0.0.0",  # noqa: S104
            user=str(token.user) if token and good and token.user is not None else None,
            token=token.value if token and good else None,
            api=api,
            paged=bool(request.rel_url.raw_query_string)
            and any(request.query.get(name) for name in CURSORS),
            registers=path == "/api/v1/apps" and request.method == "POST",
        )
        if not verdict.allowed:
            return verdict.headers, as_json({"error": "Too many requests"}, 429)
        if api and value:
            return verdict.headers, self._check_token(token, expired=expired)
        return verdict.headers, None

    def _check_token(self, token: Token | None, *, expired: bool) -> web.Response | None:
        if token is None:
            return as_json({"error": "The access token is invalid"}, 401)
        token.calls += 1
        after = self._platform.faults.expire_after
        token.expired = token.expired or expired or 0 < after < token.calls
        if token.revoked:
            return as_json({"error": "The access token was revoked"}, 401)
        if token.expired:
            return as_json({"error": "The access token expired"}, 401)
        if not token.may_read:
            return as_json({"error": "This action is outside the authorized scopes"}, 403)
        return None

    def _reset(self, request: web.Request) -> web.Response:
        """Drop the connection without an answer."""
        self._platform.calls["reset"] += 1
        if request.transport is not None:
            request.transport.abort()
        return web.Response()

    async def _spoil(
        self, request: web.Request, response: web.Response, fault: Fault
    ) -> web.StreamResponse:
        """Send the body in drops, or only its first half under the whole length."""
        body = response.body if isinstance(response.body, bytes) else b""
        spoiled = web.StreamResponse(status=response.status, headers=response.headers)
        spoiled.content_length = len(body)
        await spoiled.prepare(request)
        with contextlib.suppress(ConnectionError):
            if fault is Fault.TRUNCATE:
                await spoiled.write(body[: len(body) // 2])
                if request.transport is not None:
                    request.transport.close()
                return spoiled
            step = self._platform.faults.drip_bytes
            for start in range(0, len(body), step):
                await spoiled.write(body[start : start + step])
                await asyncio.sleep(self._platform.faults.drip_every_s)
        return spoiled
