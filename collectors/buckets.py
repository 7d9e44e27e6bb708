"""Rate-limit buckets: pure arithmetic over times that the caller passes in.

A bucket answers one question, "when may the next call start?", for the two kinds of window that
platforms run: a sliding window, and a window fixed to the wall clock. A call occupies its cell
from the moment it is reserved until one period after its *answer*: the server counted it at some
moment in between, so no server that keeps the declared window can count more than ``limit``.
All times are epoch seconds.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

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
        return (FixedWindow if self.window == "fixed" else SlidingWindow)(self)


@dataclass(frozen=True, slots=True)
class Correction:
    """What a server said about a bucket: calls left, when it resets, until when it is shut."""

    key: str
    remaining: int | None = None
    reset: float | None = None
    blocked_until: float | None = None


class Bucket:
    """State of one bucket. Subclasses say when a cell becomes free again."""

    def __init__(self, spec: BucketSpec) -> None:
        self.spec = spec
        self.slack = min(max(0.002, 0.002 * spec.period), 1.0)
        self.blocked_until = -math.inf
        self.in_flight: dict[int, float] = {}

    def ready_at(self, now: float) -> float:
        """When one more call may start; ``inf`` when that hangs on calls still in flight."""
        return max(self._free_at(now), self.blocked_until, now)

    def reserve(self, ticket: int, now: float) -> None:
        """Occupy a cell with a call that starts now."""
        self.in_flight[ticket] = now

    def settle(self, ticket: int, now: float) -> None:
        """The call's answer has come (or its failure): its cell is freed in time."""
        self.in_flight.pop(ticket, None)

    def release(self, ticket: int) -> None:
        """The call was never sent: its cell is free again at once."""
        self.in_flight.pop(ticket, None)

    def remaining(self, now: float) -> int:
        """Calls that may start now."""
        raise NotImplementedError

    def restore(self, calls: Iterable[tuple[float, float | None]], now: float) -> None:
        """Count calls of an earlier run, given as (started, answered or None when it never came).

        A call that the earlier run did not see answered counts as answered now. Times in the
        future (a clock that was set back) count as now too.
        """
        for started, ended in calls:
            when = now if ended is None else min(ended, now)
            self._count(min(started, now), when, now)

    def correct(self, correction: Correction, started: float, now: float) -> None:
        """Lower the budget to what the server says; it is never raised above the local count."""
        if correction.blocked_until is not None:
            self.blocked_until = max(self.blocked_until, correction.blocked_until)
        if correction.remaining is None:
            return
        surplus = self.remaining(now) - max(0, correction.remaining)
        if surplus > 0:
            self._lower(min(surplus, self.spec.limit), correction.reset, started, now)

    def _free_at(self, now: float) -> float:
        raise NotImplementedError

    def _count(self, started: float, ended: float, now: float) -> None:
        raise NotImplementedError

    def _lower(self, surplus: int, reset: float | None, started: float, now: float) -> None:
        raise NotImplementedError


class SlidingWindow(Bucket):
    """At most ``limit`` calls within any ``period`` seconds."""

    def __init__(self, spec: BucketSpec) -> None:
        super().__init__(spec)
        self._expiries: deque[float] = deque()

    def _flush(self, now: float) -> None:
        while self._expiries and self._expiries[0] <= now:
            self._expiries.popleft()

    def remaining(self, now: float) -> int:
        self._flush(now)
        return max(0, self.spec.limit - len(self.in_flight) - len(self._expiries))

    def _free_at(self, now: float) -> float:
        self._flush(now)
        surplus = len(self.in_flight) + len(self._expiries) - self.spec.limit
        if surplus < 0:
            return now
        return self._expiries[surplus] if surplus < len(self._expiries) else math.inf

    def settle(self, ticket: int, now: float) -> None:
        if self.in_flight.pop(ticket, None) is not None:
            self._insert(now + self.spec.period + self.slack)

    def _count(self, started: float, ended: float, now: float) -> None:
        expiry = ended + self.spec.period + self.slack
        if expiry > now:
            self._insert(expiry)

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

    Windows turn at multiples of ``period`` since 1970. ``skew`` is the server's clock minus ours.
    No call starts within ``slack`` after a turn; a call that starts within ``slack`` before it,
    or is in flight while it happens, is counted in both windows.
    """

    def __init__(self, spec: BucketSpec) -> None:
        super().__init__(spec)
        self.skew = 0.0
        self.slack = min(max(0.02, 0.01 * spec.period), 2.0)
        self._window = -1
        self._used = 0
        self._late = 0

    def _turn(self, now: float) -> None:
        window = math.floor((now + self.skew - self.slack) / self.spec.period)
        if window > self._window:
            self._window = window
            self._used = len(self.in_flight) + self._late
            self._late = 0

    def window_end(self) -> float:
        """When the current window ends, with the slack that keeps a call out of it."""
        return (self._window + 1) * self.spec.period - self.skew + self.slack

    def remaining(self, now: float) -> int:
        self._turn(now)
        return max(0, self.spec.limit - self._used)

    def _free_at(self, now: float) -> float:
        self._turn(now)
        turning = now + self.skew >= (self._window + 1) * self.spec.period
        return self.window_end() if turning or self._used >= self.spec.limit else now

    def reserve(self, ticket: int, now: float) -> None:
        self._turn(now)
        self._used += 1
        self._late += now > self.window_end() - 2 * self.slack
        super().reserve(ticket, now)

    def release(self, ticket: int) -> None:
        if self.in_flight.pop(ticket, None) is not None:
            self._used -= 1

    def _count(self, started: float, ended: float, now: float) -> None:
        self._turn(now)
        if ended + self.skew >= self._window * self.spec.period:
            self._used += 1

    def _lower(self, surplus: int, reset: float | None, started: float, now: float) -> None:
        turned = started < self._window * self.spec.period - self.skew
        of_this_window = reset is None or abs(reset + self.slack - self.window_end()) < 1.5
        if not turned and of_this_window:
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
