"""What every classifier of the comparison hands back, and the problem that it is given."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from likewise.errors import DataError
from training.statistics.metrics import average_precision

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from training.data.matrix import Labels, Matrix
    from training.models.saved import ForestScorer, LinearScorer

__all__ = ["CurvePoint", "Fitted", "Problem", "choose", "fold_scores"]


@dataclass(frozen=True)
class Problem:
    """One layer and one set: ``views`` is 2 when mirror images are trained on, too."""

    matrix: Matrix
    labels: Labels
    views: int
    seed: int
    jobs: int

    @property
    def set_name(self) -> str:
        """``flipped`` (mirror images and originals) or ``normal``, as in the paper's tables."""
        return "flipped" if self.views == 2 else "normal"

    def tiled(self, values: NDArray[Any]) -> NDArray[Any]:
        """(n,) values of all pictures to those of the training rows, (views * n_train,)."""
        return np.tile(values[: self.labels.n_train], self.views)

    @property
    def folds(self) -> list[int]:
        """Folds that are left out in turn; none where validation pictures choose instead."""
        return [] if self.labels.n_validation else self.labels.folds

    @property
    def train_label(self) -> NDArray[np.int64]:
        """(n_train,) labels of the training authors' pictures."""
        return self.labels.label[: self.labels.n_train]

    @property
    def train_fold(self) -> NDArray[np.int64]:
        """(n_train,) folds of the training authors' pictures."""
        return self.labels.fold[: self.labels.n_train]

    def views_of(self, chosen: NDArray[np.bool_]) -> NDArray[np.intp]:
        """Rows of the matrix that hold the chosen ones of (n_train,) pictures, view after view."""
        inside, n_train = np.flatnonzero(chosen), self.labels.n_train
        return np.concatenate([inside + view * n_train for view in range(self.matrix.views)])

    def share(self, *, whole: bool = True) -> NDArray[np.float32]:
        """(k, rows) training weights: each fold left out once, and all rows when ``whole``."""
        fold, weight = self.tiled(self.labels.fold), self.tiled(self.labels.weight)
        shares = [np.where(fold == left_out, 0.0, weight) for left_out in self.folds]
        return np.stack([*shares, weight] if whole else shares).astype(np.float32)

    def out_of_fold(self, weight: NDArray[np.float32], bias: NDArray[Any]) -> NDArray[np.float64]:
        """Scores of training pictures by the model that left their fold out, views averaged.

        (k, d) weights and (k,) biases, one for each fold in order, to (n_train,) scores.
        """
        all_scores = self.matrix.mean_views(self.matrix.all_train @ weight.T) + bias
        column = np.searchsorted(self.folds, self.train_fold)
        own: NDArray[np.float64] = all_scores[np.arange(len(column)), column]
        return own


@dataclass(frozen=True)
class CurvePoint:
    """One grid point: its parameters and the average precision of each fold, by fold.

    Folds of one class have none. It is empty when the fit diverged.
    """

    parameters: Mapping[str, float | str]
    fold_ap: Mapping[int, float]

    @property
    def mean(self) -> float:
        """Mean over the folds; NaN when the fit diverged."""
        return float(np.mean([*self.fold_ap.values()])) if self.fold_ap else float("nan")

    @property
    def spread(self) -> float:
        """Standard deviation over the folds; NaN when the fit diverged."""
        return float(np.std([*self.fold_ap.values()])) if self.fold_ap else float("nan")


@dataclass(frozen=True)
class Fitted:
    """A classifier after its cross-validation and its last fit.

    ``out_of_fold`` and ``test`` are scores of pictures whose authors the scoring model has not
    seen, mirror images averaged in. ``made_by`` says in words which program made which number.
    """

    classifier: str
    parameters: Mapping[str, Any]
    curve: Sequence[CurvePoint]
    cv_ap: float
    out_of_fold: NDArray[np.float64]
    test: NDArray[np.float64]
    build: Callable[[Mapping[str, Any]], LinearScorer | ForestScorer]
    kind: str
    made_by: Mapping[str, str]
    checks: Mapping[str, float] = field(default_factory=dict)
    notes: Sequence[str] = ()


def fold_scores(problem: Problem, scores: NDArray[np.float64]) -> dict[int, float]:
    """Average precision by fold; empty when scores are not finite, for the fit diverged."""
    if not np.isfinite(scores).all():
        return {}
    found = {}
    for fold in problem.labels.folds:
        inside = problem.train_fold == fold
        if np.unique(problem.train_label[inside]).size == 2:
            found[fold] = float(average_precision(problem.train_label[inside], scores[inside]))
    return found


def choose(curve: Sequence[CurvePoint]) -> int:
    """Index of the best grid point: highest mean over the folds, the first of equals.

    Raises:
        DataError: every point diverged, or no fold holds both classes.
    """
    means = np.array([point.mean for point in curve])
    if np.isnan(means).all():
        raise DataError(
            "no grid point has a cross-validation score: all fits diverged, or no fold holds both "
            "good and bad pictures",
            hint="collect more authors, or lower [compare] step_sizes",
        )
    return int(np.nanargmax(means))
