"""Fetch many pictures at once: the one coroutine behind both engines of ``download``."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import random
import ssl
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
from aiohttp.abc import AbstractResolver
from yarl import URL

from collectors.downloading.breaker import EXPIRED, Breaker
from collectors.downloading.fetch import (
    NO_ANSWER,
    RETRYABLE,
    SHUT,
    Answer,
    Fetcher,
    Limits,
    open_fetcher,
)
from collectors.downloading.guard import AddressGuard
from collectors.downloading.inspectors import Inspectors, open_inspectors
from collectors.downloading.local import LocalFiles
from collectors.downloading.plan import Item
from collectors.downloading.room import Hold
from collectors.downloading.spool import Parts
from collectors.downloading.turns import Turns
from collectors.imports.places import SCHEME, is_imported
from filters.pictures.decode import Hygiene, Inspection
from likewise.raised import one_error
from likewise.tables import FETCHED

__all__ = ["Renew", "Settings", "Tally", "fetch_all", "host_of"]

LOOKAHEAD = 2048
"""Items that wait in memory; the others wait on disk."""

OVER = frozenset({400, 401, 403, 404, 410})
"""What servers answer to a signed address that is over; Google says 400, Discord 404."""

FLUSH_ROWS = 64
FLUSH_BYTES = 8_000_000
FLUSH_SECONDS = 1.0
"""A killed run loses no more than the rows since the last flush."""

Renew = Callable[[Item], Awaitable[str | None]]
"""Asks the platform for a fresh address of a picture whose signed one has expired."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How to fetch and what may stay."""

    limits: Limits = field(default_factory=Limits)
    hygiene: Hygiene = field(default_factory=Hygiene)
    max_attempts: int = 4
    allow_hosts: tuple[str, ...] = ()
    breaker: float = 0.95
    workers: int = 0
    roots: tuple[tuple[str, str], ...] = ()
    """Imported hosts, each with the folder or archive that its pictures lie in."""


@dataclass(slots=True)
class Tally:
    """What a run has done: rows by reason, requests sent, bytes received."""

    rows: Counter[str] = field(default_factory=Counter)
    requests: int = 0
    n_bytes: int = 0


async def fetch_all(
    items: Iterable[Item],
    settings: Settings,
    sink: Parts,
    *,
    renew: Renew | None = None,
    advance: Callable[[], None] = lambda: None,
    resolver: AbstractResolver | None = None,
    tls: ssl.SSLContext | None = None,
) -> Tally:
    """Fetch and inspect ``items``; their rows, as ``FETCHED``, go to ``sink``.

    Args:
        items: Read lazily, no more than ``LOOKAHEAD`` ahead.
        settings: Limits of requests, hygiene, attempts.
        sink: Rows are on disk at the latest one second after they were made.
        renew: How to get a fresh address of an expired one.
        advance: Called once for each finished row.
        resolver: Replaces the system's resolver; its answers pass the guard like any other's.
        tls: TLS settings for the session; the system's authorities when None.

    Raises:
        TooManyFailedError: nearly all failed for one reason; see ``breaker``.
    """
    guard = AddressGuard(settings.allow_hosts)
    writer = _Writer(sink)
    async with (
        open_inspectors(settings.hygiene, settings.workers or None) as inspectors,
        open_fetcher(settings.limits, guard, resolver=resolver, tls=tls) as fetcher,
    ):
        run = _Run(settings, fetcher, inspectors, writer, renew, advance)
        try:
            await run.all(iter(items))
        finally:
            await writer.close()
    return run.tally


