"""Off-topic results: pictures that are nothing of what their class shows.

A search for "cat" also brings cat food and statues of lions. A class is described by the middle of
its most alike pictures (by the features that the model reads, always without the picture that is
judged); pictures of the other classes are known strangers to it. A picture is disowned where it
lies as far off as 95 % of the known strangers do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import binomtest

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Strangers", "disowned"]

CORE = 0.6
"""Share of a class that describes it: the most alike; up to 40 % may be strangers."""
SENSITIVITY = (0.90, 0.95, 0.99)
"""Share of the known strangers below the threshold: for the lower end, the estimate, the upper."""
ROUNDS = 5


@dataclass(frozen=True, slots=True)
class Strangers:
    """What was found: rows in the order of doubt, and the share of off-topic pictures.

    ``low`` and ``high`` hold Wilson's 95 % interval and thresholds that 90 to 99 % of the known
    strangers fall below.
    """

    order: NDArray[np.int64]
    """(n,) row numbers, the least alike first."""
    margin: NDArray[np.float64]
    """(n,) likeness less the threshold of its class; below 0 a picture is disowned."""
    share: float
    low: float
    high: float
    by_class: tuple[tuple[str, int, int], ...]
    """(class, disowned, of)."""

    def sentence(self) -> str:
        """What may be said."""
        return (
            f"about {self.share:.1%} of the pictures ({self.low:.1%} to {self.high:.1%}) look off "
            "topic: out of fold, they are no more like their class than pictures of the others"
        )


def disowned(
    features: NDArray[np.float32], columns: NDArray[np.int64], names: Sequence[str]
) -> Strangers:
    """Judge n pictures by (n, d) features and (n,) classes 0 ... k-1; k is 2 or more.

    Raises:
        ValueError: a class has fewer than 3 pictures.
    """
    if np.bincount(columns, minlength=len(names)).min() < 3:
        raise ValueError("every class needs 3 pictures to be described")
    # The square root tames single large activations; lengths say how contrasty a picture is.
    points = np.sqrt(np.maximum(features, 0.0)).astype(np.float64)
    points /= np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1e-12)
    margin = np.empty(len(points))
    counts = np.zeros((len(SENSITIVITY), len(names)), np.int64)
    for column in range(len(names)):
        own = columns == column
        likeness, middle = _likeness(points[own])
        # The middle one of the other classes: one that is close (ibis, flamingo) is no stranger.
        others = [points[columns == c] @ middle for c in range(len(names)) if c != column]
        cuts = np.median([np.quantile(other, SENSITIVITY) for other in others], axis=0)
        counts[:, column] = (likeness[None] <= cuts[:, None]).sum(axis=1)
        margin[own] = likeness - cuts[1]
    n = len(points)
    totals = counts.sum(axis=1)
    ends = [binomtest(int(t), n).proportion_ci(0.95, method="wilson") for t in totals]
    sizes = np.bincount(columns, minlength=len(names))
    return Strangers(
        order=np.argsort(margin, kind="stable"),
        margin=margin,
        share=float(min(1.0, totals[1] / n / SENSITIVITY[1])),
        low=float(ends[0].low),
        high=float(min(1.0, ends[2].high)),
        by_class=tuple((name, int(counts[1, c]), int(sizes[c])) for c, name in enumerate(names)),
    )


def _likeness(points: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(m,) likeness of each picture to the middle of the others' core, and that middle (d,)."""
    core = np.ones(len(points), bool)
    likeness = np.zeros(len(points))
    for _ in range(ROUNDS):
        total = points[core].sum(axis=0)
        without = total[None] - core[:, None] * points
        without /= np.maximum(np.linalg.norm(without, axis=1, keepdims=True), 1e-12)
        likeness = (without * points).sum(axis=1)
        core = likeness >= np.quantile(likeness, 1 - CORE)
    middle = points[core].sum(axis=0)
    return likeness, middle / max(np.linalg.norm(middle), 1e-12)
