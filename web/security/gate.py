"""What every request passes before a page sees it, and what every answer carries.

Host (DNS rebinding), origin and CSRF token, login, length of the body; then Content-Security-Policy
and its companions, and the counters of ``/metrics``.
"""

from __future__ import annotations

import hmac
import logging
import secrets
import time
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

from prometheus_client import CollectorRegistry, Counter, Histogram
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from web.problems import ProblemError, answer
from web.security.sessions import COOKIE, Session, Sessions
from web.settings import Settings

__all__ = ["CSP", "Gate", "Metrics"]

log = logging.getLogger("likewise.web")

CSP = (
    "default-src 'none'; img-src 'self' blob: data:; style-src 'self'; script-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": CSP,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
CHANGE_NOTHING = frozenset({"/login", "/logout", "/api/v1/score"})
"""Paths that take a body and leave the study as it is."""
OPEN = ("/login", "/static/", "/healthz", "/readyz")
"""Paths that need no login."""


class Metrics:
    """Counters of one server, as Prometheus reads them."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "likewise_http_requests_total",
            "Answers.",
            ["method", "route", "status"],
            registry=self.registry,
        )
        self.seconds = Histogram(
            "likewise_http_seconds",
            "Wall time of an answer.",
            ["route"],
            registry=self.registry,
            buckets=(0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
        )


class Gate:
    """ASGI middleware around the whole application."""

    def __init__(
        self, app: ASGIApp, settings: Settings, sessions: Sessions, metrics: Metrics
    ) -> None:
        self.app = app
        self.settings = settings
        self.sessions = sessions
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        headers = Headers(scope=scope)
        known = self.sessions.read(_cookie(headers.get("cookie")))
        session = known or self.sessions.new()
        by_token = self._has_token(headers)
        user = "token" if by_token else session.user
        scope.setdefault("state", {}).update(
            session=session, user=user, csrf=self.sessions.csrf(session)
        )
        status, begun = 500, False

        async def sending(message: Message) -> None:
            nonlocal status, begun
            if message["type"] == "http.response.start":
                status, begun = message["status"], True
                out = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    out.setdefault(name, value)
                # Whoever sends no cookie and asks for no page is a program: it gets none.
                page = known is None and "text/html" in out.get("content-type", "")
                if page and not any(
                    one.startswith(f"{COOKIE}=") for one in out.getlist("set-cookie")
                ):
                    out.append("Set-Cookie", self.sessions.header(session, secure=_secure(scope)))
            await send(message)

        refused = self._refusal(scope, headers, known, by_token=by_token, user=user)
        try:
            if refused is not None:
                await refused(scope, receive, sending)
            else:
                limit = self.settings.body_limits.get(scope["path"], self.settings.body_limit)
                await self.app(scope, _limited(receive, limit), sending)
        except ClientDisconnect:
            status = 499  # nobody is left to answer, and nothing went wrong here
        except Exception as error:
            # Here and not in a handler of Starlette's: its answer would pass outside this gate.
            number = secrets.token_hex(4)
            log.error("%s %s %s", number, scope["method"], scope["path"], exc_info=error)
            if begun:
                raise
            problem = ProblemError(500, f"this is a bug; the log holds it under {number}")
            await answer(Request(scope), problem)(scope, receive, sending)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            self.metrics.requests.labels(scope["method"], route, status).inc()
            self.metrics.seconds.labels(route).observe(time.perf_counter() - started)

    def _has_token(self, headers: Headers) -> bool:
        scheme, _, given = headers.get("authorization", "").partition(" ")
        token = self.settings.token
        return (
            token is not None
            and scheme.lower() == "bearer"
            and hmac.compare_digest(given.strip().encode(), token.encode())
        )

    def _refusal(
        self,
        scope: Scope,
        headers: Headers,
        session: Session | None,
        *,
        by_token: bool,
        user: str | None,
    ) -> Response | None:
        """The answer that ends the request here; None lets it in."""
        request = Request(scope)
        path = scope["path"]
        if not self.settings.knows_host(headers.get("host", "")):
            # The page for people would show what the server holds: words alone.
            return Response("This server does not go by that name.\n", 403, media_type="text/plain")
        length = headers.get("content-length", "0")
        limit = self.settings.body_limits.get(path, self.settings.body_limit)
        if not length.isdigit() or int(length) > limit:
            return answer(request, ProblemError(413, f"the body may have {limit:,} bytes"))
        if self.settings.guarded and user is None and not path.startswith(OPEN):
            if not path.startswith("/api/") and "text/html" in headers.get("accept", ""):
                return RedirectResponse("/login", 303)
            problem = ProblemError(
                401, "say who you are", headers={"WWW-Authenticate": 'Bearer realm="likewise"'}
            )
            return answer(request, problem)
        if scope["method"] in SAFE:
            return None
        return self._forged(request, headers, session, by_token=by_token)

    def _forged(
        self, request: Request, headers: Headers, session: Session | None, *, by_token: bool
    ) -> Response | None:
        """The answer to a request that would change something and may not."""
        path = request.url.path
        if self.settings.read_only and path not in CHANGE_NOTHING:
            return answer(request, ProblemError(403, "this server is read-only"))
        if not _same_origin(headers):
            return answer(request, ProblemError(403, "the request came from another site"))
        if by_token or path == "/login":  # a login form carries its token in the form
            return None
        # A program on this machine has no cookie; a browser has one, and must know the token too.
        given = headers.get("x-csrf-token", "")
        if session is None or self.sessions.csrf_right(session, given):
            return None
        hint = "load the page again"
        return answer(request, ProblemError(403, "the CSRF token is missing or old", hint=hint))


def _same_origin(headers: Headers) -> bool:
    """False when a browser says that another site made the request."""
    if headers.get("sec-fetch-site", "none") not in {"same-origin", "none"}:
        return False
    origin = headers.get("origin")
    return origin is None or urlsplit(origin).netloc == headers.get("host")


def _cookie(header: str | None) -> str | None:
    if not header:
        return None
    try:
        found = SimpleCookie(header).get(COOKIE)
    except CookieError:
        return None
    return None if found is None else found.value


def _secure(scope: Scope) -> bool:
    return bool(scope.get("scheme") == "https")


def _limited(receive: Receive, limit: int) -> Receive:
    """Counts a body that does not say its length."""
    seen = 0

    async def counted() -> Message:
        nonlocal seen
        message = await receive()
        if message["type"] == "http.request":
            seen += len(message.get("body", b""))
            if seen > limit:
                # FastAPI lets this class alone pass while it reads a body.
                raise HTTPException(413, "the body is too large")
        return message

    return counted
