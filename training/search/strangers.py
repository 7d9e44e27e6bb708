"""Off-topic results: pictures that are nothing of what their class shows.

A search for "cat" also brings cat food and statues of lions. A class is described by the middle of
its most alike pictures (by the features that the model reads, always without the picture that is
judged); pictures of the other classes are known strangers to it. A picture is disowned where it
lies as far off as 95 % of the known strangers do.

How many are off topic is told by an interval whose ends rest on different rules, since classes
differ: among look-alike classes many pictures of a clean class are disowned, and strangers may look
like the class. The upper end counts whatever lies as far off as any known stranger; the lower end
only those that also stand apart from their own class. ``benchmarks/off_topic.py`` measures how
often the interval holds a share that was planted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import binomtest, norm

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Strangers", "disowned"]

CORE = 0.6
"""Share of a class that describes it: the most alike; up to 40 % may be strangers."""
DISOWNED, FARTHEST = 0.95, 0.99
"""Share of the known strangers that lies below the threshold, and below that of the upper end."""
SEEN = 0.9
"""Least share of the off-topic pictures that the upper end supposes to look like strangers."""
APART = 4.0
"""Standard deviations below its class's median from which a picture stands apart."""
ODD = 0.02
"""Share of a class without anything off topic that may stand apart all the same."""
ROUNDS = 5


@dataclass(frozen=True, slots=True)
class Strangers:
    """What was found: rows in the order of doubt, and bounds of the share that is off topic.

    ``low`` and ``high`` are Clopper-Pearson bounds of 95 % in all, see the module.
    """

    order: NDArray[np.int64]
    """(n,) row numbers, the least alike first."""
    margin: NDArray[np.float64]
    """(n,) likeness less the threshold of its class; below 0 a picture is disowned."""
    low: float
    high: float
    by_class: tuple[tuple[str, int, int], ...]
    """(class, disowned, of)."""

    def sentence(self) -> str:
        """What may be said."""
        out, of = sum(row[1] for row in self.by_class), sum(row[2] for row in self.by_class)
        far = (
            f"{out:,} of {of:,} lie as far from the others of their class as {DISOWNED:.0%} of "
            "the other classes' pictures"
        )
        if self.low > 0:
            share = f"between {self.low:.1%} and {self.high:.1%} of the pictures look off topic"
        else:
            share = (
                f"at most {self.high:.1%} of the pictures look off topic, and that any do is not "
                "shown"
            )
        return f"{share} (95 % interval): {far}"


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
    apart = np.zeros(len(points), bool)
    beyond = np.zeros(len(points), bool)
    for column in range(len(names)):
        own = columns == column
        likeness, middle = _likeness(points[own])
        # The middle one of the other classes: one that is close (ibis, flamingo) is no stranger.
        others = [points[columns == c] @ middle for c in range(len(names)) if c != column]
        cut, widest = np.median([np.quantile(o, (DISOWNED, FARTHEST)) for o in others], axis=0)
        margin[own] = likeness - cut
        beyond[own] = likeness <= widest
        apart[own] = likeness <= min(cut, _fence(likeness))
    sizes = np.bincount(columns, minlength=len(names))
    out = np.bincount(columns[margin <= 0], minlength=len(names))
    return Strangers(
        order=np.argsort(margin, kind="stable"),
        margin=margin,
        low=max(0.0, _bounds(apart)[0] - ODD),
        high=min(1.0, _bounds(beyond)[1] / SEEN),
        by_class=tuple((name, int(out[c]), int(sizes[c])) for c, name in enumerate(names)),
    )


def _bounds(found: NDArray[np.bool_]) -> tuple[float, float]:
    """Clopper-Pearson's 95 % interval of a share."""
    interval = binomtest(int(found.sum()), len(found)).proportion_ci(0.95, method="exact")
    return float(interval.low), float(interval.high)


def _fence(likeness: NDArray[np.float64]) -> float:
    """Where a class's own spread ends; told from its upper half, which holds no strangers."""
    middle, upper = np.quantile(likeness, (0.5, 0.75))
    return float(middle - APART * (upper - middle) / norm.ppf(0.75))


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
