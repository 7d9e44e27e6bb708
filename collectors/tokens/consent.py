"""A small page on which friends give a token, see what it is for, and take it back.

``likewise auth invite`` serves it. It says what is read and for what, stores the consent with its
time, and gives everyone an address of their own to withdraw. Consents (never secrets) stand in
``consents.json`` beside the tokens; a withdrawn token is deleted here and revoked upstream.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import hashlib
import html
import json
import secrets
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from aiohttp import web

from collectors.tokens.store import TokenStore
from likewise.errors import CredentialsError
from likewise.study import write_json

if TYPE_CHECKING:
    from collectors.platforms.base import Platform
    from collectors.tokens.oauth import Flow

__all__ = ["Consents", "Invitation", "application"]

MOST_PENDING = 500

_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8">
<meta name="viewport" content="width=device-width"><title>{title}</title>
<style>body{{font:1.1rem/1.5 system-ui;max-width:38rem;margin:3rem auto;padding:0 1rem}}
button,input{{font:inherit;padding:.4rem .8rem}}label{{display:block;margin:.6rem 0}}</style>
<h1>{title}</h1>{body}</html>"""

_ASK = """<p><b>{who}</b> asks for your help: {purpose}</p>
<p>If you agree, this programme may <b>read</b> public posts and follower counts on
{host} with your login. It can not post, follow, read messages or change anything.
Your calls to {host} are shared with it, within the limits that {host} sets.</p>
<p>You can take this back at any time; you get an address for that.</p>
<form method="post" action="/agree">{fields}
<label><input type="checkbox" name="agree" value="yes" required> I agree to this.</label>
<button>Log in at {host}</button></form>"""

_THANKS = """<p>Thank you. Your consent of {given_at} is stored.</p>
<p>Keep this address: <a href="/withdraw/{key}">take back your consent</a>.</p>"""

_WITHDRAW = """<p>Your consent of {given_at} for {host}.</p>
<form method="post"><button>Take it back and delete my token</button></form>"""


@dataclass(frozen=True, slots=True)
class Invitation:
    """Who asks, and for what."""

    who: str
    purpose: str


class Consents:
    """``consents.json``: who agreed to what and when. Keys are stored as digests only."""

    def __init__(self, store: TokenStore) -> None:
        self.path: Path = store.path.with_name("consents.json")

    def all(self) -> list[dict[str, str]]:
        """Every consent, oldest first."""
        with contextlib.suppress(FileNotFoundError):
            found: list[dict[str, str]] = json.loads(self.path.read_text(encoding="utf-8"))
            return found
        return []

    def add(self, token_id: str, host: str, invitation: Invitation) -> tuple[str, str]:
        """Store a consent given now; returns the key that withdraws it, and the time."""
        key = secrets.token_urlsafe(24)
        given_at = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
        entry = {
            "token": token_id,
            "host": host,
            "asked_by": invitation.who,
            "purpose": invitation.purpose,
            "given_at": given_at,
            "withdrawn_at": "",
            "key": _digest(key),
        }
        write_json(self.path, [*self.all(), entry])
        return key, given_at

    def find(self, key: str) -> dict[str, str] | None:
        """The consent that a key withdraws; None when there is none, or it was withdrawn."""
        digest = _digest(key)
        found = [c for c in self.all() if secrets.compare_digest(c["key"], digest)]
        return found[0] if found and not found[0]["withdrawn_at"] else None

    def withdraw(self, token_id: str) -> None:
        """Note that the consents behind a token were taken back now."""
        now = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
        entries = self.all()
        for entry in entries:
            if entry["token"] == token_id and not entry["withdrawn_at"]:
                entry["withdrawn_at"] = now
        if entries:
            write_json(self.path, entries)


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def withdraw(platform: Platform, store: TokenStore, token_id: str) -> bool:
    """Delete a token, note it, and revoke it upstream; False when upstream could not be told.

    Raises:
        CredentialsError: there is no such token.
    """
    token = store.remove(token_id)
    Consents(store).withdraw(token_id)
    try:
        return platform.revoke(token)
    except CredentialsError:
        return False


def application(
    platform: Platform,
    invitation: Invitation,
    answers: dict[str, str],
    address: str,
    store: TokenStore,
) -> web.Application:
    """The consent page. ``answers`` are the operator's own (an application's key and secret)."""
    page = _Pages(platform, invitation, answers, address.rstrip("/"), store)
    app = web.Application(client_max_size=16 * 1024, middlewares=[_headers])
    app.add_routes(
        [
            web.get("/", page.ask),
            web.post("/agree", page.agree),
            web.get("/callback", page.callback),
            web.get("/withdraw/{key}", page.ask_withdrawal),
            web.post("/withdraw/{key}", page.withdrawal),
        ]
    )
    return app


