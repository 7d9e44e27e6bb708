"""Calls to login endpoints: encrypted, patient, never redirected, and quiet about secrets."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from collectors.tokens.sentences import quiet, said
from likewise import __version__
from likewise.errors import CredentialsError
from likewise.progress import note

if TYPE_CHECKING:
    import requests

__all__ = [
    "TIMEOUT_S",
    "check_encrypted",
    "is_loopback",
    "patient",
    "refusals",
    "web_session",
]

TIMEOUT_S = 30.0
TRIES = 6
LONGEST_WAIT_S = 600
PASSING = (429, 502, 503, 504)
S = TypeVar("S", bound="requests.Session")


def is_loopback(host: str | None) -> bool:
    """Whether a host name is this machine's own."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False


def check_encrypted(address: str, hint: str = "write https:// before the host") -> None:
    """Refuse to send a secret over a line that others can read.

    Raises:
        CredentialsError: the address is http:// and not on this machine.
    """
    parts = urlsplit(address)
    if parts.scheme != "https" and not is_loopback(parts.hostname):
        raise CredentialsError(
            f"{parts.scheme}://{parts.netloc} is not encrypted: no secret is sent there",
            hint=hint,
        )


def web_session() -> requests.Session:
    """A session for login endpoints."""
    import requests

    session = requests.Session()
    # With no auth of its own Requests would send a login of ~/.netrc, which nobody gave for this.
    session.auth = lambda request: request
    return patient(session)


def patient(session: S) -> S:
    """Let a session wait where a server asks for it, and follow no redirect.

    429, 502, 503 and 504 are asked again up to five times, after what ``Retry-After`` says (ten
    minutes at most) or a pause that doubles. A redirect would take the form's secrets along.
    """
    from requests.adapters import HTTPAdapter
    from urllib3.exceptions import InvalidHeader
    from urllib3.util.retry import Retry

    class Waiting(Retry):
        """Says how long it waits; what a server asks for is bounded."""

        def get_retry_after(self, response: Any) -> float | None:
            try:
                told = super().get_retry_after(response)
            except InvalidHeader:
                return None
            return None if told is None else min(told, LONGEST_WAIT_S)

        def sleep(self, response: Any = None) -> None:
            told = self.get_retry_after(response) if response is not None else None
            wait = told or self.get_backoff_time()
            if wait > 1:
                status = "no answer" if response is None else f"HTTP {response.status}"
                note(f"waiting {wait:.0f} s: the login endpoint says {status}")
            super().sleep(response)

    retries = Waiting(
        total=TRIES - 1,
        redirect=0,
        status_forcelist=PASSING,
        allowed_methods=None,
        backoff_factor=0.5,
        backoff_jitter=0.2,
        backoff_max=60,
        raise_on_status=False,
        # What has been sent may have been used: a code or a refresh token is good once.
        read=0,
        other=0,
    )
    for scheme in ("https://", "http://"):
        session.mount(scheme, HTTPAdapter(max_retries=retries))
    session.max_redirects = 0
    session.headers["User-Agent"] = f"likewise/{__version__}"
    return session


@contextlib.contextmanager
def refusals(url: str, *secrets: str) -> Iterator[None]:
    """Turn every failure of a login at ``url`` into a CredentialsError that holds no secret.

    The library's own messages repeat forms and bodies: only the server's sentence is kept,
    without ``secrets``, and no traceback.

    Raises:
        CredentialsError: the block failed, or ``url`` is not encrypted and not on this machine.
    """
    import requests
    from oauthlib.oauth2 import OAuth2Error
    from requests_oauthlib.oauth1_session import TokenMissing, TokenRequestDenied

    check_encrypted(url)
    parts = urlsplit(url)
    where = f"{parts.scheme}://{parts.netloc}{parts.path}"
    why: str
    try:
        with _loopback_allowed(parts.hostname):
            yield
        return
    except OAuth2Error as error:
        why = f"{error.error}: {error.description}" if error.description else str(error.error)
    except requests.TooManyRedirects as error:
        status = "" if error.response is None else f" (HTTP {error.response.status_code})"
        why = f"it sends elsewhere{status}, and a secret does not follow"
    except requests.HTTPError as error:
        why = "no answer" if error.response is None else _sentence(error.response)
    except (TokenRequestDenied, TokenMissing) as error:
        response = getattr(error, "response", None)
        why = "the token request was denied" if response is None else _sentence(response)
    except (requests.RequestException, ValueError, KeyError, TypeError) as error:
        why = type(error).__name__
    raise CredentialsError(
        f"{where} gave no token: {quiet(why, *secrets)}", hint="check the login and try again"
    )


def _sentence(response: requests.Response) -> str:
    """Status and what the server says about it."""
    try:
        text = said(response.json())
    except ValueError:
        plain = response.headers.get("content-type", "").startswith("text/plain")
        text = response.text if plain else ""
    return f"HTTP {response.status_code}" + (f": {text}" if text else "")


class _Insecure:
    """How many logins at loopback servers are under way, in all threads."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.users = 0

    def count(self, change: int) -> None:
        """One more or less; oauthlib's switch is a variable of the whole process."""
        with self.lock:
            self.users += change
            if self.users:
                os.environ["OAUTHLIB_INSECURE_TRANSPORT"] = "1"
            else:
                os.environ.pop("OAUTHLIB_INSECURE_TRANSPORT", None)


_insecure = _Insecure()


@contextlib.contextmanager
def _loopback_allowed(host: str | None) -> Iterator[None]:
    """oauthlib refuses plain http; a server on this machine may be spoken to without TLS."""
    if not is_loopback(host):
        yield
        return
    _insecure.count(1)
    try:
        yield
    finally:
        _insecure.count(-1)
