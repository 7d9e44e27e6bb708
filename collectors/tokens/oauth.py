"""How people give tokens: OAuth 2 with PKCE, OAuth 1.0a, or an app password.

A ``Flow`` has two steps, for the command line and the consent page alike: an address where the
person agrees, and a token from what the platform sends back. Which flow a platform has is told by
its adapter. No secret is put into an address, a message or a log.
"""

from __future__ import annotations

import secrets
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any, ClassVar
from urllib.parse import parse_qsl, urlsplit

from collectors.tokens.store import Token
from collectors.tokens.web import TIMEOUT_S, check_encrypted, patient, refusals, web_session
from likewise.errors import CredentialsError

__all__ = [
    "OOB",
    "CodeFlow",
    "Flow",
    "Listener",
    "OAuth1Flow",
    "PasswordFlow",
    "Question",
    "answers_of",
    "check_encrypted",
    "check_scope",
    "check_state",
    "client_credentials",
    "refusals",
    "web_session",
]

OOB = "urn:ietf:wg:oauth:2.0:oob"


@dataclass(frozen=True, slots=True)
class Question:
    """Something a person has to type before a flow can start."""

    name: str
    prompt: str
    hidden: bool = False


class Flow(ABC):
    """One person's way to a token.

    Attributes:
        state: what the platform has to send back, so that an answer cannot belong to another
            login; empty before ``address`` and where there is nothing to visit.
        state_name: name of that parameter.
    """

    state: str = ""
    state_name: ClassVar[str] = "state"

    @abstractmethod
    def address(self, redirect_uri: str) -> str | None:
        """Where the person agrees, or None when there is nothing to visit."""

    @abstractmethod
    def token(self, answers: Mapping[str, str]) -> Token:
        """The token, from the parameters that came back.

        Raises:
            CredentialsError: the platform refused, or the answer belongs to another request.
        """


Finish = Callable[[Mapping[str, str]], Token]
"""From the secrets of a flow to a token: adapters learn here whose it is."""


@dataclass(slots=True)
class CodeFlow(Flow):
    """OAuth 2 authorization code with PKCE (RFC 6749, RFC 7636) through requests-oauthlib."""

    authorize_url: str
    token_url: str
    client_id: str
    client_secret: str
    scope: str
    finish: Finish
    pkce: str | None = "S256"
    state: str = ""
    _session: Any = None
    _pasted: bool = False

    def address(self, redirect_uri: str) -> str:
        from requests_oauthlib import OAuth2Session

        self._session = patient(
            OAuth2Session(
                self.client_id, scope=self.scope.split(), redirect_uri=redirect_uri, pkce=self.pkce
            )
        )
        self._pasted = redirect_uri == OOB
        with refusals(self.authorize_url):
            address, self.state = self._session.authorization_url(self.authorize_url)
        return str(address)

    def token(self, answers: Mapping[str, str]) -> Token:
        # A code that a person copies from the platform's own page comes without the state.
        if not (self._pasted and "state" not in answers):
            check_state(answers.get("state", ""), self.state)
        with refusals(self.token_url, self.client_secret, *answers.values()):
            got = self._fetch(answers.get("code"))
            check_scope(got.get("scope"), self.scope, self.token_url)
        found = {n: str(got[n]) for n in ("access_token", "refresh_token") if got.get(n)}
        client = {"client_id": self.client_id, "client_secret": self.client_secret}
        return self.finish({**found, **client})

    def _fetch(self, code: str | None) -> Mapping[str, Any]:
        try:
            got: Mapping[str, Any] = self._session.fetch_token(
                self.token_url,
                code=code,
                client_secret=self.client_secret,
                include_client_id=True,
                timeout=TIMEOUT_S,
            )
        except Warning as other_scope:
            # oauthlib raises a warning when the scope is not word for word the one asked for.
            if not hasattr(other_scope, "token"):
                raise
            got = other_scope.token
        return got


@dataclass(slots=True)
class OAuth1Flow(Flow):
    """OAuth 1.0a with HMAC-SHA1 (RFC 5849) through requests-oauthlib."""

    request_url: str
    authorize_url: str
    access_url: str
    key: str
    secret: str
    finish: Finish
    state: str = ""
    state_name: ClassVar[str] = "oauth_token"
    _session: Any = None
    _pasted: bool = False

    def address(self, redirect_uri: str) -> str:
        from requests_oauthlib import OAuth1Session

        self._pasted = redirect_uri == OOB
        back = "oob" if self._pasted else redirect_uri
        self._session = patient(
            OAuth1Session(self.key, client_secret=self.secret, callback_uri=back)
        )
        with refusals(self.request_url, self.secret):
            got = self._session.fetch_request_token(self.request_url, timeout=TIMEOUT_S)
            self.state = str(got["oauth_token"])
        return str(self._session.authorization_url(self.authorize_url))

    def token(self, answers: Mapping[str, str]) -> Token:
        if not (self._pasted and "oauth_token" not in answers):
            check_state(answers.get("oauth_token", ""), self.state)
        verifier = answers.get("oauth_verifier") or answers.get("code") or ""
        with refusals(self.access_url, self.secret, *answers.values()):
            got = self._session.fetch_access_token(
                self.access_url, verifier=verifier, timeout=TIMEOUT_S
            )
        return self.finish({**got, "api_key": self.key, "api_secret": self.secret})


