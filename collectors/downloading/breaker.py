"""The circuit breaker: when nearly every picture fails for one and the same reason.

That is a bug or a ban, not data: going on would only write thousands of false failures. But
posts do get deleted, and a study of old ones may well have nine in ten pictures gone. So the
breaker judges a sample that nothing but chance has chosen: pictures in the random order in which
they were drawn, each after all that were drawn before it. What merely answers fast (a page that
says "gone") cannot overtake what is still on its way, and a fast host cannot outnumber a slow one.
"""

from __future__ import annotations

import math
from collections import Counter, deque

from likewise.errors import CircuitOpenError

__all__ = ["Breaker", "TooManyFailedError"]

EXPIRED = "expired"
"""A signed address that came too late says nothing about the host."""


class TooManyFailedError(CircuitOpenError):
    """The circuit breaker has opened for ``reason``; ``counts`` are (failed, of so many)."""

    def __init__(self, reason: str, times: int, n: int) -> None:
        super().__init__(
            f"download stopped: {times} of {n} pictures failed as {reason}",
            [(f"{times} pictures", reason)],
            hint="look into one of them; those that failed so are asked again by the next run "
            "(or raise [download] breaker if this is how things are)",
        )
        self.reason = reason
        self.counts = times, n


class Breaker:
    """Opens when the share that fails for one reason is surely above ``share``.

    Surely: if no more than ``share`` of all pictures failed so, then a window of ``WINDOW`` would
    hold as many failures in less than one of 1 / ``DOUBT`` cases. With a share of 0.95 that takes
    90 failures in a row, or 487 of 500.
    """

    WINDOW = 500
    LEAST = 50
    DOUBT = 0.01

    def __init__(self, share: float) -> None:
        self._share = share
        self._drawn = 0
        self._judged = 0
        self._done: dict[int, str | None] = {}
        self._window: deque[str | None] = deque()
        self._failed: Counter[str] = Counter()

    def draw(self) -> int:
        """Number of the next picture, in the order in which they are drawn."""
        self._drawn += 1
        return self._drawn - 1

    def count(self, number: int, status: str, error_class: str | None) -> None:
        """Picture ``number`` has its row. Raises TooManyFailedError when it was one too many."""
        self._done[number] = error_class if status == "failed" else None
        while self._judged in self._done:
            reason = self._done.pop(self._judged)
            self._judged += 1
            if reason != EXPIRED:
                self._judge(reason)

    def _judge(self, reason: str | None) -> None:
        self._window.append(reason)
        if len(self._window) > self.WINDOW:
            oldest = self._window.popleft()
            if oldest is not None:
                self._failed[oldest] -= 1
        if reason is None:
            return
        self._failed[reason] += 1
        times, n = self._failed[reason], len(self._window)
        if n >= self.LEAST and times >= self._share * n and self._is_sure(times, n):
            raise TooManyFailedError(reason, times, n)

    def _is_sure(self, times: int, n: int) -> bool:
        """Whether so few others are improbable, by the binomial distribution."""
        others = max(1.0 - self._share, 0.01)
        chances = (
            math.comb(n, k) * others**k * (1 - others) ** (n - k) for k in range(n - times + 1)
        )
        return math.fsum(chances) < self.DOUBT
