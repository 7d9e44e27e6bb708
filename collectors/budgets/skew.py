"""How far a server's clock is from ours, from the ``Date`` headers of its answers (RFC 9110)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

__all__ = ["Skew"]

RESOLUTION_S = 1.0
"""``Date`` is told in whole seconds, cut off."""


class Skew:
    """Bounds of the server's clock minus ours; every answer narrows them.

    An answer dated D, asked for at S and received at R by our clock, was dated in between. So the
    server's clock minus ours lies between D - R and D + 1 - S. An answer that contradicts the
    earlier ones (one of the clocks was set) starts anew.
    """

    def __init__(self) -> None:
        self._least = -math.inf
        self._most = math.inf

    @property
    def seconds(self) -> float:
        """The guess; 0 as long as equal clocks explain every answer."""
        if self._least <= 0.0 <= self._most:
            return 0.0
        return (self._least + self._most) / 2

    def note(self, headers: Mapping[str, str], started: float, received: float) -> None:
        """Take in the headers (lower case) of an answer; one from a cache tells nothing."""
        dated = None if "age" in headers else _epoch(headers.get("date", ""))
        if dated is None:
            return
        least, most = dated - received, dated + RESOLUTION_S - started
        agrees = max(least, self._least) <= min(most, self._most)
        self._least = max(least, self._least) if agrees else least
        self._most = min(most, self._most) if agrees else most


def _epoch(text: str) -> float | None:
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