class _Run:
    def __init__(
        self,
        settings: Settings,
        fetcher: Fetcher,
        inspectors: Inspectors,
        writer: _Writer,
        renew: Renew | None,
        advance: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._fetcher = fetcher
        self._inspectors = inspectors
        self._writer = writer
        self._renew = renew
        self._advance = advance
        self._turns: Turns[_Job] = Turns(settings.limits.concurrency, settings.limits.per_host)
        self._breaker = Breaker(settings.breaker)
        self._local = LocalFiles(dict(settings.roots), settings.limits.max_bytes)
        self._wake = asyncio.Event()
        self.tally = Tally()

    async def all(self, items: Iterator[Item]) -> None:
        """Work until every item has its row."""
        clock = asyncio.get_running_loop().time
        with one_error():
            async with asyncio.TaskGroup() as group:
                group_done = False
                while not group_done:
                    more = self._fill(items)
                    while turn := self._turns.take(clock()):
                        group.create_task(self._turn(*turn))
                    group_done = not (more or self._turns.pending or self._turns.active)
                    if not group_done:
                        await self._pause(self._turns.next_time(), clock())

    def _fill(self, items: Iterator[Item]) -> bool:
        """Read ahead; whether there may be more."""
        while self._turns.pending < LOOKAHEAD:
            item = next(items, None)
            if item is None:
                return False
            # Files that an import names come in the order in which they lie: no fair sample.
            number = None if is_imported(item.host) else self._breaker.draw()
            self._turns.add(host_of(item.url), _Job(item, item.url, number))
        return True

    async def _pause(self, until: float | None, now: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(None if until is None else max(0.0, until - now)):
                await self._wake.wait()
        self._wake.clear()

    async def _turn(self, host: str, job: _Job) -> None:
        answered = True
        try:
            given_up = self._turns.given_up(host)
            if given_up:
                answered = False
                await self._finish(job, Answer(given_up))
            else:
                with self._fetcher.hold() as hold:
                    answered = await self._ask(host, job, hold)
        finally:
            self._turns.done(host, success=answered)
            self._wake.set()

    async def _ask(self, host: str, job: _Job, hold: Hold) -> bool:
        """One request. Whether the host has answered for good or ill, rather than refused."""
        if job.item.expires is not None and job.url == job.item.url:
            await self._refresh(job, now=time.time())
        answer = await self._answer(job, hold)
        self.tally.requests += 1
        now = asyncio.get_running_loop().time()
        # Behind a redirect it is not the host of the address that refuses or does not answer.
        there = answer.host or host
        if answer.error_class == SHUT:
            self._turns.add(there, job)
            return True
        job.tries += 1
        if answer.error_class is None or answer.error_class not in RETRYABLE:
            if answer.status in OVER and await self._refresh(job, now=None):
                self._turns.add(host, job)
            else:
                await self._finish(job, answer)
            return True
        if self._asks_for_patience(answer):
            refusals = self._turns.shut(there, now, answer.retry_after)
            again, when = refusals <= self._settings.max_attempts, 0.0
            job.refused += 1
        else:
            refusals = 0
            if answer.error_class in NO_ANSWER:
                patience = 2 * self._settings.limits.per_host
                refusals = self._turns.strike(there, now, patience)
            again = job.tries - job.refused < self._settings.max_attempts
            when = now + random.uniform(0.25, 1.0) * 2 ** min(job.tries, 6) / 2
        if refusals > self._settings.max_attempts:
            down = answer.error_class if answer.status else "host_down"
            self._turns.give_up(there, down or "host_down")
        if not again:
            await self._finish(job, answer)
        elif when:
            self._turns.add_later(there, job, when)
        else:
            self._turns.add(there, job)
        return there != host

    async def _answer(self, job: _Job, hold: Hold) -> Answer:
        """The picture's bytes: from the network, or from where an import has left them."""
        if is_imported(job.item.host) and job.url.startswith(SCHEME):
            answer = await asyncio.to_thread(self._local.read, job.item.host, job.url)
            await hold.take(len(answer.body))
            return answer
        clock = asyncio.get_running_loop().time
        return await self._fetcher.fetch(
            job.url, hold, lambda host: self._turns.closed(host, clock())
        )

    @staticmethod
    def _asks_for_patience(answer: Answer) -> bool:
        return answer.status == 429 or (answer.status == 503 and answer.retry_after is not None)

    async def _refresh(self, job: _Job, *, now: float | None) -> bool:
        """Take a fresh address when the signed one is over (``now`` None: the server said so)."""
        expires = job.item.expires
        if self._renew is None or job.renewed or expires is None:
            return False
        if now is not None and expires > now + self._settings.limits.timeout_s:
            return False
        job.renewed = True
        fresh = await self._renew(job.item)
        if fresh is None:
            return False
        job.url = fresh
        return True

    async def _finish(self, job: _Job, answer: Answer) -> None:
        found, sha256 = _not_fetched(job, answer), None
        if answer.error_class is None:
            inspected = await self._inspectors.inspect(answer.body)
            found, sha256 = inspected.found, inspected.sha256
        self.tally.rows[found.error_class or found.status] += 1
        self.tally.n_bytes += len(answer.body)
        await self._writer.add(_row(job, answer, found, sha256))
        self._advance()
        if job.number is not None:
            self._breaker.count(job.number, found.status, found.error_class)


@dataclass(slots=True)
class _Job:
    item: Item
    url: str
    number: int | None
    tries: int = 0
    refused: int = 0
    renewed: bool = False


def host_of(url: str) -> str:
    """Host that a URL names; empty when it names none."""
    try:
        return URL(url).host or ""
    except ValueError:
        return ""


def _not_fetched(job: _Job, answer: Answer) -> Inspection:
    reason = answer.error_class
    expires = job.item.expires
    if answer.status in OVER and expires is not None and expires < time.time():
        reason = EXPIRED
    refused = answer.manners or reason == "too_large"
    return Inspection("rejected" if refused else "failed", reason)


def _row(job: _Job, answer: Answer, found: Inspection, sha256: str | None) -> dict[str, Any]:
    item = job.item
    return {
        "platform": item.platform,
        "host": item.host,
        "post_id": item.post_id,
        "media_index": item.media_index,
        "author_id": item.author_id,
        "bucket": item.bucket,
        "url": item.url,
        "picture_id": sha256,
        "bytes": answer.body if found.status == "ok" else None,
        "n_bytes": len(answer.body) if answer.error_class is None else None,
        "format": found.format,
        "width": found.width,
        "height": found.height,
        "orientation": found.orientation,
        "phash": found.phash,
        "status": found.status,
        "error_class": found.error_class,
        "http_status": answer.status,
        "attempts": item.attempts + job.tries,
        "fetched_at": dt.datetime.now(dt.UTC),
    }


class _Writer:
    """Collects rows and flushes them to disk: when there are many, and every second."""

    def __init__(self, sink: Parts) -> None:
        self._sink = sink
        self._rows: list[dict[str, Any]] = []
        self._size = 0
        self._lock = asyncio.Lock()
        self._ticker = asyncio.create_task(self._tick())

    async def add(self, row: dict[str, Any]) -> None:
        """Take a row; waits for the disk when it is behind."""
        self._rows.append(row)
        self._size += len(row["bytes"] or b"")
        if len(self._rows) >= FLUSH_ROWS or self._size >= FLUSH_BYTES:
            await self.flush()

    async def flush(self) -> None:
        """Write what there is."""
        async with self._lock:
            rows, self._rows, self._size = self._rows, [], 0
            if rows:
                await asyncio.to_thread(self._write, rows)

    def _write(self, rows: list[dict[str, Any]]) -> None:
        # While the disk is behind many rows may have come; each part is a copy of its pictures.
        start = size = 0
        for number, row in enumerate(rows, 1):
            size += len(row["bytes"] or b"")
            if size >= FLUSH_BYTES or number == len(rows):
                self._sink.write(pa.Table.from_pylist(rows[start:number], schema=FETCHED))
                start, size = number, 0

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            await self.flush()

    async def close(self) -> None:
        """Write the rest."""
        # Cancelled inside its flush, the ticker would take rows with it that no thread has begun
        # to write; outside the lock it holds none.
        async with self._lock:
            self._ticker.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._ticker
        await self.flush()
