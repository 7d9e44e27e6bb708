"""How sure a score is: leave each author out, and Student's t on the scale of log-odds.

Pictures of one author resemble each other and share their audience, so the author, not the
picture, is the unit (Efron and Tibshirani 1993, chapters 8 and 11). Of the intervals that were
tried on worlds without and with signal (``benchmarks/claims.py``), percentile, basic, BC and BCa
intervals of a bootstrap cover too little below 100 authors, because average precision is biased
and skew; the studentised interval on log-odds covers what it says from 20 authors on. Its standard
error comes from the jackknife: it needs no random numbers, and 200 weightings instead of 1,000.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import expit, logit
from scipy.stats import t as student

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["LeaveOut", "beyond", "bounded", "leave_out", "plain"]

MOST = 200
"""Groups that are left out in turn: an error of 5 % in the standard error, whatever the size."""

AT_ONCE = 20_000_000
"""Weights that are in memory at the same time (160 MB)."""

Values = Mapping[str, "NDArray[np.float64]"]


@dataclass(frozen=True, slots=True)
class LeaveOut:
    """``group`` (n,) of each picture, 0 ... ``count`` - 1: an author, or some of very many."""

    group: NDArray[np.int64]
    count: int

    def weights(self) -> Iterator[NDArray[np.float64]]:
        """(b, n) weights, 0 for the group that is left out and 1 for all others, block by block."""
        block = max(1, AT_ONCE // max(1, len(self.group)))
        for start in range(0, self.count, block):
            numbers = np.arange(start, min(start + block, self.count))
            yield (self.group != numbers[:, None]).astype(np.float64)

    def values(self, measure: Callable[[NDArray[np.float64]], Values]) -> Values:
        """(count,) values of every metric that ``measure`` gives for (b, n) weights."""
        blocks = [measure(weight) for weight in self.weights()]
        return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}


def leave_out(author: NDArray[np.int64], seed: int) -> LeaveOut:
    """Each author by itself; more than ``MOST`` of them dealt to so many groups by ``seed``."""
    _, number = np.unique(author, return_inverse=True)
    count = int(number.max()) + 1
    if count > MOST:
        number = (np.random.default_rng(seed).permutation(count) % MOST)[number]
    return LeaveOut(number.astype(np.int64), min(count, MOST))


def bounded(value: float, without: NDArray[np.float64], level: float = 0.95) -> tuple[float, float]:
    """Interval of a score between 0 and 1 from its (g,) values without each group.

    The jackknife's standard error is carried to the log-odds, where scores are nearer to normal.
    At 0 and 1 there are none: there the interval is the rule of three (Hanley and Lippman-Hand,
    JAMA 1983), 3 / g wide. NaN, NaN where the score or all values do not exist.
    """
    spread = _error(without)
    if not np.isfinite(value) or not np.isfinite(spread):
        return float("nan"), float("nan")
    kept = int(np.isfinite(without).sum())
    if value <= 0 or value >= 1:
        return max(0.0, value - 3 / kept), min(1.0, value + 3 / kept)
    reach = _quantile(kept, level) * spread / (value * (1 - value))
    return float(expit(logit(value) - reach)), float(expit(logit(value) + reach))


def plain(value: float, without: NDArray[np.float64], level: float = 0.95) -> tuple[float, float]:
    """Interval of a difference, (g,) values as in ``bounded``: Student's t as it is."""
    reach = _quantile(int(np.isfinite(without).sum()), level) * _error(without)
    return value - reach, value + reach


def beyond(
    value: float, without: NDArray[np.float64], null: NDArray[np.float64], level: float = 0.95
) -> tuple[float, float]:
    """Interval of a score above chance, (g,) values as in ``bounded``, of scores known to be null.

    With few authors a score below chance by luck has too small a standard error, and the plain
    interval covers .89 at 20 authors without signal. So the jackknife's variance is averaged with
    that of ``null`` (b,), the score under permuted labels; without permutations it stands alone.
    """
    spread = _error(without)
    if null.size:
        spread = float(np.sqrt((spread**2 + null.var(ddof=1)) / 2))
    reach = _quantile(int(np.isfinite(without).sum()), level) * spread
    return value - reach, value + reach


def _error(without: NDArray[np.float64]) -> float:
    """The jackknife's standard error; values that do not exist (one class left) are left out."""
    kept = without[np.isfinite(without)]
    if kept.size < 2:
        return float("nan")
    return float(np.sqrt((kept.size - 1) / kept.size * np.square(kept - kept.mean()).sum()))


def _quantile(count: int, level: float) -> float:
    return float(student.ppf(0.5 + level / 2, max(1, count - 1)))
