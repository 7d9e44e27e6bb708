"""The calls by which programs get tokens, and the page on which people agree."""

from __future__ import annotations

import html
from urllib.parse import urlencode

from aiohttp import web

from infra.sandbox.dialect import SYNTHETIC
from infra.sandbox.http import RefusedError, as_json, bearer, form_fields, html_page, raw_json
from infra.sandbox.oauth import OOB
from infra.sandbox.platform import Platform

__all__ = ["Authorization"]


class Authorization:
    """Handlers of ``/oauth`` and what belongs to it (docs.joinmastodon.org/methods/oauth)."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """Make the calls known to the router."""
        router.add_post("/api/v1/apps", self._register)
        router.add_get("/api/v1/apps/verify_credentials", self._which_app)
        router.add_get("/api/v1/accounts/verify_credentials", self._who_am_i)
        router.add_get("/oauth/authorize", self._ask_person)
        router.add_post("/oauth/authorize", self._person_answers)
        router.add_post("/oauth/token", self._token)
        router.add_post("/oauth/revoke", self._revoke)
        router.add_get("/.well-known/oauth-authorization-server", self._metadata)

    async def _metadata(self, request: web.Request) -> web.Response:  # noqa: ARG002
        url = self._platform.url
        return as_json(
            {
                "issuer": f"{url}/",
                "authorization_endpoint": f"{url}/oauth/authorize",
                "token_endpoint": f"{url}/oauth/token",
                "revocation_endpoint": f"{url}/oauth/revoke",
                "app_registration_endpoint": f"{url}/api/v1/apps",
                "scopes_supported": ["read", "write", "profile"],
                "response_types_supported": ["code"],
                "grant_types_supported": ["authorization_code", "client_credentials"],
                "code_challenge_methods_supported": ["S256"],
            }
        )

    async def _register(self, request: web.Request) -> web.Response:
        self._platform.calls["apps"] += 1
        application = self._platform.oauth.register(await form_fields(request))
        return as_json(
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
        application = self._platform.oauth.check_request(request.query)
        hidden = "".join(
            f'<input type="hidden" name="{html.escape(k)}" value="{html.escape(v)}">'
            for k, v in request.query.items()
        )
        return html_page(
            f"Authorize in a {SYNTHETIC}",
            f"<p>{html.escape(application.name)} wants to read."
            f'</p><form method="post">{hidden}<label>Account <input name="account"'
            ' value="person00000"></label> <button name="answer" value="yes">Authorize</button>'
            ' <button name="answer" value="no">Deny</button></form>',
        )

    async def _person_answers(self, request: web.Request) -> web.StreamResponse:
        form = await form_fields(request)
        self._platform.oauth.check_request(form)
        if form.get("answer", "yes") == "yes":
            user = self._platform.account_named(form.get("account", "person00000"))
            answer = {"code": self._platform.oauth.approve(form, user)}
        else:
            answer = {"error": "access_denied"}
        if form.get("state"):
            answer["state"] = form["state"]
        if form["redirect_uri"] == OOB:
            shown = answer.get("code", "denied")
            return html_page(f"Your code in a {SYNTHETIC}", f"<code>{html.escape(shown)}</code>")
        glue = "&" if "?" in form["redirect_uri"] else "?"
        return web.Response(
            status=302, headers={"Location": f"{form['redirect_uri']}{glue}{urlencode(answer)}"}
        )

    async def _token(self, request: web.Request) -> web.Response:
        self._platform.calls["token"] += 1
        token = self._platform.oauth.issue(await form_fields(request))
        response = as_json(
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
        self._platform.calls["revoke"] += 1
        self._platform.oauth.revoke(await form_fields(request))
        return as_json({})

    async def _who_am_i(self, request: web.Request) -> web.Response:
        self._platform.calls["verify"] += 1
        if bearer(request) is None:
            raise RefusedError(401, "The access token is invalid")
        person = self._platform.person(bearer(request))
        if person is None:
            raise RefusedError(422, "This method requires an authenticated user")
        return raw_json(self._platform.dialect.account(person))

    async def _which_app(self, request: web.Request) -> web.Response:
        token = self._platform.oauth.tokens.get(bearer(request) or "")
        if token is None:
            raise RefusedError(401, "The access token is invalid")
        return as_json({"name": token.application.name, "scopes": token.scopes, "website": None})
