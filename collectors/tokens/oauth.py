"""How people give tokens: OAuth 2 with PKCE, OAuth 1.0a, or an app password.

A ``Flow`` has two steps, for the command line and the consent page alike: an address where the
person agrees, and a token from what the platform sends back. Which flow a platform has is told by
its adapter. No secret is put into an address, a message or a log.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

from collectors.tokens.store import Token
from likewise import __version__
from likewise.errors import CredentialsError

if TYPE_CHECKING:
    import requests

__all__ = [
    "OOB",
    "CodeFlow",
    "Flow",
    "Listener",
    "OAuth1Flow",
    "PasswordFlow",
    "Question",
    "answers_of",
    "client_credentials",
    "web_session",
]

OOB = "urn:ietf:wg:oauth:2.0:oob"
TIMEOUT_S = 30.0
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}


@dataclass(frozen=True, slots=True)
class Question:
    """Something a person has to type before a flow can start."""

    name: str
    prompt: str
    hidden: bool = False


class Flow(ABC):
    """One person's way to a token."""

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
    _session: Any = None
    _state: str = ""

    def address(self, redirect_uri: str) -> str:
        from requests_oauthlib import OAuth2Session

        self._session = OAuth2Session(
            self.client_id, scope=self.scope.split(), redirect_uri=redirect_uri, pkce=self.pkce
        )
        self._session.headers["User-Agent"] = f"likewise/{__version__}"
        with _loopback_allowed(self.authorize_url):
            address, self._state = self._session.authorization_url(self.authorize_url)
        return str(address)

    def token(self, answers: Mapping[str, str]) -> Token:
        if "state" in answers and not secrets.compare_digest(answers["state"], self._state):
            raise CredentialsError("the answer belongs to another login", hint="start again")
        with refusals(self.token_url), _loopback_allowed(self.token_url):
            got = self._session.fetch_token(
                self.token_url,
                code=answers.get("code"),
                client_secret=self.client_secret,
                include_client_id=True,
                timeout=TIMEOUT_S,
            )
        found = {n: str(got[n]) for n in ("access_token", "refresh_token") if got.get(n)}
        client = {"client_id": self.client_id, "client_secret": self.client_secret}
        return self.finish({**found, **client})


@dataclass(slots=True)
class OAuth1Flow(Flow):
    """OAuth 1.0a with HMAC-SHA1 (RFC 5849) through requests-oauthlib."""

    request_url: str
    authorize_url: str
    access_url: str
    key: str
    secret: str
    finish: Finish
    _session: Any = None

    def address(self, redirect_uri: str) -> str:
        from requests_oauthlib import OAuth1Session

        back = "oob" if redirect_uri == OOB else redirect_uri
        self._session = OAuth1Session(self.key, client_secret=self.secret, callback_uri=back)
        with refusals(self.request_url):
            self._session.fetch_request_token(self.request_url, timeout=TIMEOUT_S)
        return str(self._session.authorization_url(self.authorize_url))

    def token(self, answers: Mapping[str, str]) -> Token:
        expected = str(self._session._client.client.resource_owner_key)
        if "oauth_token" in answers and answers["oauth_token"] != expected:
            raise CredentialsError("the answer belongs to another login", hint="start again")
        verifier = answers.get("oauth_verifier") or answers.get("code") or ""
        with refusals(self.access_url):
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
    with refusals(token_url), web_session() as session:
        answer = session.post(token_url, data=data, timeout=TIMEOUT_S)
        answer.raise_for_status()
        return {"access_token": str(answer.json()["access_token"])}


def web_session() -> requests.Session:
    """A session with a truthful User-Agent."""
    import requests

    session = requests.Session()
    session.headers["User-Agent"] = f"likewise/{__version__}"
    return session


@contextlib.contextmanager
def refusals(url: str) -> Iterator[None]:
    """Turn every failure of a login into a CredentialsError that holds no secret.

    The library's own messages repeat forms and bodies; they are left out, with their traceback.
    """
    import requests
    from oauthlib.oauth2 import OAuth2Error
    from requests_oauthlib.oauth1_session import TokenMissing, TokenRequestDenied

    parts = urlsplit(url)
    where = f"{parts.scheme}://{parts.netloc}{parts.path}"
    why: str
    try:
        yield
        return
    except OAuth2Error as error:
        why = str(error.error)
    except requests.HTTPError as error:
        why = "no answer" if error.response is None else f"HTTP {error.response.status_code}"
    except (TokenRequestDenied, TokenMissing):
        why = "the token request was denied"
    except (requests.RequestException, ValueError, KeyError) as error:
        why = type(error).__name__
    raise CredentialsError(f"{where} gave no token: {why}", hint="check the login and try again")


@contextlib.contextmanager
def _loopback_allowed(url: str) -> Iterator[None]:
    """oauthlib refuses plain http; a server on this machine may be spoken to without TLS."""
    name = "OAUTHLIB_INSECURE_TRANSPORT"
    before = os.environ.get(name)
    if urlsplit(url).hostname in _LOOPBACK:
        os.environ[name] = "1"
    try:
        yield
    finally:
        os.environ.pop(name, None)
        if before is not None:
            os.environ[name] = before


# -- the way back -----------------------------------------------------------------------------


def answers_of(pasted: str) -> dict[str, str]:
    """Parameters of a pasted redirect address, or a bare code."""
    text = pasted.strip()
    if "://" in text or text.startswith("?"):
        return dict(parse_qsl(urlsplit(text).query))
    return {"code": text}


class Listener:
    """Waits on loopback for the one redirect that ends a login."""

    def __init__(self, port: int = 0) -> None:
        self.answers: dict[str, str] = {}
        self._came = threading.Event()
        listener = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                found = dict(parse_qsl(urlsplit(self.path).query))
                fits = bool(found.keys() & {"code", "oauth_verifier", "error"})
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
