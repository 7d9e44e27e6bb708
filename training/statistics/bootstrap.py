"""Bootstrap over authors: what several intervals that must hold together are drawn from.

Pictures of one author resemble each other and share their audience, so the author, not the
picture, is what is drawn (Efron and Tibshirani 1993, chapter 8: resample the independent units).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["author_weights", "interval"]


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
