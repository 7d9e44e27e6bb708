"""One request for one picture: redirects, limits, and a named reason for everything else."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace

import aiohttp
from aiohttp.abc import AbstractResolver
from yarl import URL

from collectors.downloading.address import as_given, joined
from collectors.downloading.guard import AddressGuard, RefusedError, Resolver
from collectors.downloading.response_headers import declined, recoded, seconds_to_wait
from collectors.downloading.room import Hold, Room
from collectors.downloading.way import Way
from likewise import __version__

__all__ = [
    "NO_ANSWER",
    "RETRYABLE",
    "SHUT",
    "TIMEOUTS",
    "Answer",
    "Fetcher",
    "Limits",
    "open_fetcher",
]

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
    # Cloudflare's, about the server behind it: down, unreachable, too slow, misconfigured.
    *(f"http_{status}" for status in range(520, 531)),
    "proxy",
    "reset",
}
"""Reasons that may be gone at the next try; everything else is an answer."""

NO_ANSWER = TIMEOUTS | {"connect", "dns", "reset"}
"""Reasons that speak against the host rather than against the picture."""

SHUT = "host_shut"
"""A redirect leads to a host that has asked for patience: nothing was sent there. No row says so,
the picture is asked for again when the host opens."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one request and of the session; ``in_flight`` are bytes of bodies in memory."""

    timeout_s: float = 30.0
    max_bytes: int = 20_000_000
    concurrency: int = 32
    per_host: int = 8
    in_flight: int = 256_000_000
    user_agent: str = f"likewise/{__version__}"


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one request.

    ``error_class`` is None when ``body`` holds the whole file. ``retry_after`` is the server's
    wish in seconds. ``manners`` tells that the site declined, rather than that something failed.
    ``host`` is the one that answered, or did not: the last of a chain of redirects.
    """

    error_class: str | None
    status: int | None = None
    body: bytes = b""
    retry_after: float | None = None
    manners: bool = False
    host: str = field(default="", compare=False)


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
        # The whole time is limited by ``fetch``, which does not count the wait for memory.
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=min(10.0, limits.timeout_s)),
    )
    async with session:
        yield Fetcher(session, guard, limits, Way(guard, resolver))


class Fetcher:
    """Asks for pictures over one shared session."""

    def __init__(
        self, session: aiohttp.ClientSession, guard: AddressGuard, limits: Limits, way: Way
    ) -> None:
        self._session = session
        self._way = way
        self._guard = guard
        self._limits = limits
        self._room = Room(limits.in_flight)

    def hold(self) -> Hold:
        """A share of the memory for bodies, to be kept until the body is let go."""
        return self._room.hold()

    async def fetch(
        self,
        url: str,
        hold: Hold | None = None,
        closed: Callable[[str], bool] = lambda _: False,
    ) -> Answer:
        """Ask once. Network trouble comes back as an error class; nothing is raised for it.

        Args:
            url: Goes over the wire as it is.
            hold: Takes the room of the body before it is read; the caller gives it back. Without
                one the room counts only while the body is on its way.
            closed: Whether a host that a redirect leads to must be left alone for now.
        """
        visit = _Visit()
        try:
            async with asyncio.timeout(self._limits.timeout_s) as clock:
                with contextlib.ExitStack() as stack:
                    room = hold or stack.enter_context(self._room.hold())
                    answer = await self._follow(url, visit, _Pause(clock, room), closed)
        except RefusedError as error:
            answer = Answer(error.error_class)
        except (TimeoutError, aiohttp.ClientError, ValueError, OSError) as error:
            answer = Answer(_reason(error), visit.status)
        return replace(answer, host=visit.host)

    async def _follow(
        self, url: str, visit: _Visit, pause: _Pause, closed: Callable[[str], bool]
    ) -> Answer:
        target = as_given(url)
        seen: set[URL] = set()
        for redirects in range(MAX_REDIRECTS + 1):
            self._guard.check_url(target)
            visit.host = target.host or ""
            if redirects and closed(visit.host):
                return Answer(SHUT)
            if target in seen:
                break
            seen.add(target)
            proxy = await self._way.of(target)
            async with self._session.get(target, allow_redirects=False, proxy=proxy) as response:
                place = response.headers.get("Location")
                if response.status not in REDIRECTS or not place:
                    visit.status = response.status
                    return await self._read(response, pause)
                target = joined(target, place)
        return Answer("redirect_loop")

    async def _read(self, response: aiohttp.ClientResponse, pause: _Pause) -> Answer:
        status, headers = response.status, response.headers
        if status != 200:
            wait = seconds_to_wait(headers.get("Retry-After"))
            return Answer(f"http_{status}", status, retry_after=wait)
        word = declined(headers.getall("X-Robots-Tag", []))
        if word:
            return Answer(f"robots_{word}", status, manners=True)
        if recoded(headers.getall("Content-Encoding", [])):
            return Answer("content_encoding", status)
        expected = response.content_length
        if (expected or 0) > self._limits.max_bytes:
            return Answer("too_large", status)
        # A body of unknown length may become as large as any.
        await pause.take(self._limits.max_bytes if expected is None else expected)
        return await self._body(response, pause)

    async def _body(self, response: aiohttp.ClientResponse, pause: _Pause) -> Answer:
        parts: list[bytes] = []
        size = 0
        while part := await response.content.readany():
            size += len(part)
            if size > self._limits.max_bytes:
                return Answer("too_large", response.status)
            parts.append(part)
        pause.hold.shrink(size)
        return Answer(None, response.status, b"".join(parts))


@dataclass(slots=True)
class _Visit:
    """How far a request has come: the host that is asked, and its status once it has answered."""

    host: str = ""
    status: int | None = None


@dataclass(slots=True)
class _Pause:
    """Waits for memory while the clock of the request stands still."""

    clock: asyncio.Timeout
    hold: Hold

    async def take(self, n: int) -> None:
        """Wait for room for ``n`` bytes."""
        now = asyncio.get_running_loop().time
        left = (self.clock.when() or now()) - now()
        if not self.hold.fits(n):
            self.clock.reschedule(None)
        await self.hold.take(n)
        self.clock.reschedule(now() + left)


def _reason(error: BaseException) -> str:
    """The named reason of a failed request."""
    for kinds, name in _REASONS:
        if isinstance(error, kinds):
            return name
    return "connect"


_REASONS: list[tuple[tuple[type[BaseException], ...], str]] = [
    ((aiohttp.ClientProxyConnectionError, aiohttp.ClientHttpProxyError), "proxy"),
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
