"""How well k classes are told apart: top-1 and top-k, per class, against another model, open world.

Shares of pictures get Wilson's interval; where pictures come in groups (authors, originals of
crops) the bootstrap draws groups, since pictures of one group are no independent witnesses.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy.stats import binomtest
from sklearn.metrics import confusion_matrix

from training.statistics.bootstrap import author_weights, interval, mean_interval
from training.statistics.metrics import roc_auc

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "ClassRow",
    "Paired",
    "Rate",
    "Separation",
    "in_top",
    "mcnemar",
    "open_world",
    "per_class",
    "rate",
]


@dataclass(frozen=True, slots=True)
class Rate:
    """``right`` of ``of`` pictures, with a 95 % interval."""

    right: int
    of: int
    low: float
    high: float

    @property
    def value(self) -> float:
        """The share; NaN of no pictures."""
        return self.right / self.of if self.of else float("nan")

    def __str__(self) -> str:
        if not self.of:
            return "no pictures"
        return f"{self.value:.1%} ({self.low:.1%} to {self.high:.1%}; {self.right} of {self.of})"


def in_top(share: NDArray[np.float64], label: NDArray[np.int64], k: int = 1) -> NDArray[np.bool_]:
    """(n,) whether the true class is among the k most probable; ties go to the lower class.

    Args:
        share: (n, c) probabilities or scores.
        label: (n,) true classes; -1 stands for a class that no column has, and is never found.
        k: 1 ... c.
    """
    best = np.argsort(-share, axis=1, kind="stable")[:, :k]
    found: NDArray[np.bool_] = (best == label[:, None]).any(axis=1)
    return found


def rate(
    right: NDArray[np.bool_],
    group: NDArray[np.int64] | None = None,
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> Rate:
    """The share of ``right`` with Wilson's interval, or by drawing groups where there are any.

    Groups of one picture each are no groups: Wilson's interval is used. Where every group is right
    (or wrong) a bootstrap has no width, so Wilson's interval over the number of groups is taken.
    """
    n, good = len(right), int(right.sum())
    if n == 0:
        return Rate(0, 0, 0.0, 1.0)
    n_groups = n if group is None else len(np.unique(group))
    if group is None or n_groups == n or good in (0, n):
        test = binomtest(round(good / n * n_groups), n_groups)
        found = test.proportion_ci(0.95, method="wilson")
        return Rate(good, n, float(found.low), float(found.high))
    return Rate(good, n, *mean_interval(right.astype(np.float64), group, resamples, seed))


@dataclass(frozen=True, slots=True)
class ClassRow:
    """One class: recall and precision with intervals, and the class it is most taken for."""

    name: str
    recall: Rate
    precision: Rate
    taken_for: str | None


def per_class(
    said: NDArray[np.int64],
    label: NDArray[np.int64],
    names: tuple[str, ...],
    group: NDArray[np.int64] | None = None,
) -> tuple[list[ClassRow], NDArray[np.int64]]:
    """Rows of the table of classes, and the (c, c) confusion counts, true classes along rows.

    Intervals are those of ``rate``; ``group`` is (n,) as there.
    """

    def share(rows: NDArray[np.bool_], right: NDArray[np.bool_]) -> Rate:
        return rate(right[rows], None if group is None else group[rows])

    counts: NDArray[np.int64] = confusion_matrix(label, said, labels=np.arange(len(names)))
    rows = []
    for at, name in enumerate(names):
        wrong = counts[at].copy()
        wrong[at] = 0
        taken = names[int(wrong.argmax())] if wrong.any() else None
        right = (said == at) & (label == at)
        rows.append(ClassRow(name, share(label == at, right), share(said == at, right), taken))
    return rows, counts


@dataclass(frozen=True, slots=True)
class Paired:
    """Two models on the same pictures: who alone was right, and McNemar's exact p.

    ``low`` to ``high`` is the 95 % interval of the first's accuracy minus the second's.
    """

    first_only: int
    second_only: int
    p: float
    difference: float
    low: float
    high: float

    def better(self, alpha: float = 0.05) -> Literal["first", "second", "open"]:
        """Which may be called better: the test and the interval must agree."""
        if self.p >= alpha or self.low <= 0 <= self.high:
            return "open"
        return "first" if self.low > 0 else "second"

    def sentence(self, first: str = "the first", second: str = "the second") -> str:
        """What may be said; no difference is never claimed, only left open."""
        counts = (
            f"right {self.first_only} only by {first}, {self.second_only} only by {second}; "
            f"p = {self.p:.2g}"
        )
        found = self.better()
        if found == "open":
            return f"which of the two is better stays open ({counts})"
        return f"{first if found == 'first' else second} is better ({counts})"


def mcnemar(
    first: NDArray[np.bool_],
    second: NDArray[np.bool_],
    group: NDArray[np.int64] | None = None,
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> Paired:
    """Exact McNemar test on (n,) right answers of two models to the same pictures.

    Pictures of one group are no independent witnesses, which the test does not know; the interval
    draws groups. Where no picture divides the two it is the rule of three.

    Source: McNemar (1947), with the binomial distribution in the place of chi-squared.
    """
    a, b = int((first & ~second).sum()), int((second & ~first).sum())
    units = np.arange(len(first)) if group is None else group
    change = first.astype(np.float64) - second
    if a + b:
        p = float(binomtest(a, a + b).pvalue)
        low, high = mean_interval(change, units, resamples, seed)
        return Paired(a, b, p, float(change.mean()), low, high)
    reach = min(1.0, 3 / max(1, len(np.unique(units))))
    return Paired(0, 0, 1.0, 0.0, -reach, reach)


@dataclass(frozen=True, slots=True)
class Separation:
    """How well a measure tells known classes from unseen ones; NaN where a side has no picture."""

    auroc: float
    low: float
    """Of the area's 95 % interval; groups are drawn."""
    high: float
    passing_at_95: float
    """Share of the unseen pictures that pass where 95 % of the known ones do."""


def open_world(
    known: NDArray[np.float64],
    unseen: NDArray[np.float64],
    group: NDArray[np.int64] | None = None,
    *,
    resamples: int = 500,
    seed: int = 0,
) -> Separation:
    """The area under the ROC curve of known against unseen pictures, and what passes.

    Args:
        known: (n,) a measure, the larger the surer, on pictures of trained classes.
        unseen: (m,) the same on pictures of classes that were held out whole.
        group: (n + m,) groups, those of the known pictures first; None: each picture its own.
    """
    if not len(known) or not len(unseen):
        return Separation(*[float("nan")] * 4)
    side = np.concatenate([np.ones(len(known), np.int64), np.zeros(len(unseen), np.int64)])
    value = np.concatenate([known, unseen])
    units = np.arange(len(value)) if group is None else group
    block = max(1, min(resamples, 5_000_000 // len(value)))  # 40 MB of weights at a time
    drawn = [
        roc_auc(side, value, author_weights(units, min(block, resamples - at), seed + at))
        for at in range(0, resamples, block)
    ]
    # The largest threshold that at least 95 % of the known pictures reach.
    threshold = np.sort(known)[int(np.floor(0.05 * len(known)))]
    return Separation(
        float(roc_auc(side, value)),
        *interval(np.concatenate(drawn)),
        float((unseen >= threshold).mean()),
    )
