"""What one client may ask for: pictures a minute, and one answer for each idempotency key."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from collectors.budgets.buckets import Bucket, BucketSpec
from likewise.errors import UsageError

__all__ = ["MOST", "Clients", "Once", "ReusedKeyError"]

MOST = 20
"""Pictures of one request."""

MOST_CLIENTS = 10_000
"""Clients that are remembered; the one that was seen longest ago goes first."""

T = TypeVar("T")


class ReusedKeyError(UsageError):
    """An idempotency key came with another request before."""


class Clients:
    """At most ``limit`` pictures within any minute, for each client."""

    def __init__(self, limit: int, *, now: Callable[[], float] = time.time) -> None:
        self._limit = limit
        self._now = now
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()

    def wait(self, client: str, n: int) -> float:
        """Seconds until the client may ask for ``n`` pictures; 0 counts them as asked for now."""
        bucket = self._buckets.get(client)
        if bucket is None:
            bucket = self._buckets[client] = BucketSpec(client, self._limit, 60.0).open()
        self._buckets.move_to_end(client)
        while len(self._buckets) > MOST_CLIENTS:
            self._buckets.popitem(last=False)
        now = self._now()
        if bucket.remaining(now) < n:
            return max(bucket.resets_at(now) - now, 1.0)
        for ticket in range(n):
            bucket.reserve(ticket, now)
            bucket.settle(ticket, now)
        return 0.0


@dataclass(slots=True)
class _Kept(Generic[T]):
    digest: str
    at: float
    answer: asyncio.Future[T]


class Once(Generic[T]):
    """Answers by idempotency key: who asks twice, also while the first still runs, gets one answer.

    Kept in memory for ``seconds``, ``most`` of them: a server that was started anew asks afresh.
    Source: IETF draft "The Idempotency-Key HTTP Header Field".
    """

    def __init__(self, most: int = 500, seconds: float = 600.0) -> None:
        self._most, self._seconds = most, seconds
        self._kept: OrderedDict[str, _Kept[T]] = OrderedDict()

    async def answer(self, key: str, digest: str, make: Callable[[], Awaitable[T]]) -> T:
        """The answer of ``make``, or the one that was made for this key and digest before.

        A failure is not kept. Raises ReusedKeyError when the key came with another request.
        """
        self._forget()
        kept = self._kept.get(key)
        if kept is not None:
            if kept.digest != digest:
                raise ReusedKeyError(
                    "this idempotency key came with another request before",
                    hint="take a new key for every new request",
                )
            return await asyncio.shield(kept.answer)
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._kept[key] = _Kept(digest, time.monotonic(), answer)
        try:
            found = await make()
        except BaseException as error:
            self._kept.pop(key, None)
            answer.set_exception(error if isinstance(error, Exception) else UsageError("stopped"))
            answer.exception()  # retrieved: nobody else may be waiting
            raise
        answer.set_result(found)
        return found

    def _forget(self) -> None:
        old = time.monotonic() - self._seconds
        while self._kept:
            key, first = next(iter(self._kept.items()))
            if first.at >= old and len(self._kept) < self._most:
                return
            if not first.answer.done():
                return
            del self._kept[key]