@web.middleware
async def _headers(request: web.Request, handler: object) -> web.StreamResponse:
    """No referrer (addresses hold keys), no frames, no scripts."""
    response: web.StreamResponse = await handler(request)  # type: ignore[operator]
    response.headers["Referrer-Policy"] = "no-referrer"
    response.headers["Content-Security-Policy"] = (
        "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"
    )
    response.headers["Cache-Control"] = "no-store"
    return response


class _Pages:
    """The handlers. A login in progress is known by a random cookie."""

    def __init__(
        self,
        platform: Platform,
        invitation: Invitation,
        answers: dict[str, str],
        address: str,
        store: TokenStore,
    ) -> None:
        self.platform = platform
        self.invitation = invitation
        self.answers = answers
        self.redirect_uri = f"{address}/callback"
        self.secure = address.startswith("https://")
        self.store = store
        self.pending: dict[str, Flow] = {}

    def _asked(self) -> list[str]:
        """Names that every friend types, because the operator has not given them."""
        return [q.name for q in self.platform.questions if q.name not in self.answers]

    async def ask(self, _: web.Request) -> web.Response:
        asked = [q for q in self.platform.questions if q.name not in self.answers]
        inputs = "".join(
            f'<label>{html.escape(q.prompt)} <input name="{q.name}" required '
            f'type="{"password" if q.hidden else "text"}" autocomplete="off"></label>'
            for q in asked
        )
        host = html.escape(self.platform.host)
        texts = {n: html.escape(getattr(self.invitation, n)) for n in ("who", "purpose")}
        return _shown("An invitation", _ASK.format(fields=inputs, host=host, **texts))

    async def agree(self, request: web.Request) -> web.Response:
        form = await request.post()
        if form.get("agree") != "yes":
            return _shown("Nothing was stored", "<p>You did not agree; that is fine.</p>")
        typed = {name: str(form.get(name, "")) for name in self._asked()}
        answers = {**self.answers, **typed}
        try:
            flow = await asyncio.to_thread(self.platform.login, answers, self.redirect_uri)
            address = await asyncio.to_thread(flow.address, self.redirect_uri)
            if address is None:
                return await self._finish(flow, answers)
        except CredentialsError as error:
            return _shown("That did not work", f"<p>{html.escape(str(error))}</p>", status=400)
        key = secrets.token_urlsafe(24)
        while len(self.pending) >= MOST_PENDING:
            self.pending.pop(next(iter(self.pending)))
        self.pending[key] = flow
        response = web.Response(status=303, headers={"Location": address})
        response.set_cookie(
            "login", key, httponly=True, samesite="Lax", max_age=900, secure=self.secure
        )
        return response

    async def callback(self, request: web.Request) -> web.Response:
        flow = self.pending.pop(request.cookies.get("login", ""), None)
        if flow is None:
            return _shown("Please start again", '<p><a href="/">To the start</a></p>', status=400)
        if "error" in request.query:
            return _shown("Nothing was stored", "<p>You did not agree; that is fine.</p>")
        try:
            return await self._finish(flow, dict(request.query))
        except CredentialsError as error:
            return _shown("That did not work", f"<p>{html.escape(str(error))}</p>", status=400)

    async def _finish(self, flow: Flow, answers: dict[str, str]) -> web.Response:
        token = await asyncio.to_thread(flow.token, answers)
        token = replace(token, purpose=self.invitation.purpose)
        await asyncio.to_thread(self.store.put, token)
        consents = Consents(self.store)
        key, given_at = await asyncio.to_thread(
            consents.add, token.id, self.platform.host, self.invitation
        )
        return _shown("Thank you", _THANKS.format(key=key, given_at=given_at))

    async def ask_withdrawal(self, request: web.Request) -> web.Response:
        found = await asyncio.to_thread(Consents(self.store).find, request.match_info["key"])
        if found is None:
            return _shown("Nothing to take back", "<p>No such consent.</p>", status=404)
        body = _WITHDRAW.format(given_at=found["given_at"], host=html.escape(found["host"]))
        return _shown("Take back your consent", body)

    async def withdrawal(self, request: web.Request) -> web.Response:
        found = await asyncio.to_thread(Consents(self.store).find, request.match_info["key"])
        if found is None:
            return _shown("Nothing to take back", "<p>No such consent.</p>", status=404)
        with contextlib.suppress(CredentialsError):
            await asyncio.to_thread(withdraw, self.platform, self.store, found["token"])
        await asyncio.to_thread(Consents(self.store).withdraw, found["token"])
        return _shown("Taken back", "<p>Your token is deleted. Thank you for your help.</p>")


def _shown(title: str, body: str, *, status: int = 200) -> web.Response:
    text = _PAGE.format(title=html.escape(title), body=body)
    return web.Response(text=text, status=status, content_type="text/html")
