"""How much each label is to be believed: five rankings, the lowest score is the most doubtful.

All take class probabilities of a model that has not seen the picture (out of fold): a model that
has learned a wrong label by heart believes it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import hypergeom

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "BOTH",
    "RANKINGS",
    "expected_precision",
    "neighbour_agreement",
    "normalised_margin",
    "output_deviation",
    "rankings",
    "self_confidence",
]

BOTH = "margin and neighbours"
"""The ranking that lists and proposals follow."""

NEIGHBOURS = 10
ROWS_AT_ONCE = 512


def self_confidence(share: NDArray[np.float64], label: NDArray[np.int64]) -> NDArray[np.float64]:
    """(n, k) probabilities and (n,) labels to the (n,) probabilities of the given labels.

    Source: Northcutt, Jiang and Chuang, "Confident learning", JAIR 70 (2021), section 3.
    """
    answer: NDArray[np.float64] = share[np.arange(len(label)), label]
    return answer


def normalised_margin(share: NDArray[np.float64], label: NDArray[np.int64]) -> NDArray[np.float64]:
    """(n,) in 0 ... 1: the given label's probability less the best other one's, moved and halved.

    Source: the same; cleanlab calls it ``normalized_margin``.
    """
    others = share.copy()
    others[np.arange(len(label)), label] = -np.inf
    best_other: NDArray[np.float64] = others.max(axis=1)
    return (self_confidence(share, label) - best_other + 1) / 2


def output_deviation(share: NDArray[np.float64], label: NDArray[np.int64]) -> NDArray[np.float64]:  # noqa: ARG001
    """(n,) standard deviations of each picture's output, whatever its label.

    Paper 4's proposal ("An Evolutionary Approach to Cleaning Labels"): a low deviation is an unsure
    network. It finds hard pictures; a wrong label on an easy picture has a high deviation.
    """
    answer: NDArray[np.float64] = share.std(axis=1)
    return answer


RANKINGS: dict[str, Callable[[NDArray[np.float64], NDArray[np.int64]], NDArray[np.float64]]] = {
    "self-confidence": self_confidence,
    "margin": normalised_margin,
    "output deviation (paper 4)": output_deviation,
}
"""Rankings that need nothing but probabilities, by the name that people see."""


def neighbour_agreement(
    features: NDArray[np.float32],
    label: NDArray[np.int64],
    group: NDArray[np.int64],
    *,
    neighbours: int = NEIGHBOURS,
) -> NDArray[np.float64]:
    """(n,) similarity-weighted shares of the nearest pictures elsewhere that have the same label.

    Args:
        features: (n, d); cosine similarity around their mean is used: what all pictures share says
            nothing, and hides what two classes that look alike differ in.
        label: (n,) classes.
        group: (n,) what a picture shares with its crops and copies: they got their label with it,
            so that they are no witnesses.
        neighbours: how many nearest pictures are asked; fewer where there are fewer.
    """
    unit = features - features.mean(axis=0)
    unit /= np.maximum(np.linalg.norm(unit, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    n = len(unit)
    k = min(neighbours, n - 1)
    if k < 1:
        return np.ones(n)
    # (n, k) the most similar so far, in any order, and their rows; -inf stands for nobody.
    best, near = np.full((n, k), -np.inf, np.float32), np.zeros((n, k), np.int64)
    for top in range(0, n, ROWS_AT_ONCE):
        rows = slice(top, min(top + ROWS_AT_ONCE, n))
        for left in range(top, n, ROWS_AT_ONCE):
            others = slice(left, min(left + ROWS_AT_ONCE, n))
            similar = unit[rows] @ unit[others].T
            similar[group[rows, None] == group[others]] = -np.inf
            _keep_nearest(best[rows], near[rows], similar, left)
            if left > top:  # what a is to b, b is to a
                _keep_nearest(best[others], near[others], similar.T, top)
    weight = np.where(np.isneginf(best), 0, np.maximum(best, 0) + 1e-6)
    total = weight.sum(axis=1)
    same = (weight * (label[near] == label[:, None])).sum(axis=1)
    answer: NDArray[np.float64] = np.divide(same, total, out=np.ones(n), where=total > 0)
    return answer


def _keep_nearest(
    best: NDArray[np.float32], near: NDArray[np.int64], similar: NDArray[np.float32], first: int
) -> None:
    """Let the columns of ``similar``, numbered from ``first`` on, into the rows' k best, in place.

    Few of them are nearer than what is known after some blocks, and only those are sorted.
    """
    row, column = np.nonzero(similar > best.min(axis=1, keepdims=True))
    if len(row) == 0:
        return
    count = np.bincount(row, minlength=len(best))
    place = np.arange(len(row)) - (np.cumsum(count) - count)[row]
    k = best.shape[1]
    values = np.full((len(best), k + int(count.max())), -np.inf, np.float32)
    numbers = np.zeros(values.shape, np.int64)
    values[:, :k], numbers[:, :k] = best, near
    values[row, k + place], numbers[row, k + place] = similar[row, column], first + column
    kept = np.argpartition(values, values.shape[1] - k, axis=1)[:, -k:]
    best[:], near[:] = np.take_along_axis(values, kept, 1), np.take_along_axis(numbers, kept, 1)


def rankings(
    share: NDArray[np.float64],
    label: NDArray[np.int64],
    features: NDArray[np.float32],
    group: NDArray[np.int64],
) -> dict[str, NDArray[np.float64]]:
    """(n,) scores of every ranking by its name; arguments are those of the rankings.

    ``BOTH`` is the sum of the margin and of the neighbours' agreement. The model's errors and the
    neighbours' are of unlike kinds: where wrong labels went to the class that looks most alike, the
    sum had the precision .89 to .98 at recall .8 and self-confidence .64 to .89; where they
    went anywhere, both had 1. Chosen on six planted worlds, told on others in docs/performance.md.
    """
    found = {name: rule(share, label) for name, rule in RANKINGS.items()}
    near = neighbour_agreement(features, label, group)
    return {**found, "neighbours": near, BOTH: found["margin"] + near}


def expected_precision(wrong: int, total: int, recall: float) -> tuple[float, float, float]:
    """Precision of a ranking by chance at a recall: mean and a 95 % interval.

    Drawing at random, the number of draws until ``ceil(recall wrong)`` wrong labels are found is
    negative hypergeometric with mean ``r (total + 1) / (wrong + 1)``; the interval is that of the
    hypergeometric count of wrong labels among the mean number of draws.
    """
    r = int(np.ceil(recall * wrong))
    draws = min(total, max(r, round(r * (total + 1) / (wrong + 1))))
    low, high = hypergeom(total, wrong, draws).interval(0.95)
    return r / draws, float(low) / draws, float(high) / draws
