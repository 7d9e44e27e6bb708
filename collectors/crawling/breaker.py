"""Stop when nearly everything fails for one reason: that is a bug or a ban, not data."""

from __future__ import annotations

from collections import Counter, deque

from likewise.errors import CircuitOpenError

__all__ = ["Breaker"]


class Breaker:
    """Opens when nearly all of the last failures have one reason and hardly anything succeeds."""

    def __init__(self, window: int = 30, share: float = 0.9, least: int = 12) -> None:
        self._last: deque[str] = deque(maxlen=window)
        self._share = share
        self._least = least

    def note(self, reason: str) -> None:
        """Count the end of one item: ``ok`` or the reason of its failure.

        Raises:
            CircuitOpenError: this is a bug or a ban, not data.
        """
        self._last.append(reason)
        worst, times = Counter(self._last).most_common(1)[0]
        if worst != "ok" and times >= self._least and times >= self._share * len(self._last):
            raise CircuitOpenError(
                f"{times} of the last {len(self._last)} items failed for the same reason: {worst}",
                hint="nothing that was read is lost; mend the cause and run the command again",
            )
