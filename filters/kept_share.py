"""The threshold of the outlier rule that keeps a wanted share of the authors."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from filters.outliers import Scale, bounds

__all__ = ["threshold_keeping"]

ROOM = 1e-9
"""Added to the threshold: the way to followers and back must not cut the last one."""


def threshold_keeping(
    values: ArrayLike, counts: ArrayLike | None = None, *, share: float, scale: Scale = "log1p"
) -> float:
    """Smallest threshold of ``outliers.bounds`` at which at least ``share`` of the authors stay.

    Studies say how much they cut rather than at which z: the paper's rule cut 40 % of its pictures.

    Args:
        values: (n,) follower counts above zero.
        counts: (n,) authors of each count; one each when absent.
        share: 0 < share <= 1 of the authors.
        scale: of the rule.

    Raises:
        DataError: no value, or one that is negative or not finite.
    """
    x = np.asarray(values, dtype=np.float64)
    times = np.ones(x.size) if counts is None else np.asarray(counts, dtype=np.float64)
    away = np.abs(bounds(x, counts, scale=scale).z(x))
    order = np.argsort(away)
    kept = np.cumsum(times[order]) / times.sum()
    last = int(np.searchsorted(kept, share * (1 - 1e-12)))
    return float(away[order[last]] * (1 + ROOM) + ROOM)
