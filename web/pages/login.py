"""Login and logout, where a password or a token is asked."""

from __future__ import annotations

import asyncio
import hmac
import time
from collections import defaultdict, deque
from typing import Annotated

from fastapi import APIRouter, Form, Request
from starlette.responses import RedirectResponse, Response

from web.problems import ProblemError
from web.security import passwords
from web.security.sessions import Session
from web.templating import page

__all__ = ["router"]

router = APIRouter()

TRIES, SECONDS = 10, 300.0
"""Wrong answers of one address within so many seconds; then it has to wait."""
_wrong: defaultdict[str, deque[float]] = defaultdict(deque)


@router.get("/login")
async def form(request: Request) -> Response:
    """The form."""
    return page(request, "login.html", wrong=False)


@router.post("/login")
async def login(
    request: Request,
    csrf: Annotated[str, Form(max_length=200)],
    name: Annotated[str, Form(max_length=200)] = "",
    password: Annotated[str, Form(max_length=1000)] = "",
) -> Response:
    """Check the password (or the token in its place) and begin a session."""
    session: Session = request.state.session
    if not request.app.state.sessions.csrf_right(session, csrf):
        raise ProblemError(403, "the form is too old", hint="load it again")
    client = request.client.host if request.client else "?"
    if _waits(client):
        raise ProblemError(
            429, "too many wrong passwords", headers={"Retry-After": str(int(SECONDS))}
        )
    user = await _user(request, name.strip(), password)
    if user is None:
        _wrong[client].append(time.monotonic())
        return page(request, "login.html", status=401, wrong=True)
    answer = RedirectResponse("/", 303)
    sessions = request.app.state.sessions
    secure = request.url.scheme == "https"
    answer.headers["Set-Cookie"] = sessions.header(sessions.new(user), secure=secure)
    return answer


@router.post("/logout")
async def logout(request: Request) -> Response:
    """Forget who this is."""
    answer = RedirectResponse("/login", 303)
    sessions = request.app.state.sessions
    answer.headers["Set-Cookie"] = sessions.header(
        sessions.new(), secure=request.url.scheme == "https"
    )
    return answer


def _waits(client: str) -> bool:
    times = _wrong[client]
    while times and times[0] < time.monotonic() - SECONDS:
        times.popleft()
    return len(times) >= TRIES


async def _user(request: Request, name: str, password: str) -> str | None:
    settings = request.app.state.settings
    if settings.token is not None and hmac.compare_digest(
        password.encode("utf-8", "replace"), settings.token.encode()
    ):
        return name or "token"
    if settings.passwords is None:
        return None
    right = await asyncio.to_thread(passwords.right, settings.passwords, name, password)
    return name if right else None
