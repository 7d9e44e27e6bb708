"""Rate-limit buckets: pure arithmetic over times that the caller passes in.

A bucket answers one question, "when may the next call start?", for the two kinds of window that
platforms run: a sliding window, and a window fixed to the wall clock. A call occupies its cell
from the moment it is reserved until one period after its *answer*: the server counted it at some
moment in between, so no server that keeps the declared window can count more than ``limit``.
All times are epoch seconds.
"""

from __future__ import annotations

import itertools
import math
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from typing_extensions import override

__all__ = ["Bucket", "BucketSpec", "Correction", "FixedWindow", "SlidingWindow", "lower_bound"]


@dataclass(frozen=True, slots=True)
class BucketSpec:
    """A bucket as its platform declares it. Calls with equal ``key`` share one budget."""

    key: str
    limit: int
    period: float
    window: Literal["sliding", "fixed"] = "sliding"

    def open(self) -> Bucket:
        """An empty bucket."""
        return FixedWindow(self) if self.window == "fixed" else SlidingWindow(self)


@dataclass(frozen=True, slots=True)
class Correction:
    """What a server said about a bucket: calls left, when it resets, until when it is shut."""

    key: str
    remaining: int | None = None
    reset: float | None = None
    blocked_until: float | None = None


class Bucket(ABC):
    """State of one bucket. Subclasses say when a cell becomes free again."""

    def __init__(self, spec: BucketSpec) -> None:
        self.spec = spec
        self.slack = min(max(0.002, 0.002 * spec.period), 1.0)
        self.skew = 0.0
        self.blocked_until = -math.inf
        self.in_flight: set[int] = set()

    def ready_at(self, now: float) -> float:
        """When one more call may start; ``inf`` when that hangs on calls still in flight."""
        return max(self._free_at(now), self.blocked_until, now)

    @abstractmethod
    def remaining(self, now: float) -> int:
        """Calls that may start now, were the bucket not blocked."""

    @abstractmethod
    def resets_at(self, now: float) -> float:
        """When the whole budget is there again, if nothing is called until then."""

    @abstractmethod
    def reserve(self, ticket: int, now: float) -> None:
        """Occupy a cell with a call that starts now."""

    @abstractmethod
    def settle(self, ticket: int, now: float) -> None:
        """The call's answer has come (or its failure): its cell is freed in time."""

    @abstractmethod
    def release(self, ticket: int) -> None:
        """The call was never sent: its cell is free again at once."""

    def shift(self, skew: float, now: float) -> None:  # noqa: ARG002 - only fixed windows need it
        """The server's clock is found to be ``skew`` seconds ahead of ours."""
        self.skew = skew

    def restore(self, answered: Iterable[float | None], now: float) -> None:
        """Count calls of an earlier run by the times of their answers.

        None (the run ended before the answer came) counts as now, and so does a time in the
        future, which a clock leaves behind that was set back.
        """
        for ended in answered:
            self._count(now if ended is None else min(ended, now), now)

    def correct(self, correction: Correction, started: float, now: float) -> None:
        """Lower the budget to what the server said in answer to a call that started then.

        The budget is never raised above the local count. The server counted at some moment of the
        call: cells that have become free since then were still occupied for it.
        """
        if correction.blocked_until is not None:
            self.blocked_until = max(self.blocked_until, correction.blocked_until)
        if correction.remaining is None:
            return
        surplus = self._free_throughout(started, now) - max(0, correction.remaining)
        if surplus > 0:
            self._lower(surplus, correction.reset, started, now)

    @abstractmethod
    def _free_at(self, now: float) -> float: ...

    @abstractmethod
    def _free_throughout(self, started: float, now: float) -> int:
        """Cells that were free all the time since a call started."""

    @abstractmethod
    def _count(self, ended: float, now: float) -> None: ...

    @abstractmethod
    def _lower(self, surplus: int, reset: float | None, started: float, now: float) -> None: ...


