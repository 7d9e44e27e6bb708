"""Applications, authorization codes and tokens, as Mastodon hands them out.

Authorization code flow with optional PKCE (S256), client credentials, and revocation (RFC 6749,
7636, 7009). As on Mastodon, access tokens do not expire and there is no refresh token.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

__all__ = ["OOB", "Application", "OAuthError", "OAuthServer", "Token"]

OOB = "urn:ietf:wg:oauth:2.0:oob"
CODE_LIFE_S = 600


class OAuthError(Exception):
    """An error of RFC 6749 section 5.2, with the HTTP status that Mastodon gives it."""

    def __init__(self, status: int, error: str, description: str) -> None:
        super().__init__(description)
        self.status = status
        self.error = error


@dataclass(frozen=True, slots=True)
class Application:
    """A registered client."""

    number: int
    name: str
    client_id: str
    client_secret: str
    redirect_uris: tuple[str, ...]
    scopes: tuple[str, ...]
    website: str | None


@dataclass
class Token:
    """An access token; ``user`` is None for an application's own token."""

    value: str
    application: Application
    scopes: tuple[str, ...]
    user: int | None
    created_at: int
    calls: int = 0
    expired: bool = False
    revoked: bool = False

    @property
    def may_read(self) -> bool:
        """Whether the scopes allow reading statuses and accounts."""
        return any(s == "read" or s.startswith("read:") for s in self.scopes)


@dataclass(frozen=True, slots=True)
class _Grant:
    application: Application
    redirect_uri: str
    scopes: tuple[str, ...]
    user: int
    challenge: str | None
    expires: float


@dataclass
class OAuthServer:
    """All applications, pending codes and tokens of one sandbox."""

    clock: Callable[[], float] = time.time
    applications: dict[str, Application] = field(default_factory=dict)
    tokens: dict[str, Token] = field(default_factory=dict)
    _grants: dict[str, _Grant] = field(default_factory=dict)

    def register(self, form: Mapping[str, str]) -> Application:
        """Register a client. Raises OAuthError (422) when name or redirect URI is missing."""
        name, uris = form.get("client_name", ""), form.get("redirect_uris", "").split()
        if not name or not uris:
            missing = "Application name" if not name else "Redirect URI"
            raise OAuthError(422, "Validation failed", f"{missing} can't be blank")
        application = Application(
            number=len(self.applications) + 1,
            name=name,
            client_id=secrets.token_urlsafe(32),
            client_secret=secrets.token_urlsafe(32),
            redirect_uris=tuple(uris),
            scopes=tuple(form.get("scopes", "read").split()) or ("read",),
            website=form.get("website"),
        )
        self.applications[application.client_id] = application
        return application

    def check_request(self, query: Mapping[str, str]) -> Application:
        """Check an authorization request. Raises OAuthError (400, 401)."""
        application = self.applications.get(query.get("client_id", ""))
        if application is None:
            raise OAuthError(401, "invalid_client", "Client authentication failed")
        if query.get("response_type") != "code":
            raise OAuthError(400, "unsupported_response_type", "response_type must be code")
        if query.get("redirect_uri") not in application.redirect_uris:
            raise OAuthError(400, "invalid_redirect_uri", "The redirect URI is not registered")
        self._scopes(application, query)
        if query.get("code_challenge") and query.get("code_challenge_method") != "S256":
            raise OAuthError(400, "invalid_request", "code_challenge_method must be S256")
        return application

    def approve(self, query: Mapping[str, str], user: int) -> str:
        """A person says yes: the code that goes back to the client, good once for ten minutes."""
        application = self.check_request(query)
        code = secrets.token_urlsafe(32)
        self._grants[code] = _Grant(
            application=application,
            redirect_uri=query["redirect_uri"],
            scopes=self._scopes(application, query),
            user=user,
            challenge=query.get("code_challenge") or None,
            expires=self.clock() + CODE_LIFE_S,
        )
        return code

    def issue(self, form: Mapping[str, str]) -> Token:
        """Exchange a code or client credentials for a token. Raises OAuthError (400, 401)."""
        application = self._client(form)
        kind = form.get("grant_type")
        if kind == "client_credentials":
            return self._new(application, self._scopes(application, form), None)
        if kind != "authorization_code":
            raise OAuthError(400, "unsupported_grant_type", f"grant type {kind!r} is not supported")
        grant = self._grants.pop(form.get("code", ""), None)
        if grant is None or not self._fits(grant, application, form):
            raise OAuthError(
                400,
                "invalid_grant",
                "The code is unknown, used, expired, or belongs to another client, redirect URI"
                " or verifier",
            )
        return self._new(application, grant.scopes, grant.user)

    def _fits(self, grant: _Grant, application: Application, form: Mapping[str, str]) -> bool:
        if grant.application is not application or grant.expires < self.clock():
            return False
        if grant.redirect_uri != form.get("redirect_uri"):
            return False
        return grant.challenge is None or grant.challenge == _s256(form.get("code_verifier", ""))

    def revoke(self, form: Mapping[str, str]) -> None:
        """Withdraw a token. Raises OAuthError (403) when it belongs to another client."""
        try:
            application = self._client(form)
        except OAuthError:
            application = None
        token = self.tokens.get(form.get("token", ""))
        if application is None or (token is not None and token.application is not application):
            raise OAuthError(403, "unauthorized_client", "You may not revoke this token")
        if token is not None:
            token.revoked = True

    def _client(self, form: Mapping[str, str]) -> Application:
        application = self.applications.get(form.get("client_id", ""))
        secret = form.get("client_secret", "")
        if application is None or not secrets.compare_digest(
            application.client_secret.encode(), secret.encode()
        ):
            raise OAuthError(
                401,
                "invalid_client",
                "Client authentication failed due to unknown client, no client authentication"
                " included, or unsupported authentication method.",
            )
        return application

    @staticmethod
    def _scopes(application: Application, form: Mapping[str, str]) -> tuple[str, ...]:
        asked = tuple(form.get("scope", "read").split()) or ("read",)
        for scope in asked:
            if scope not in application.scopes and scope.split(":")[0] not in application.scopes:
                raise OAuthError(400, "invalid_scope", f"scope {scope} was not registered")
        return asked

    def _new(self, application: Application, scopes: tuple[str, ...], user: int | None) -> Token:
        token = Token(
            value=secrets.token_urlsafe(32),
            application=application,
            scopes=scopes,
            user=user,
            created_at=int(self.clock()),
        )
        self.tokens[token.value] = token
        return token


def _s256(verifier: str) -> str:
    digest = hashlib.sha256(verifier.encode("ascii", "replace")).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
