"""Who is an ordinary author: robust bounds on follower counts.

The modified z-score of Iglewicz and Hoaglin (How to Detect and Handle Outliers, ASQC 1993):
``z = 0.6745 (x - median) / MAD`` with MAD the median absolute deviation; ``|z| > 3.5`` is cut.

Follower counts span six powers of ten. On the raw scale the lower bound is negative, so only
celebrities are cut and accounts without an audience stay; on ``log1p`` both ends are cut.

Counts of zero or fewer are no audience at all: callers drop them, under their own reasons, before
they come here.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from filters.quantiles import quantile
from likewise.errors import DataError

__all__ = ["Bounds", "Scale", "bounds", "distinct_counts", "log10_histogram"]

Scale = Literal["log1p", "raw"]
Spread = Literal["mad", "mean-ad", "none"]

# 1 / 0.6745 makes the MAD of normal data its standard deviation; 1.253314 = sqrt(pi / 2) does the
# same for the mean absolute deviation, which takes over when more than half of the values agree.
CONSISTENCY = {"mad": 1 / 0.6745, "mean-ad": 1.253314, "none": 1.0}

BINS_PER_DECADE = 10
DECADES = 10


@dataclass(frozen=True, slots=True)
class Bounds:
    """The rule as data: ``lower <= x <= upper`` stays.

    ``median`` and ``deviation`` are on ``scale``; ``lower`` and ``upper`` are follower counts.
    ``spread`` says which deviation was used: ``mad``; ``mean-ad`` when the MAD is zero; ``none``
    when all values agree.
    """

    scale: Scale
    threshold: float
    spread: Spread
    median: float
    deviation: float
    lower: float
    upper: float
    exact: bool
    n: int
    kept: int
    cut_low: int
    cut_high: int

    def inside(self, values: ArrayLike) -> NDArray[np.bool_]:
        """True where a value stays."""
        x = np.asarray(values, dtype=np.float64)
        return (x >= self.lower) & (x <= self.upper)

    def z(self, values: ArrayLike) -> NDArray[np.float64]:
        """Modified z-score of each value."""
        x = _scaled(np.asarray(values, dtype=np.float64), self.scale)
        return (x - self.median) / self.unit

    @property
    def unit(self) -> float:
        """What one modified z-score is on the rule's scale; 1 when all values agree."""
        return self.deviation * CONSISTENCY[self.spread] if self.deviation else 1.0

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return asdict(self)


def bounds(
    values: ArrayLike,
    counts: ArrayLike | None = None,
    *,
    threshold: float = 3.5,
    scale: Scale = "log1p",
    exact: bool = True,
) -> Bounds:
    """Bounds of ``values`` (n,), each standing ``counts`` times (once when absent).

    ``exact`` is only written down: false when the caller has rounded the values.

    Raises:
        DataError: no value, or one that is negative or not finite.
    """
    raw = np.asarray(values, dtype=np.float64)
    times = np.ones(raw.size, np.int64) if counts is None else np.asarray(counts, dtype=np.int64)
    if raw.size == 0 or times.sum() == 0:
        raise DataError("no author has a known, positive follower count")
    if not np.isfinite(raw).all() or (raw < 0).any():
        raise DataError("follower counts must be finite and not negative")
    x = _scaled(raw, scale)
    centre = quantile(x, times, 0.5)
    spread, deviation = _spread(np.abs(x - centre), times)
    reach = threshold * deviation * CONSISTENCY[spread]
    lower, upper = _raw(centre - reach, scale), _raw(centre + reach, scale)
    if spread == "none":
        # expm1(log1p(x)) is not always x again: leave half a follower of room.
        lower, upper = lower - 0.5, upper + 0.5
    low, high = int(times[raw < lower].sum()), int(times[raw > upper].sum())
    return Bounds(
        scale=scale,
        threshold=threshold,
        spread=spread,
        median=centre,
        deviation=deviation,
        lower=lower,
        upper=upper,
        exact=exact,
        n=int(times.sum()),
        kept=int(times.sum()) - low - high,
        cut_low=low,
        cut_high=high,
    )


def _spread(away: NDArray[np.float64], times: NDArray[np.int64]) -> tuple[Spread, float]:
    mad = quantile(away, times, 0.5)
    if mad > 0:
        return "mad", mad
    mean_ad = float((away * times).sum() / times.sum())
    return ("mean-ad", mean_ad) if mean_ad > 0 else ("none", 0.0)


def distinct_counts(
    values: NDArray[np.float64], counts: NDArray[np.int64], exact_up_to: int
) -> tuple[NDArray[np.float64], NDArray[np.int64], bool]:
    """``values`` (n,), how often each stands, and whether they are exact; NaN is unknown.

    Follower counts are integers that many authors share, so distinct ones are few. Beyond
    ``exact_up_to`` they are rounded to four digits: a relative error of at most 0.05 %, the same
    for any partitioning, which an approximate sketch does not promise.
    """
    if values.size <= exact_up_to:
        return values, counts, True
    positive = np.where(values > 0, values, 1.0)
    step = 10.0 ** np.maximum(np.floor(np.log10(positive)) - 3, 0)
    rounded = np.where(values > 0, np.floor(values / step + 0.5) * step, values)
    distinct, group = np.unique(rounded, return_inverse=True)
    return distinct, np.bincount(group, weights=counts).astype(np.int64), False


def log10_histogram(values: ArrayLike, counts: ArrayLike) -> dict[str, list[float] | list[int]]:
    """Histogram of positive counts on a log axis: ``edges`` (powers of ten) and ``counts``."""
    edges = np.arange(BINS_PER_DECADE * DECADES + 1) / BINS_PER_DECADE
    logs = np.log10(np.asarray(values, dtype=np.float64))
    binned, _ = np.histogram(logs, bins=edges, weights=np.asarray(counts, dtype=np.float64))
    last = int(np.flatnonzero(binned).max(initial=0)) + 1
    return {
        "edges": [float(edge) for edge in edges[: last + 1]],
        "counts": [int(count) for count in binned[:last]],
    }


def _scaled(x: NDArray[np.float64], scale: Scale) -> NDArray[np.float64]:
    return np.log1p(x) if scale == "log1p" else x


def _raw(x: float, scale: Scale) -> float:
    return float(np.expm1(x)) if scale == "log1p" else x
