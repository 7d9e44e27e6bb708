"""Whose turn it is: bounded work in total and per host, and patience with hosts that ask for it.

Pure scheduling over times that the caller passes in; nothing here waits or sends.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections import deque
from dataclasses import dataclass, field
from typing import Generic, TypeVar

__all__ = ["HostQueue", "Turns"]

T = TypeVar("T")

LONGEST_WAIT = 300.0
"""Seconds; a host that asks for more is waited for no longer than this at a time."""


@dataclass(slots=True)
class HostQueue(Generic[T]):
    """What is known of one host."""

    limit: float
    waiting: deque[T] = field(default_factory=deque)
    active: int = 0
    shut_until: float = 0.0
    refusals: int = 0
    """Windows in which the host refused, since the last success."""
    strikes: int = 0
    """Answers that did not come, one after another."""
    given_up: str | None = None
    """Why nothing more is asked of this host."""

    def may_start(self) -> bool:
        """Whether one more item may run; nothing is asked for those of a host given up."""
        return self.given_up is not None or self.active < int(self.limit)


class Turns(Generic[T]):
    """Hands out items so that no more than ``total`` run at once, and ``per_host`` of one host.

    A host that refuses (429, 503) is shut until the moment it names; then it gets half as many at
    once, and one more after each run of successes. Items of a shut host hold no slot.
    """

    def __init__(self, total: int, per_host: int, *, seed: int | None = None) -> None:
        self._total = total
        self._per_host = per_host
        self._random = random.Random(seed)
        self._hosts: dict[str, HostQueue[T]] = {}
        self._ready: deque[str] = deque()
        self._queued: set[str] = set()
        self._shut: list[tuple[float, str]] = []
        self._later: list[tuple[float, int, str, T]] = []
        self._count = itertools.count()
        self.active = 0
        self.pending = 0

    def add(self, host: str, item: T) -> None:
        """Queue an item of ``host``."""
        self._queue(host).waiting.append(item)
        self.pending += 1
        self._announce(host)

    def add_later(self, host: str, item: T, when: float) -> None:
        """Queue an item that must not start before ``when``."""
        heapq.heappush(self._later, (when, next(self._count), host, item))
        self.pending += 1

    def take(self, now: float) -> tuple[str, T] | None:
        """The next item that may start, or None. The caller must call ``done`` for it."""
        self._wake(now)
        while self.active < self._total and self._ready:
            host = self._ready.popleft()
            self._queued.discard(host)
            queue = self._hosts[host]
            if not queue.waiting or not queue.may_start() or queue.shut_until > now:
                continue
            item = queue.waiting.popleft()
            queue.active += 1
            self.active += 1
            self.pending -= 1
            self._announce(host)
            return host, item
        return None

    def done(self, host: str, *, success: bool) -> None:
        """An item of ``host`` has ended."""
        queue = self._hosts[host]
        queue.active -= 1
        self.active -= 1
        if success:
            queue.refusals = queue.strikes = 0
            queue.limit = min(self._per_host, queue.limit + 1 / (8 * max(queue.limit, 1)))
        self._forget(host, queue)
        self._announce(host)

    def shut(self, host: str, now: float, seconds: float | None) -> int:
        """The host has refused: leave it alone for ``seconds``; None takes a growing wait.

        Returns the number of windows in which it has refused since its last success.
        """
        queue = self._queue(host)
        if queue.shut_until <= now:
            queue.refusals += 1
            queue.limit = max(1.0, queue.limit / 2)
        if seconds is None:
            seconds = self._random.uniform(0.5, 1.0) * 2 ** min(queue.refusals, 8)
        until = now + min(max(seconds, 0.05), LONGEST_WAIT)
        if until > queue.shut_until:
            queue.shut_until = until
            heapq.heappush(self._shut, (until, host))
        return queue.refusals

    def strike(self, host: str, now: float, patience: int) -> int:
        """The host did not answer; after a run of that it is left alone for a growing while."""
        queue = self._queue(host)
        queue.strikes += 1
        if queue.strikes >= patience:
            queue.strikes = 0
            self.shut(host, now, None)
        return queue.refusals

    def give_up(self, host: str, reason: str) -> None:
        """Ask nothing more of this host; its items come out of ``take`` at once."""
        queue = self._queue(host)
        queue.given_up, queue.shut_until = reason, 0.0
        self._announce(host)

    def given_up(self, host: str) -> str | None:
        """Why the host was given up, or None."""
        queue = self._hosts.get(host)
        return None if queue is None else queue.given_up

    def closed(self, host: str, now: float) -> bool:
        """Whether the host must be left alone: it has asked for patience, or was given up."""
        queue = self._hosts.get(host)
        return queue is not None and (queue.shut_until > now or queue.given_up is not None)

    def next_time(self) -> float | None:
        """When the next shut host opens or the next delayed item is due; None when neither."""
        times = [heap[0][0] for heap in (self._shut, self._later) if heap]
        return min(times, default=None)

    def _queue(self, host: str) -> HostQueue[T]:
        """A host's queue; a redirect may lead to one that no address names."""
        return self._hosts.setdefault(host, HostQueue(self._per_host))

    def _wake(self, now: float) -> None:
        while self._later and self._later[0][0] <= now:
            _, _, host, item = heapq.heappop(self._later)
            self.pending -= 1
            self.add(host, item)
        while self._shut and self._shut[0][0] <= now:
            self._announce(heapq.heappop(self._shut)[1])

    def _announce(self, host: str) -> None:
        queue = self._hosts.get(host)
        if queue and queue.waiting and queue.may_start() and host not in self._queued:
            self._queued.add(host)
            self._ready.append(host)

    def _forget(self, host: str, queue: HostQueue[T]) -> None:
        """Drop hosts without work, so that memory does not grow with their number."""
        idle = not queue.active and not queue.waiting
        if idle and not queue.refusals and queue.given_up is None:
            self._hosts.pop(host, None)