@dataclass(slots=True)
class PasswordFlow(Flow):
    """A name and an app password, exchanged at once."""

    finish: Finish

    def address(self, redirect_uri: str) -> None:  # noqa: ARG002 - nothing to visit
        return None

    def token(self, answers: Mapping[str, str]) -> Token:
        return self.finish(answers)


def client_credentials(
    token_url: str, client_id: str, client_secret: str, scope: str
) -> dict[str, str]:
    """Secrets of an application's own token (RFC 6749 section 4.4)."""
    data = {
        "grant_type": "client_credentials",
        "client_id": client_id,
        "client_secret": client_secret,
        "scope": scope,
    }
    with refusals(token_url, client_secret), web_session() as session:
        answer = session.post(token_url, data=data, timeout=TIMEOUT_S)
        answer.raise_for_status()
        body = answer.json()
        check_scope(body.get("scope"), scope, token_url)
        return {"access_token": str(body["access_token"])}


def check_state(given: str, expected: str) -> None:
    """Refuse an answer that does not carry the state of this login.

    Raises:
        CredentialsError: it is missing, or another one.
    """
    same = secrets.compare_digest(given.encode("utf-8", "surrogatepass"), expected.encode())
    if not (expected and same):
        raise CredentialsError("the answer belongs to another login", hint="start again")


def check_scope(granted: object, asked: str, url: str) -> None:
    """Accept a grant that covers what was asked for: ``read`` holds ``read:statuses``.

    A server that names no scope granted the one asked for (RFC 6749 section 5.1).

    Raises:
        CredentialsError: something is missing from the grant.
    """
    if granted is None:
        return
    words = " ".join(map(str, granted)) if isinstance(granted, list) else str(granted)
    have = set(words.replace(",", " ").split())
    missing = [one for one in asked.split() if not {one, one.partition(":")[0]} & have]
    if missing:
        raise CredentialsError(
            f"{urlsplit(url).netloc} granted {' '.join(sorted(have)) or 'nothing'!r}, "
            f"which does not cover {' '.join(missing)}",
            hint="log in again and agree to all that is asked, or ask the server's operators",
        )


# -- the way back -----------------------------------------------------------------------------


def answers_of(pasted: str) -> dict[str, str]:
    """Parameters of a pasted redirect address, or a bare code."""
    text = pasted.strip()
    if "://" in text or text.startswith("?"):
        return dict(parse_qsl(urlsplit(text).query))
    return {"code": text}


class Listener:
    """Waits on loopback for the one redirect that ends a login.

    ``expected`` (name and value of the state) tells it from what other pages send here.
    """

    def __init__(self, port: int = 0) -> None:
        self.answers: dict[str, str] = {}
        self.expected: tuple[str, str] | None = None
        self._came = threading.Event()
        listener = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                found = dict(parse_qsl(urlsplit(self.path).query))
                fits = bool(found.keys() & {"code", "oauth_verifier", "error"})
                if listener.expected is not None:
                    name, state = listener.expected
                    fits = fits and found.get(name) == state
                self.send_response(200 if fits else 404)
                self.send_header("Content-Type", "text/plain; charset=utf-8")
                self.end_headers()
                text = "Done. You can close this page." if fits else "Nothing here."
                self.wfile.write(text.encode())
                if fits:
                    listener.answers = found
                    listener._came.set()

            def log_message(self, *_: object) -> None:
                """No log: the address holds a code."""

        self._server = HTTPServer(("127.0.0.1", port), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self.redirect_uri = f"http://127.0.0.1:{self._server.server_port}/callback"

    def __enter__(self) -> Listener:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def wait(self, seconds: float) -> dict[str, str]:
        """Parameters of the redirect.

        Raises:
            CredentialsError: nobody came, or the person refused.
        """
        if not self._came.wait(seconds):
            raise CredentialsError("nobody came back from the login", hint="try again, or --paste")
        if "error" in self.answers:
            raise CredentialsError("the login was refused by the person or the platform")
        return self.answers
