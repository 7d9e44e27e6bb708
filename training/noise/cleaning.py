"""Does it help to drop the most doubtful labels? Answered on pictures that nobody has cleaned.

For each seed the groups are dealt anew: a part is left untouched, the doubt of every other picture
is judged out of fold, the ``alpha`` most doubtful by each ranking are dropped, and the accuracy on
the untouched part is compared with that after dropping as many at random.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import t as student
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupShuffleSplit, StratifiedGroupKFold

from training.noise.rankings import rankings

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from likewise.progress import Bar

__all__ = ["Gain", "does_it_help", "out_of_fold"]

FOLDS = 5
UNTOUCHED = 0.25


@dataclass(frozen=True, slots=True)
class Gain:
    """Change of the accuracy on untouched pictures, against dropping at random: mean and 95 %."""

    ranking: str
    alpha: float
    mean: float
    low: float
    high: float
    seeds: int

    @property
    def helps(self) -> bool:
        """True when the whole interval lies above nought."""
        return self.low > 0

    @property
    def sentence(self) -> str:
        """What may be said, and no more."""
        span = f"{self.mean:+.1%} ({self.low:+.1%} to {self.high:+.1%}, {self.seeds} splits)"
        what = f"dropping the {self.alpha:.0%} most doubtful by {self.ranking}"
        if self.helps:
            return f"{what} helps: {span} on untouched pictures"
        if self.high < 0:
            return f"{what} does harm: {span} on untouched pictures"
        return f"{what} does not help as far as these pictures can show: {span}"


def _model(c: float) -> LogisticRegression:
    return LogisticRegression(C=c, max_iter=1000)


def out_of_fold(
    features: NDArray[np.float32],
    label: NDArray[np.int64],
    group: NDArray[np.int64],
    *,
    seed: int,
    c: float = 1.0,
    bar: Bar | None = None,
) -> NDArray[np.float64]:
    """(n, k) probabilities of each picture by models that have seen no picture of its group.

    Args:
        features: (n, d).
        label: (n,) classes 0 ... k-1, each with at least two groups.
        group: (n,) what must stay together: authors, originals of crops, near copies.
        seed: of the folds.
        c: inverse strength of the logistic regression's penalty.
        bar: told of each of the five fits.

    A class that a fold's training part lacks gets the probability 0 there.
    """
    share = np.zeros((len(label), int(label.max()) + 1))
    n_folds = min(FOLDS, len(np.unique(group)))
    folds = StratifiedGroupKFold(n_folds, shuffle=True, random_state=seed)
    for train, test in folds.split(features, label, group):
        model = _model(c).fit(features[train], label[train])
        share[np.ix_(test, model.classes_)] = model.predict_proba(features[test])
        if bar is not None:
            bar.advance(1)
    return share


def does_it_help(
    features: NDArray[np.float32],
    label: NDArray[np.int64],
    group: NDArray[np.int64],
    *,
    alphas: Sequence[float] = (0.02, 0.05, 0.1, 0.2),
    seeds: int = 10,
    c: float = 1.0,
    bar: Bar | None = None,
) -> list[Gain]:
    """Gains of every ranking at every ``alpha`` over dropping as many pictures at random.

    Args:
        features, label, group, c: as for ``out_of_fold``.
        alphas: shares of the pictures to drop.
        seeds: how many splits.
        bar: told of each split.

    The intervals are Student's, with the variance that splits of the same pictures have (Nadeau and
    Bengio, "Inference for the generalization error", 2003, equation 17), and hold for all rankings
    and alphas together (Bonferroni): somebody will read the best of them first.
    """
    differences: dict[tuple[str, float], list[float]] = {}
    for seed in range(seeds):
        split = GroupShuffleSplit(1, test_size=UNTOUCHED, random_state=seed)
        rest, untouched = next(split.split(features, label, group))
        share = out_of_fold(features[rest], label[rest], group[rest], seed=seed, c=c)
        doubts = rankings(share, label[rest], features[rest], group[rest])
        chance = np.random.default_rng(seed).random(len(rest))
        for alpha in alphas:
            accuracy = {
                name: _accuracy_without(features, label, rest, untouched, doubt, alpha, c)
                for name, doubt in {**doubts, "": chance}.items()
            }
            for name in doubts:
                differences.setdefault((name, alpha), []).append(accuracy[name] - accuracy[""])
        if bar is not None:
            bar.advance(1)
    return [_gain(*key, values, len(differences)) for key, values in differences.items()]


def _accuracy_without(
    features: NDArray[np.float32],
    label: NDArray[np.int64],
    rest: NDArray[np.int64],
    untouched: NDArray[np.int64],
    doubt: NDArray[np.float64],
    alpha: float,
    c: float,
) -> float:
    drop = round(alpha * len(rest))
    kept = rest[np.argsort(doubt, kind="stable")[drop:]]
    model = _model(c).fit(features[kept], label[kept])
    return float(model.score(features[untouched], label[untouched]))


def _gain(ranking: str, alpha: float, values: list[float], comparisons: int) -> Gain:
    mean, n = float(np.mean(values)), len(values)
    half = float("inf")
    if n > 1:
        shared = UNTOUCHED / (1 - UNTOUCHED)
        error = float(np.std(values, ddof=1)) * np.sqrt(1 / n + shared)
        half = float(student.ppf(1 - 0.025 / comparisons, n - 1)) * error
    return Gain(ranking, alpha, mean, mean - half, mean + half, n)
