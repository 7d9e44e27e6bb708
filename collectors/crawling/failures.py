"""Why a call failed for good: its name for the counters, a sentence and a mend for people."""

from __future__ import annotations

import ssl
from urllib.parse import urlsplit

import aiohttp

from collectors.platforms.base import Answer
from collectors.tokens.sentences import quiet, said
from likewise.errors import PartialError

__all__ = ["CallError", "detail_of", "problem_of"]

MOST_OF_A_TEXT = 200

_MENDS = {
    "dns": "check host in likewise.toml, and whether this machine resolves names",
    "refused": "nothing listens there: check host in likewise.toml, or run the command again later",
    "unreachable": "the server is out of reach from here; run the command again later",
    "timeout": "the server is down or slow; run the command again later",
    "connection": "the server hangs up; run the command again later",
    "tls": "its certificate cannot be trusted: look at this machine's clock, or ask its operators",
    "proxy": "look at HTTPS_PROXY, HTTP_PROXY and NO_PROXY",
    "http_3": "write the server that it points to into likewise.toml, with its own permission",
    "http_403": "the server, or what protects it, refuses this program: ask its operators",
    "http_404": "check platform and host in likewise.toml: this is no server of that kind",
    "http_5": "the server is out of order; run the command again later",
    "html": "a page for people came instead of data: something stands before the server",
}
"""What to do, by the beginning of a reason."""


class CallError(PartialError):
    """A call failed for good. ``reason`` is the name under which it is counted.

    ``told`` is the reason with what the network or the server said, never with a secret.
    """

    def __init__(self, reason: str, what: str, *, detail: str = "") -> None:
        self.reason = reason
        self.told = f"{reason} ({detail})" if detail else reason
        mend = next((text for name, text in _MENDS.items() if reason.startswith(name)), None)
        super().__init__(f"{what}: {self.told}", [(what, self.told)], hint=mend)


def problem_of(error: Exception) -> tuple[str, str]:
    """The name of what went wrong on the network, and the library's own words."""
    name = next((name for kinds, name in _PROBLEMS if isinstance(error, kinds)), "protocol")
    words = {
        aiohttp.ClientConnectorCertificateError: "certificate_error",
        aiohttp.ClientConnectorError: "os_error",
    }
    inner = next((getattr(error, a, None) for k, a in words.items() if isinstance(error, k)), None)
    text = getattr(inner, "verify_message", None) or getattr(inner, "strerror", None)
    return name, str(text or "")[:MOST_OF_A_TEXT]


_PROBLEMS: list[tuple[tuple[type[BaseException], ...], str]] = [
    ((TimeoutError,), "timeout"),
    ((aiohttp.ClientPayloadError, aiohttp.ContentTypeError), "truncated"),
    ((aiohttp.ClientHttpProxyError, aiohttp.ClientProxyConnectionError), "proxy"),
    ((aiohttp.ClientConnectorDNSError,), "dns"),
    ((aiohttp.ClientSSLError, ssl.SSLError), "tls"),
    ((aiohttp.ClientConnectorError,), "refused"),
    ((aiohttp.ServerDisconnectedError, aiohttp.ClientOSError), "connection"),
]


def detail_of(answer: Answer) -> str:
    """What an answer itself says about its refusal: the server's sentence, or where it points."""
    if answer.detail:
        return answer.detail
    target = answer.headers.get("location", "") if 300 <= answer.status < 400 else ""
    if target:
        parts = urlsplit(target)
        where = f"{parts.scheme}://{parts.netloc}{parts.path}" if parts.netloc else parts.path
        return f"it points to {where}"[:MOST_OF_A_TEXT]
    return quiet(said(answer.body, answer.text))
