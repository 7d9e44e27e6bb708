"""How sure a score is: bootstrap over authors, and permutation of whole authors.

Pictures of one author resemble each other and share their audience, so the author, not the
picture, is what is drawn (Efron and Tibshirani 1993, chapter 8: resample the independent units).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from training.statistics.metrics import average_precision

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["author_weights", "interval", "permutation_p", "permuted_labels"]


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
    """Percentile interval of (b,) bootstrap values; NaN values (one class drawn) are left out."""
    kept = values[np.isfinite(values)]
    if kept.size == 0:
        return float("nan"), float("nan")
    tail = 50 * (1 - level)
    low, high = np.percentile(kept, [tail, 100 - tail])
    return float(low), float(high)


def permuted_labels(
    label: NDArray[np.int64], author: NDArray[np.int64], permutations: int, seed: int
) -> NDArray[np.int64] | None:
    """(b, n) labellings in which whole authors of equal picture counts have swapped their labels.

    Under "no signal" such authors are exchangeable, so the test is exact although the pictures of
    one author are alike. None when no two authors have equally many pictures.
    """
    order = np.argsort(author, kind="stable")
    _, start, size = np.unique(author[order], return_index=True, return_counts=True)
    groups = [
        order[start[size == s][:, None] + np.arange(s)]
        for s in np.unique(size)
        if (size == s).sum() > 1
    ]
    if not groups:
        return None
    rng = np.random.default_rng(seed)
    labels = np.tile(label, (permutations, 1))
    for rows in groups:
        shuffle = rng.permuted(np.tile(np.arange(len(rows)), (permutations, 1)), axis=1)
        labels[:, rows] = label[rows][shuffle]
    return labels


def permutation_p(
    label: NDArray[np.int64], scores: NDArray[np.float64], permuted: NDArray[np.int64]
) -> float:
    """p of "the scores know nothing": ``(1 + #{AP of a permutation >= AP}) / (1 + b)``."""
    observed = average_precision(label, scores)
    reached = average_precision(permuted, scores) >= observed - 1e-12
    return float((1 + reached.sum()) / (1 + len(permuted)))