class SlidingWindow(Bucket):
    """At most ``limit`` calls within any ``period`` seconds, and ``slack`` (0.2 %, 2 ms to 1 s)."""

    def __init__(self, spec: BucketSpec) -> None:
        super().__init__(spec)
        self._expiries: deque[float] = deque()
        self._freed: deque[float] = deque(maxlen=spec.limit)

    def _flush(self, now: float) -> None:
        while self._expiries and self._expiries[0] <= now:
            self._freed.append(self._expiries.popleft())

    @override
    def remaining(self, now: float) -> int:
        self._flush(now)
        return max(0, self.spec.limit - len(self.in_flight) - len(self._expiries))

    @override
    def resets_at(self, now: float) -> float:
        self._flush(now)
        return self._expiries[-1] if self._expiries else now

    @override
    def _free_at(self, now: float) -> float:
        self._flush(now)
        surplus = len(self.in_flight) + len(self._expiries) - self.spec.limit
        if surplus < 0:
            return now
        return self._expiries[surplus] if surplus < len(self._expiries) else math.inf

    @override
    def _free_throughout(self, started: float, now: float) -> int:
        free = self.remaining(now)
        return free - sum(1 for _ in itertools.takewhile(started.__lt__, reversed(self._freed)))

    @override
    def reserve(self, ticket: int, now: float) -> None:
        self.in_flight.add(ticket)

    @override
    def settle(self, ticket: int, now: float) -> None:
        if ticket in self.in_flight:
            self.in_flight.remove(ticket)
            self._insert(now + self.spec.period + self.slack)

    @override
    def release(self, ticket: int) -> None:
        self.in_flight.discard(ticket)

    @override
    def _count(self, ended: float, now: float) -> None:
        expiry = ended + self.spec.period + self.slack
        if expiry > now:
            self._insert(expiry)

    @override
    def _lower(self, surplus: int, reset: float | None, started: float, now: float) -> None:
        latest = now + self.spec.period + self.slack
        expiry = latest if reset is None else min(latest, max(now, reset) + self.slack)
        for _ in range(surplus):
            self._insert(expiry)

    def _insert(self, expiry: float) -> None:
        if self._expiries and expiry < self._expiries[-1]:
            self._expiries = deque(sorted([*self._expiries, expiry]))
        else:
            self._expiries.append(expiry)


class FixedWindow(Bucket):
    """At most ``limit`` calls within each window of the server's wall clock.

    Windows turn at multiples of ``period`` since 1970. No call starts within ``slack`` after a
    turn; a call that is answered within ``slack`` before it, or is in flight while it happens, is
    counted in both windows. So clocks may differ by ``slack`` (1 % of the period, at most 2 s);
    ``skew``, the server's clock minus ours, covers more where it is known.
    """

    def __init__(self, spec: BucketSpec) -> None:
        super().__init__(spec)
        self.slack = min(max(0.02, 0.01 * spec.period), 2.0)
        self._window = -1
        self._used = 0
        self._answered: list[float] = []

    @override
    def shift(self, skew: float, now: float) -> None:
        if skew != self.skew:
            super().shift(skew, now)
            self._enter(self._window_at(now), now)

    def _turn(self, now: float) -> None:
        if now >= self._end() + self.slack:
            self._enter(max(self._window_at(now), self._window + 1), now)

    def _window_at(self, now: float) -> int:
        return math.floor((now + self.skew - self.slack) / self.spec.period)

    def _enter(self, window: int, now: float) -> None:
        """Begin a window with the calls that the server may have counted in it."""
        self._window = window
        self._answered = [t for t in self._answered if t > now - 2 * self.spec.period]
        since = self._start() - self.slack
        self._used = len(self.in_flight) + sum(ended > since for ended in self._answered)

    def _start(self) -> float:
        return self._window * self.spec.period - self.skew

    def _end(self) -> float:
        return (self._window + 1) * self.spec.period - self.skew

    @override
    def remaining(self, now: float) -> int:
        self._turn(now)
        return max(0, self.spec.limit - self._used)

    @override
    def resets_at(self, now: float) -> float:
        self._turn(now)
        return self._end() + self.slack if self._used else now

    @override
    def _free_at(self, now: float) -> float:
        self._turn(now)
        turning = now >= self._end()
        return self._end() + self.slack if turning or self._used >= self.spec.limit else now

    @override
    def _free_throughout(self, started: float, now: float) -> int:
        return self.remaining(now)  # what was said of the window before is not applied to this one

    @override
    def reserve(self, ticket: int, now: float) -> None:
        self._turn(now)
        self.in_flight.add(ticket)
        self._used += 1

    @override
    def settle(self, ticket: int, now: float) -> None:
        self._turn(now)
        if ticket in self.in_flight:
            self.in_flight.remove(ticket)
            self._answered.append(now)

    @override
    def release(self, ticket: int) -> None:
        if ticket in self.in_flight:
            self.in_flight.remove(ticket)
            self._used -= 1

    @override
    def _count(self, ended: float, now: float) -> None:
        self._turn(now)
        self._answered.append(ended)
        if ended >= self._start() - self.slack:
            self._used += 1

    @override
    def _lower(self, surplus: int, reset: float | None, started: float, now: float) -> None:
        of_this_window = reset is None or abs(reset - self._end()) < 1.5
        if started >= self._start() and of_this_window:
            self._used += surplus


def lower_bound(
    calls: int, buckets: int, limit: int, period: float, concurrency: int, latency: float
) -> float:
    """Least seconds that ``calls`` calls can take; sliding windows, empty at the start.

    T = max over 0 <= j < q of (j*W + ceil((M - j*N*L) / K) * R), q = ceil(M / (N*L)), for M
    calls, N buckets of L per W seconds, K calls in flight and R seconds of latency.
    """
    rounds = math.ceil(calls / (buckets * limit))
    return max(
        j * period + math.ceil((calls - j * buckets * limit) / concurrency) * latency
        for j in range(rounds)
    )
