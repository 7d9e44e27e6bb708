"""The sandbox's HTTP server: the part of Mastodon's REST interface that reading needs.

``async with Sandbox(World(spec)) as server: server.url`` inside an event loop, or
``with running(World(spec)) as server`` from ordinary code (own thread). Collectors know nothing
of it but its URL.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import html
import json
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from types import TracebackType
from typing import Literal
from urllib.parse import urlencode

from aiohttp import web

from infra.sandbox.dialect import SYNTHETIC, Dialect
from infra.sandbox.faults import Fault, Faults
from infra.sandbox.limits import CURSORS, Limiter
from infra.sandbox.media import MediaStore
from infra.sandbox.oauth import OOB, OAuthError, OAuthServer, Token
from infra.sandbox.timeline import Window, link_header, page, tagged
from infra.sandbox.world import TAGS, World

__all__ = ["Sandbox", "running"]

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Feeds = Literal["public", "authenticated", "disabled"]

VERSION = "4.5.0"
MAX_POSTS, MAX_STATUS_IDS, MAX_ACCOUNT_IDS = 40, 20, 40
JSON = "application/json; charset=utf-8"
MARK = {"X-Synthetic-World": "1"}


class Sandbox:
    """A synthetic world on a socket.

    Attributes:
        url: address of the server, without a slash at the end; known once started.
        calls: number of requests by kind, e.g. ``calls["timeline"]``, and by status.
        faults, limiter, oauth: may be changed while the server runs.
    """

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
        self.faults = faults or Faults()
        self.limiter = limiter or Limiter()
        self.media = media or MediaStore(world)
        self.oauth = OAuthServer()
        self.feeds = feeds
        self.url = ""
        self.calls: Counter[str] = Counter()
        self._host, self._port = host, port
        self._gone: set[int] = set()
        self._runner: web.AppRunner | None = None

    # -- life -----------------------------------------------------------------------------

    async def start(self) -> Sandbox:
        """Listen; ``url`` is set afterwards."""
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
        self.url = f"http://{host}:{runner.addresses[0][1]}"
        self.dialect = Dialect(self.world, self.url)
        return self

    async def stop(self) -> None:
        """Close the socket and all connections."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        self.media.close()

    async def __aenter__(self) -> Sandbox:
        return await self.start()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    # -- what tests and the world's author may do ----------------------------------------

    def delete_posts(self, post_ids: Iterable[str | int]) -> int:
        """Delete posts by id; the answer is how many of them existed."""
        found = {self.world.find_post(int(post_id)) for post_id in post_ids} - {None}
        self._gone |= {index for index in found if index is not None}
        return len(found)

    def delete_doomed(self) -> list[str]:
        """Delete the posts that are marked for it; the answer is their ids."""
        doomed = [str(i) for i in self.world.post_id[self.world.doomed]]
        self.delete_posts(doomed)
        return doomed

    def set_likes(self, post_id: str | int, likes: int) -> None:
        """Give a post another like count from now on."""
        index = self.world.find_post(int(post_id))
        if index is None:
            raise KeyError(post_id)
        self.world.likes[index] = likes
        self.dialect.forget_post(index)

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

    # -- plumbing -------------------------------------------------------------------------

    def _application(self) -> web.Application:
        @web.middleware
        async def around(request: web.Request, handler: Handler) -> web.StreamResponse:
            return await self._around(request, handler)

        application = web.Application(middlewares=[around])
        get, post = application.router.add_get, application.router.add_post
        get("/api/v1/timelines/tag/{tag}", self._timeline)
        get("/media/{name}", self._media)
        get("/api/v1/accounts", self._accounts)
        get("/api/v1/accounts/verify_credentials", self._who_am_i)
        get("/api/v1/accounts/{id}/statuses", self._statuses_of)
        get("/api/v1/accounts/lookup", self._lookup)
        get("/api/v1/accounts/{id}", self._account)
        get("/api/v1/statuses", self._statuses)
        get("/api/v1/statuses/{id}", self._status)
        get("/api/v2/instance", self._instance)
        get("/api/v1/instance/rules", self._rules)
        get("/api/v1/instance/terms_of_service", self._terms)
        post("/api/v1/apps", self._register)
        get("/api/v1/apps/verify_credentials", self._which_app)
        get("/oauth/authorize", self._ask_person)
        post("/oauth/authorize", self._person_answers)
        post("/oauth/token", self._token)
        post("/oauth/revoke", self._revoke)
        get("/.well-known/oauth-authorization-server", self._metadata)
        get("/", self._front_page)
        return application

    async def _around(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Latency, limits, tokens and faults around every handler."""
        if wait := self.faults.wait():
            await asyncio.sleep(wait)
        fault = self.faults.draw(request.path)
        if fault is Fault.RESET:
            return self._reset(request)
        headers, refusal = self._admit(request, expired=fault is Fault.EXPIRED)
        response = refusal or (
            _json({"error": "Something went wrong"}, self.faults.status())
            if fault is Fault.ERROR
            else await self._answer(request, handler)
        )
        response.headers.update(headers)
        response.headers.update(MARK)
        self.calls[str(response.status)] += 1
        if fault in (Fault.TRUNCATE, Fault.DRIP) and isinstance(response, web.Response):
            return await self._spoil(request, response, fault)
        return response

    async def _answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except OAuthError as error:
            body = {"error": error.error, "error_description": str(error)}
            return _json(body, error.status)
        except _RefusedError as error:
            return _json({"error": str(error)}, error.status)
        except web.HTTPException as error:
            if error.status < 400:
                raise
            text = {404: "Not Found", 405: "Method Not Allowed"}.get(error.status, error.reason)
            return _json({"error": text}, error.status)

    def _admit(
        self, request: web.Request, *, expired: bool
    ) -> tuple[Mapping[str, str], web.Response | None]:
        """Count the call against the limits and look at its token."""
        value = _bearer(request)
        token = self.oauth.tokens.get(value) if value else None
        path = request.path
        api = path.startswith("/api")
        good = token is not None and not (token.revoked or token.expired)
        verdict = self.limiter.check(
            address=request.remote or "0.0.0.0",  # noqa: S104
            user=str(token.user) if token and good and token.user is not None else None,
            token=token.value if token and good else None,
            api=api,
            paged=bool(request.rel_url.raw_query_string)
            and any(request.query.get(name) for name in CURSORS),
        )
        if not verdict.allowed:
            return verdict.headers, _json({"error": "Too many requests"}, 429)
        if api and value:
            return verdict.headers, self._check_token(token, expired=expired)
        return verdict.headers, None

    def _check_token(self, token: Token | None, *, expired: bool) -> web.Response | None:
        if token is None:
            return _json({"error": "The access token is invalid"}, 401)
        token.calls += 1
        after = self.faults.expire_after
        token.expired = token.expired or expired or 0 < after < token.calls
        if token.revoked:
            return _json({"error": "The access token was revoked"}, 401)
        if token.expired:
            return _json({"error": "The access token expired"}, 401)
        if not token.may_read:
            return _json({"error": "This action is outside the authorized scopes"}, 403)
        return None

    def _reset(self, request: web.Request) -> web.Response:
        """Drop the connection without an answer."""
        self.calls["reset"] += 1
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
            step = self.faults.drip_bytes
            for start in range(0, len(body), step):
                await spoiled.write(body[start : start + step])
                await asyncio.sleep(self.faults.drip_every_s)
        return spoiled

    # -- reading --------------------------------------------------------------------------

    async def _timeline(self, request: web.Request) -> web.Response:
        self.calls["timeline"] += 1
        self._feed_allowed(request)
        query = request.query
        posts = tagged(
            self.world,
            request.match_info["tag"],
            some=query.getall("any[]", []),
            every=query.getall("all[]", []),
            none=query.getall("none[]", []),
        )
        if _flag(query, "remote") and not _flag(query, "local"):
            posts = posts[:0]
        return self._page(
            request, posts, ("limit", "local", "only_media", "any[]", "all[]", "none[]")
        )

    def _feed_allowed(self, request: web.Request) -> None:
        if self.feeds == "disabled":
            raise _RefusedError(403, "This action is not allowed")
        if self.feeds == "authenticated" and self._person(request) is None:
            raise _RefusedError(401, "This method requires an authenticated user")

    def _page(self, request: web.Request, posts: object, keep: tuple[str, ...]) -> web.Response:
        query = request.query
        window = _window(query)
        found = page(
            self.world,
            posts,  # type: ignore[arg-type]
            window,
            gone=self._gone,
            only_media=_flag(query, "only_media"),
        )
        response = _raw(self.dialect.posts(found))
        if found:
            kept = [(name, value) for name, value in query.items() if name in keep]
            ids = self.world.post_id
            response.headers["Link"] = link_header(
                self.url, request.path, kept, int(ids[found[0]]), int(ids[found[-1]])
            )
        return response

    async def _statuses_of(self, request: web.Request) -> web.Response:
        self.calls["account statuses"] += 1
        posts = self.world.posts_of(self._account_index(request))
        return self._page(request, posts, ("limit", "only_media"))

    async def _accounts(self, request: web.Request) -> web.Response:
        self.calls["accounts"] += 1
        ids = _ids(request, MAX_ACCOUNT_IDS)
        found = (self.world.find_account(i) for i in ids)
        return _raw(self.dialect.accounts(i for i in found if i is not None))

    async def _account(self, request: web.Request) -> web.Response:
        self.calls["account"] += 1
        return _raw(self.dialect.account(self._account_index(request)))

    async def _lookup(self, request: web.Request) -> web.Response:
        self.calls["lookup"] += 1
        return _raw(self.dialect.account(self._by_name(request.query.get("acct", ""))))

    async def _statuses(self, request: web.Request) -> web.Response:
        self.calls["statuses"] += 1
        found = (self._visible(i) for i in _ids(request, MAX_STATUS_IDS))
        return _raw(self.dialect.posts(i for i in found if i is not None))

    async def _status(self, request: web.Request) -> web.Response:
        self.calls["status"] += 1
        index = self._visible(_number(request.match_info["id"]))
        if index is None:
            raise _RefusedError(404, "Record not found")
        return _raw(self.dialect.post(index))

    def _visible(self, post_id: int) -> int | None:
        index = self.world.find_post(post_id)
        hidden = index is None or index in self._gone or self.world.visibility[index] == 2
        return None if hidden else index

    def _account_index(self, request: web.Request) -> int:
        index = self.world.find_account(_number(request.match_info["id"]))
        if index is None:
            raise _RefusedError(404, "Record not found")
        return index

    def _by_name(self, name: str) -> int:
        digits = name.removeprefix("@").split("@")[0].removeprefix("person")
        if not digits.isdecimal() or int(digits) >= self.world.spec.authors:
            raise _RefusedError(404, "Record not found")
        return int(digits)

    async def _media(self, request: web.Request) -> web.Response:
        self.calls["media"] += 1
        found = self.media.locate(request.match_info["name"])
        if found is None or found.post in self._gone or self.world.doomed[found.post]:
            raise _RefusedError(404, "Not Found")
        body, kind = await self.media.get(found)
        return web.Response(body=body, content_type=kind)

    # -- the instance ---------------------------------------------------------------------

    async def _instance(self, request: web.Request) -> web.Response:  # noqa: ARG002
        self.calls["instance"] += 1
        feeds = {"local": self.feeds, "remote": self.feeds}
        return _json(
            {
                "domain": self.url.split("//")[1],
                "title": f"Sandbox: a {SYNTHETIC}",
                "version": VERSION,
                "source_url": "",
                "description": f"Nobody and nothing here is real: a {SYNTHETIC}.",
                "usage": {"users": {"active_month": self.world.spec.authors}},
                "languages": ["en"],
                "configuration": {
                    "timelines_access": {"live_feeds": feeds, "hashtag_feeds": feeds},
                },
                "rules": _RULES,
                "api_versions": {"mastodon": 7},
            }
        )

    async def _rules(self, request: web.Request) -> web.Response:  # noqa: ARG002
        return _json(_RULES)

    async def _terms(self, request: web.Request) -> web.Response:  # noqa: ARG002
        self.calls["terms"] += 1
        return _json(
            {
                "effective_date": self.world.spec.epoch.isoformat(),
                "effective": True,
                "content": f"<p>This is a {SYNTHETIC}. Collecting, mining and training are"
                " allowed: nothing here is real.</p>",
                "succeeded_by": None,
            }
        )

    async def _front_page(self, request: web.Request) -> web.Response:  # noqa: ARG002
        text = html.escape(self.world.describe())
        tags = ", ".join(f"#{html.escape(tag)}" for tag in TAGS)
        return _page_of(f"Sandbox: a {SYNTHETIC}", f"<pre>{text}</pre><p>Tags: {tags}</p>")

    # -- OAuth ----------------------------------------------------------------------------

    async def _metadata(self, request: web.Request) -> web.Response:  # noqa: ARG002
        return _json(
            {
                "issuer": f"{self.url}/",
                "authorization_endpoint": f"{self.url}/oauth/authorize",
                "token_endpoint": f"{self.url}/oauth/token",
                "revocation_endpoint": f"{self.url}/oauth/revoke",
                "app_registration_endpoint": f"{self.url}/api/v1/apps",
                "scopes_supported": ["read", "write", "profile"],
                "response_types_supported": ["code"],
                "grant_types_supported": ["authorization_code", "client_credentials"],
                "code_challenge_methods_supported": ["S256"],
            }
        )

    async def _register(self, request: web.Request) -> web.Response:
        self.calls["apps"] += 1
        application = self.oauth.register(await _form(request))
        return _json(
            {
                "id": str(application.number),
                "name": application.name,
                "website": application.website,
                "scopes": application.scopes,
                "redirect_uris": application.redirect_uris,
                "redirect_uri": "\n".join(application.redirect_uris),
                "client_id": application.client_id,
                "client_secret": application.client_secret,
                "client_secret_expires_at": 0,
            }
        )

    async def _ask_person(self, request: web.Request) -> web.Response:
        application = self.oauth.check_request(request.query)
        hidden = "".join(
            f'<input type="hidden" name="{html.escape(k)}" value="{html.escape(v)}">'
            for k, v in request.query.items()
        )
        return _page_of(
            f"Authorize in a {SYNTHETIC}",
            f"<p>{html.escape(application.name)} wants to read."
            f'</p><form method="post">{hidden}<label>Account <input name="account"'
            ' value="person00000"></label> <button name="answer" value="yes">Authorize</button>'
            ' <button name="answer" value="no">Deny</button></form>',
        )

    async def _person_answers(self, request: web.Request) -> web.StreamResponse:
        form = await _form(request)
        self.oauth.check_request(form)
        if form.get("answer", "yes") == "yes":
            user = self._by_name(form.get("account", "person00000"))
            answer = {"code": self.oauth.approve(form, user)}
        else:
            answer = {"error": "access_denied"}
        if form.get("state"):
            answer["state"] = form["state"]
        if form["redirect_uri"] == OOB:
            shown = answer.get("code", "denied")
            return _page_of(f"Your code in a {SYNTHETIC}", f"<code>{html.escape(shown)}</code>")
        glue = "&" if "?" in form["redirect_uri"] else "?"
        return web.Response(
            status=302, headers={"Location": f"{form['redirect_uri']}{glue}{urlencode(answer)}"}
        )

    async def _token(self, request: web.Request) -> web.Response:
        self.calls["token"] += 1
        token = self.oauth.issue(await _form(request))
        response = _json(
            {
                "access_token": token.value,
                "token_type": "Bearer",
                "scope": " ".join(token.scopes),
                "created_at": token.created_at,
            }
        )
        response.headers["Cache-Control"] = "no-store"
        return response

    async def _revoke(self, request: web.Request) -> web.Response:
        self.calls["revoke"] += 1
        self.oauth.revoke(await _form(request))
        return _json({})

    def _person(self, request: web.Request) -> int | None:
        token = self.oauth.tokens.get(_bearer(request) or "")
        return token.user if token else None

    async def _who_am_i(self, request: web.Request) -> web.Response:
        self.calls["verify"] += 1
        if _bearer(request) is None:
            raise _RefusedError(401, "The access token is invalid")
        person = self._person(request)
        if person is None:
            raise _RefusedError(422, "This method requires an authenticated user")
        return _raw(self.dialect.account(person))

    async def _which_app(self, request: web.Request) -> web.Response:
        token = self.oauth.tokens.get(_bearer(request) or "")
        if token is None:
            raise _RefusedError(401, "The access token is invalid")
        return _json({"name": token.application.name, "scopes": token.scopes, "website": None})


class _RefusedError(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


_RULES = [{"id": "1", "text": f"Everything is allowed in a {SYNTHETIC}.", "hint": ""}]


def _raw(body: bytes, status: int = 200) -> web.Response:
    return web.Response(body=body, status=status, headers={"Content-Type": JSON})


def _json(value: object, status: int = 200) -> web.Response:
    return _raw(json.dumps(value).encode(), status)


def _page_of(title: str, body: str) -> web.Response:
    text = f"<!doctype html><title>{title}</title><h1>{title}</h1>{body}"
    return web.Response(text=text, content_type="text/html")


def _bearer(request: web.Request) -> str | None:
    header = request.headers.get("Authorization", "")
    if header[:7].lower() == "bearer ":
        return header[7:].strip()
    return request.query.get("access_token")


async def _form(request: web.Request) -> dict[str, str]:
    """Fields of a form or JSON body; client credentials may come as HTTP Basic."""
    fields: dict[str, str] = {}
    if request.content_type == "application/json":
        try:
            raw = await request.json()
        except (json.JSONDecodeError, UnicodeDecodeError):
            raise OAuthError(400, "invalid_request", "The body is not JSON") from None
        given = raw.items() if isinstance(raw, dict) else ()
        fields = {k: "\n".join(v) if isinstance(v, list) else str(v) for k, v in given}
    else:
        form = await request.post()
        fields = {k: v for k, v in form.items() if isinstance(v, str)}
    fields = {**dict(request.query), **fields}
    header = request.headers.get("Authorization", "")
    if header[:6].lower() == "basic ":
        with contextlib.suppress(binascii.Error, UnicodeDecodeError):
            name, _, secret = base64.b64decode(header[6:]).decode().partition(":")
            fields |= {"client_id": name, "client_secret": secret}
    return fields


def _number(text: str) -> int:
    if not text.isdecimal() or len(text) > 19:
        raise _RefusedError(404, "Record not found")
    return int(text)


def _ids(request: web.Request, most: int) -> list[int]:
    """The ``id[]`` parameters: unknown ids are left out of the answer, too many refuse it."""
    texts = dict.fromkeys([*request.query.getall("id[]", []), *request.query.getall("id", [])])
    if len(texts) > most:
        raise _RefusedError(422, f"Validation failed: at most {most} ids, got {len(texts)}")
    return [int(text) for text in texts if text.isdecimal() and len(text) <= 19]


def _flag(query: Mapping[str, str], name: str) -> bool:
    return query.get(name, "").lower() in ("1", "true", "t", "on", "yes")


def _window(query: Mapping[str, str]) -> Window:
    def bound(name: str) -> int | None:
        text = query.get(name, "")
        return int(text) if text.isdecimal() and len(text) <= 19 else None

    limit = bound("limit")
    return Window(
        limit=min(max(limit if limit is not None else 20, 1), MAX_POSTS),
        max_id=bound("max_id"),
        since_id=bound("since_id"),
        min_id=bound("min_id"),
    )


@contextlib.contextmanager
def running(world: World, **options: object) -> Iterator[Sandbox]:
    """Run a sandbox in a thread of its own while the block lasts.

    ``options`` are those of :class:`Sandbox`. For programs and tests without an event loop.
    """
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="sandbox", daemon=True)
    thread.start()
    server = Sandbox(world, **options)  # type: ignore[arg-type]
    try:
        asyncio.run_coroutine_threadsafe(server.start(), loop).result(30)
        yield server
    finally:
        asyncio.run_coroutine_threadsafe(server.stop(), loop).result(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
