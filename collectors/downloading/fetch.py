"""One request for one picture: redirects, limits, and a named reason for everything else."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import email.utils
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass

import aiohttp
from aiohttp.abc import AbstractResolver
from yarl import URL

from collectors.downloading.guard import AddressGuard, RefusedError, Resolver
from likewise import __version__

__all__ = ["NO_ANSWER", "RETRYABLE", "TIMEOUTS", "Answer", "Fetcher", "Limits", "open_fetcher"]

MAX_REDIRECTS = 5

REDIRECTS = frozenset({301, 302, 303, 307, 308})

TIMEOUTS = frozenset({"timeout", "connect_timeout"})

RETRYABLE = TIMEOUTS | {
    "connect",
    "cut_short",
    "decode_timeout",
    "decoder_crashed",
    "dns",
    "host_down",
    "http_408",
    "http_425",
    "http_429",
    "http_500",
    "http_502",
    "http_503",
    "http_504",
    "reset",
}
"""Reasons that may be gone at the next try; everything else is an answer."""

NO_ANSWER = TIMEOUTS | {"connect", "dns", "reset"}
"""Reasons that speak against the host rather than against the picture."""

FORBIDDING = ("noai", "noimageai", "noindex", "noimageindex", "none")
"""Words of X-Robots-Tag by which a site declines such use of its pictures."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one request and of the session."""

    timeout_s: float = 30.0
    max_bytes: int = 20_000_000
    concurrency: int = 32
    per_host: int = 8
    user_agent: str = f"likewise/{__version__}"


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one request.

    ``error_class`` is None when ``body`` holds the whole file. ``retry_after`` is the server's
    wish in seconds. ``manners`` tells that the site declined, rather than that something failed.
    """

    error_class: str | None
    status: int | None = None
    body: bytes = b""
    retry_after: float | None = None
    manners: bool = False


@contextlib.asynccontextmanager
async def open_fetcher(
    limits: Limits,
    guard: AddressGuard,
    *,
    resolver: AbstractResolver | None = None,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[Fetcher]:
    """A fetcher with one session, one TLS context and one pool of kept-alive connections."""
    connector = aiohttp.TCPConnector(
        limit=limits.concurrency,
        limit_per_host=limits.per_host,
        ttl_dns_cache=60,
        resolver=Resolver(guard, resolver),
        socket_factory=guard.open_socket,
        ssl=tls if tls is not None else True,
        keepalive_timeout=30,
    )
    session = aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        read_bufsize=2**18,
        headers={
            "User-Agent": limits.user_agent,
            "Accept": "image/avif,image/webp,image/png,image/jpeg,image/*;q=0.8",
            "Accept-Encoding": "identity",
        },
        timeout=aiohttp.ClientTimeout(
            total=limits.timeout_s, sock_connect=min(10.0, limits.timeout_s)
        ),
    )
    async with session:
        yield Fetcher(session, guard, limits.max_bytes)


class Fetcher:
    """Asks for pictures over one shared session."""

    def __init__(self, session: aiohttp.ClientSession, guard: AddressGuard, max_bytes: int) -> None:
        self._session = session
        self._guard = guard
        self._max_bytes = max_bytes

    async def fetch(self, url: str) -> Answer:
        """Ask once. Network trouble comes back as an error class; nothing is raised for it."""
        try:
            return await self._follow(URL(url))
        except RefusedError as error:
            return Answer(error.error_class)
        except (TimeoutError, aiohttp.ClientError, ValueError, OSError) as error:
            return Answer(_reason(error))

    async def _follow(self, url: URL) -> Answer:
        seen: set[URL] = set()
        for _ in range(MAX_REDIRECTS + 1):
            self._guard.check_url(url)
            if url in seen:
                return Answer("redirect_loop")
            seen.add(url)
            async with self._session.get(url, allow_redirects=False) as response:
                target = response.headers.get("Location")
                if response.status not in REDIRECTS or not target:
                    return await self._read(response)
                url = url.join(URL(target))
        return Answer("redirect_loop")

    async def _read(self, response: aiohttp.ClientResponse) -> Answer:
        status = response.status
        if status != 200:
            wait = _retry_after(response.headers.get("Retry-After"))
            return Answer(f"http_{status}", status, retry_after=wait)
        word = _declined(response.headers.getall("X-Robots-Tag", []))
        if word:
            return Answer(f"robots_{word}", status, manners=True)
        if response.headers.get("Content-Encoding", "identity").lower() != "identity":
            return Answer("content_encoding", status)
        if (response.content_length or 0) > self._max_bytes:
            return Answer("too_large", status)
        try:
            return await self._body(response)
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            return Answer(_reason(error), status)

    async def _body(self, response: aiohttp.ClientResponse) -> Answer:
        parts: list[bytes] = []
        size = 0
        while part := await response.content.readany():
            size += len(part)
            if size > self._max_bytes:
                return Answer("too_large", response.status)
            parts.append(part)
        return Answer(None, response.status, b"".join(parts))


def _declined(values: list[str]) -> str | None:
    """The forbidding word of an X-Robots-Tag that speaks to everybody or to likewise."""
    for value in values:
        agent, colon, rest = value.lower().partition(":")
        if colon and agent.strip() not in {"*", "likewise", "unavailable_after"}:
            continue
        words = {word.strip() for word in (rest if colon else value.lower()).split(",")}
        for word in FORBIDDING:
            if word in words:
                return word
    return None


def _retry_after(value: str | None) -> float | None:
    """Seconds from a Retry-After header: a number or an HTTP date; None when unreadable."""
    if not value:
        return None
    if value.strip().isdigit():
        return float(value)
    try:
        moment = email.utils.parsedate_to_datetime(value)
    except (TypeError, ValueError):
        return None
    moment = moment.replace(tzinfo=moment.tzinfo or dt.UTC)
    return max(0.0, (moment - dt.datetime.now(dt.UTC)).total_seconds())


def _reason(error: BaseException) -> str:
    """The named reason of a failed request."""
    for kinds, name in _REASONS:
        if isinstance(error, kinds):
            return name
    return "connect"


_REASONS: list[tuple[tuple[type[BaseException], ...], str]] = [
    ((aiohttp.ConnectionTimeoutError,), "connect_timeout"),
    ((asyncio.TimeoutError, TimeoutError), "timeout"),
    ((aiohttp.ClientConnectorDNSError,), "dns"),
    ((aiohttp.ClientSSLError, ssl.SSLError), "tls"),
    ((aiohttp.ClientConnectorError,), "connect"),
    ((aiohttp.ServerDisconnectedError, aiohttp.ClientOSError, ConnectionError), "reset"),
    ((aiohttp.ClientPayloadError,), "cut_short"),
    ((aiohttp.InvalidURL, ValueError), "bad_url"),
    ((aiohttp.ClientError,), "bad_http"),
]
