"""Tests by exchanging authors: of "the scores know nothing", and of "neither model knows more"."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import rankdata

from training.statistics.metrics import average_precision, precision_of_rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["null_precisions", "permutation_p", "permuted_labels", "swap_p"]

AT_ONCE = 5_000_000
"""Scores that are sorted at the same time (about 200 MB with their order and sums)."""

LEAST_SWAPS = 199
MOST_SORTED = 40_000_000
"""Scores that one test sorts at most (about 5 s); fewer swaps are made of very many pictures."""


def permuted_labels(
    label: NDArray[np.int64], author: NDArray[np.int64], permutations: int, seed: int
) -> NDArray[np.int8] | None:
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
    labels = np.tile(label.astype(np.int8), (permutations, 1))
    for rows in groups:
        shuffle = rng.permuted(np.tile(np.arange(len(rows)), (permutations, 1)), axis=1)
        labels[:, rows] = label[rows].astype(np.int8)[shuffle]
    return labels


def null_precisions(scores: NDArray[np.float64], permuted: NDArray[np.int8]) -> NDArray[np.float64]:
    """(b,) average precisions of (n,) scores under each of the (b, n) permuted labellings."""
    block = max(1, AT_ONCE // len(scores))
    return np.concatenate(
        [
            average_precision(permuted[start : start + block], scores)
            for start in range(0, len(permuted), block)
        ]
    )


def permutation_p(observed: float, null: NDArray[np.float64]) -> float:
    """p of "the scores know nothing": ``(1 + #{AP of a permutation >= AP}) / (1 + b)``."""
    return float((1 + (null >= observed - 1e-12).sum()) / (1 + len(null)))


def swap_p(
    label: NDArray[np.int64],
    left: NDArray[np.float64],
    right: NDArray[np.float64],
    author: NDArray[np.int64],
    permutations: int,
    seed: int,
) -> float:
    """p of "left has no higher average precision than right", by swapping the two authorwise.

    If neither knew more, an author's scores could as well have come from the other model (paired
    randomisation: Smucker, Allan and Carterette, CIKM 2007). Ranks within each model are swapped,
    since scores of different models have different units.
    """
    n = len(label)
    ranks = np.stack([rankdata(left), rankdata(right)]) / n
    swaps = min(permutations, max(LEAST_SWAPS, MOST_SORTED // (2 * n)))
    _, number = np.unique(author, return_inverse=True)
    rng = np.random.default_rng(seed)
    observed = float(np.diff(precision_of_rows(label, ranks[::-1]))[0])
    reached = 0
    block = max(1, AT_ONCE // n)
    for start in range(0, swaps, block):
        size = min(block, swaps - start)
        swapped = rng.random((size, int(number.max()) + 1))[:, number] < 0.5
        one = precision_of_rows(label, np.where(swapped, ranks[1], ranks[0]))
        other = precision_of_rows(label, np.where(swapped, ranks[0], ranks[1]))
        reached += int((one - other >= observed - 1e-12).sum())
    return (1 + reached) / (1 + swaps)
