"""A small page on which friends give a token, see what it is for, and take it back.

``likewise auth invite`` serves it. It says what is read and for what, stores the consent with its
time, and gives everyone an address of their own to withdraw. Consents (never secrets) stand beside
the tokens; a withdrawn token is deleted here and revoked upstream.
"""

from __future__ import annotations

import asyncio
import contextlib
import html
import secrets
import time
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from aiohttp import web

from collectors.tokens.consents import Consents, Invitation, withdraw
from collectors.tokens.store import TokenStore
from likewise.errors import CredentialsError

if TYPE_CHECKING:
    from collectors.tokens.oauth import Flow
    from collectors.tokens.platform import Permitting

__all__ = ["Consents", "Invitation", "application", "withdraw"]

MOST_PENDING = 500
LIFE_S = 900

_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8">
<meta name="viewport" content="width=device-width"><title>{title}</title>
<style>body{{font:1.1rem/1.5 system-ui;max-width:38rem;margin:3rem auto;padding:0 1rem}}
button,input{{font:inherit;padding:.4rem .8rem}}label{{display:block;margin:.6rem 0}}</style>
<h1>{title}</h1>{body}</html>"""

_ASK = """<p><b>{who}</b> asks for your help: {purpose}</p>
<p>If you agree, this programme reads public posts, the counts below them and the follower counts
of their authors on {host} with your login, and nothing else. {grants}</p>
<p>Your calls to {host} are shared with it, within the limits that {host} sets.</p>
<p>You can take this back at any time; you get an address for that.</p>
<form method="post" action="/agree">{fields}
<label><input type="checkbox" name="agree" value="yes" required> I agree to this.</label>
<button>Log in at {host}</button></form>"""

_THANKS = """<p>Thank you. Your consent of {given_at} is stored.</p>
<p>Keep this address: <a href="/withdraw/{key}">take back your consent</a>.</p>"""

_WITHDRAW = """<p>Your consent of {given_at} for {host}.</p>
<form method="post"><button>Take it back and delete my token</button></form>"""

_START = '<p><a href="/">To the start</a></p>'


@dataclass(frozen=True, slots=True)
class _Pending:
    """A login under way. Only the browser that started it knows ``secret``, in a cookie."""

    flow: Flow
    secret: str
    ends: float


def application(
    platform: Permitting,
    invitation: Invitation,
    answers: dict[str, str],
    address: str,
    store: TokenStore,
    *,
    hosts: Collection[str] = (),
) -> web.Application:
    """The consent page. ``answers`` are the operator's own (an application's key and secret).

    ``address`` is where friends find it. Requests under other names than its own and ``hosts``
    (host and port) are refused: another site's name may be made to point here.
    """
    public = urlsplit(address)
    page = _Pages(platform, invitation, answers, address.rstrip("/"), store)
    guard = _guard(f"{public.scheme}://{public.netloc}".lower(), {public.netloc.lower(), *hosts})
    app = web.Application(client_max_size=16 * 1024, middlewares=[_headers, guard])
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


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def _guard(origin: str, hosts: set[str]) -> Callable[..., Awaitable[web.StreamResponse]]:
    """Refuse other names in ``Host``, and forms that were sent from elsewhere."""

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        if (
            request.headers.getall("Host", []) != [request.host]
            or request.host.lower() not in hosts
        ):
            return _shown("Not here", "<p>This page has another name.</p>", status=400)
        if request.method == "POST" and request.headers.getall("Origin", []) != [origin]:
            text = "<p>This form was not sent from this page: open it and try again.</p>"
            return _shown("Please start again", text + _START, status=403)
        return await handler(request)

    return guard


@web.middleware
async def _headers(request: web.Request, handler: Handler) -> web.StreamResponse:
    """No referrer to others (addresses hold keys), no frames, no scripts.

    With ``no-referrer`` browsers would send ``Origin: null`` with this page's own forms.
    """
    response = await handler(request)
    response.headers["Referrer-Policy"] = "same-origin"
    response.headers["Content-Security-Policy"] = (
        "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'"
    )
    response.headers["Cache-Control"] = "no-store"
    return response


class _Pages:
    """The handlers. A login under way is known by its state, and bound to a browser by a cookie."""

    def __init__(
        self,
        platform: Permitting,
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
        self.pending: dict[str, _Pending] = {}

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
        texts = {n: html.escape(getattr(self.invitation, n)) for n in ("who", "purpose")}
        texts |= {n: html.escape(getattr(self.platform, n)) for n in ("host", "grants")}
        return _shown("An invitation", _ASK.format(fields=inputs, **texts))

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
        response = web.Response(status=303, headers={"Location": address})
        response.set_cookie(
            self._cookie(flow.state),
            self._remember(flow),
            httponly=True,
            samesite="Lax",
            max_age=LIFE_S,
            secure=self.secure,
        )
        return response

    def _remember(self, flow: Flow) -> str:
        """Wait for the answer to a login; returns what the browser has to show with it."""
        now = time.monotonic()
        for state in [state for state, one in self.pending.items() if one.ends < now]:
            del self.pending[state]
        while len(self.pending) >= MOST_PENDING:
            self.pending.pop(next(iter(self.pending)))
        secret = secrets.token_urlsafe(24)
        self.pending[flow.state] = _Pending(flow, secret, now + LIFE_S)
        return secret

    def _cookie(self, state: str) -> str:
        """Name of a login's cookie: several may be under way in one browser.

        With ``__Host-`` no other site, not even a subdomain, can have set it.
        """
        return ("__Host-" if self.secure else "") + f"login-{state[:8]}"

    def _taken(self, request: web.Request) -> tuple[str, Flow] | None:
        """The login that an answer belongs to, once; None for what this browser did not start."""
        for state, one in self.pending.items():
            if request.query.getall(one.flow.state_name, []) != [state]:
                continue
            shown = request.cookies.get(self._cookie(state), "").encode()
            if not secrets.compare_digest(shown, one.secret.encode()):
                return None
            del self.pending[state]
            return (state, one.flow) if one.ends >= time.monotonic() else None
        return None

    async def callback(self, request: web.Request) -> web.Response:
        taken = self._taken(request)
        if taken is None:
            return _shown("Please start again", _START, status=400)
        state, flow = taken
        response = await self._answered(request, flow)
        response.del_cookie(self._cookie(state), secure=self.secure, httponly=True, samesite="Lax")
        return response

    async def _answered(self, request: web.Request, flow: Flow) -> web.Response:
        if "error" in request.query:
            return _shown("Nothing was stored", "<p>You did not agree; that is fine.</p>")
        if any(len(request.query.getall(name)) > 1 for name in request.query):
            return _shown("Please start again", _START, status=400)
        try:
            return await self._finish(flow, dict(request.query))
        except CredentialsError as error:
            return _shown("That did not work", f"<p>{html.escape(str(error))}</p>", status=400)

    async def _finish(self, flow: Flow, answers: dict[str, str]) -> web.Response:
        token = await asyncio.to_thread(flow.token, answers)
        token = replace(token, purpose=self.invitation.purpose)
        consents = Consents(self.store)
        key, given_at = await asyncio.to_thread(consents.give, token, self.invitation)
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
        told = False
        with contextlib.suppress(CredentialsError):
            told = await asyncio.to_thread(withdraw, self.platform, self.store, found["token"])
        await asyncio.to_thread(Consents(self.store).withdraw, found["token"])
        return _shown("Taken back", f"<p>Your token is deleted here.</p><p>{self._left(told)}</p>")

    def _left(self, told: bool) -> str:
        host = html.escape(self.platform.host)
        if told:
            return f"{host} was told and takes it no more. Thank you for your help."
        usual = (
            f"{self.platform.host} could not be told: end the permission in your settings there."
        )
        return html.escape(self.platform.left_to_do or usual)


def _shown(title: str, body: str, *, status: int = 200) -> web.Response:
    text = _PAGE.format(title=html.escape(title), body=body)
    return web.Response(text=text, status=status, content_type="text/html")
