"""Bootstrap over authors: what several intervals that must hold together are drawn from.

Pictures of one author resemble each other and share their audience, so the author, not the
picture, is what is drawn (Efron and Tibshirani 1993, chapter 8: resample the independent units).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["author_weights", "interval", "mean_interval"]

AT_ONCE = 20_000_000
"""Counts that are in memory at the same time (160 MB)."""


def author_weights(author: NDArray[np.int64], resamples: int, seed: int) -> NDArray[np.float64]:
    """How often each picture is drawn when its authors are drawn with replacement.

    Args:
        author: (n,) author of each picture.
        resamples: b, the number of bootstrap samples.
        seed: of the draw.

    Returns:
        (b, n) counts; each row draws as many authors as there are.
    """
    _, number = np.unique(author, return_inverse=True)
    n_authors = int(number.max()) + 1
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(n_authors, np.full(n_authors, 1 / n_authors), size=resamples)
    drawn: NDArray[np.float64] = counts[:, number].astype(np.float64)
    return drawn


def interval(values: NDArray[np.float64], level: float = 0.95) -> tuple[float, float]:
    """Percentile interval of (b,) bootstrap values; NaN values (one class drawn) are left out.

    It covers what it says for means; for average precision see ``intervals``.
    """
    kept = values[np.isfinite(values)]
    if kept.size == 0:
        return float("nan"), float("nan")
    tail = 50 * (1 - level)
    low, high = np.percentile(kept, [tail, 100 - tail])
    return float(low), float(high)


def mean_interval(
    values: NDArray[np.float64], group: NDArray[np.int64], resamples: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """Percentile interval of the mean of (n,) values whose groups are drawn with replacement."""
    _, number = np.unique(group, return_inverse=True)
    total, size = np.bincount(number, values), np.bincount(number)
    rng = np.random.default_rng(seed)
    block = max(1, AT_ONCE // len(size))
    means = []
    for at in range(0, resamples, block):
        drawn = rng.multinomial(
            len(size), np.full(len(size), 1 / len(size)), size=min(block, resamples - at)
        )
        means.append((drawn @ total) / (drawn @ size))
    return interval(np.concatenate(means))
