"""k classes: the problem, what a classifier hands back, and how grid points are judged.

What chooses among grid points and classifiers is the *held* pictures: those of validation where
the study has such a part, else every training picture by a model that left its fold out. They are
judged by the cross-entropy of probabilities with one temperature, the same way for every kind of
classifier; accuracy alone ties too often on a few hundred pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import log_softmax

from likewise.errors import DataError
from training.fitting.fitted import Problem
from training.statistics.temperature import temperature

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from training.fitting.grid import GridStore, Point
    from training.models.classes import ClassScorer

__all__ = [
    "PENALTIES",
    "ClassFitted",
    "ClassPoint",
    "ClassProblem",
    "Penalised",
    "choose_class",
    "judged",
    "mean_square",
    "penalised",
]


PENALTIES = (0.01, 0.1, 1.0, 10.0, 100.0)
"""C of logistic regressions on rows of mean squared length 1, so that one C means one thing."""


class ClassProblem(Problem):
    """A ``Problem`` whose labels are the numbers of ``labels.known``."""

    @property
    def n_classes(self) -> int:
        """Classes that are learned."""
        return len(self.labels.known)

    @property
    def held_label(self) -> NDArray[np.int64]:
        """(h,) classes of the held pictures."""
        return self.labels.label[self.labels.validation] if not self.folds else self.train_label

    def each_against_rest(self, store: GridStore) -> list[tuple[ClassProblem, GridStore]]:
        """For each class the problem of two, 1 for its pictures, and a store below ``store``."""
        label = self.labels.label
        return [
            (
                replace(self, labels=replace(self.labels, label=(label == k).astype(np.int64))),
                store.below(f"class={k}"),
            )
            for k in range(self.n_classes)
        ]

    def held_scores(self, weight: NDArray[np.float32], bias: NDArray[Any]) -> NDArray[np.float64]:
        """(h,) scores of one output by (m, d) weights and (m,) biases: a model a fold, or one."""
        if self.folds:
            return self.out_of_fold(weight, bias)
        scores: NDArray[np.float64] = self.of_validation(weight[0]) + bias[0]
        return scores

    def of_validation(self, weight: NDArray[np.float32]) -> NDArray[np.float64]:
        """(h, ...) products of validation pictures with (d, ...) weights, views averaged."""
        n, rest = self.labels.n_validation, self.matrix.n_test
        views = [self.matrix.test[v * rest : v * rest + n] for v in range(self.matrix.views)]
        mean: NDArray[np.float64] = np.mean([x @ weight for x in views], axis=0, dtype=np.float64)
        return mean

    def fits(self) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
        """(rows to train on, held pictures that the model judges) of each fit before the last.

        Rows are those of ``matrix.train(views)``; held pictures are numbers of ``held_label``.
        """
        every = np.arange(self.views * self.labels.n_train)
        if not self.folds:
            yield every, np.arange(self.labels.n_validation)
            return
        fold = self.tiled(self.labels.fold)
        for left_out in self.folds:
            yield every[fold != left_out], np.flatnonzero(self.train_fold == left_out)

    def held_views(self, held: NDArray[np.intp]) -> Iterator[NDArray[np.float32]]:
        """Each view's (h, d) features of these held pictures."""
        matrix = self.matrix
        start, step = (0, matrix.n_train) if self.folds else (len(matrix.all_train), matrix.n_test)
        for view in range(matrix.views):
            yield matrix.rows[start + view * step + held]


@dataclass(frozen=True)
class ClassPoint:
    """One grid point on the held pictures; cross-entropy is NaN when the fit diverged.

    ``losses`` (h,) are the cross-entropies of the held pictures, one by one.
    """

    parameters: Mapping[str, float | str]
    accuracy: float
    cross_entropy: float
    temperature: float
    losses: NDArray[np.float64] = field(repr=False, compare=False)


@dataclass(frozen=True)
class ClassFitted:
    """A classifier of k classes after its choice and its last fit.

    ``held`` (h, k) are scores of the held pictures, ``rest`` (n - n_train, k) those of validation,
    test and unseen classes; mirror images are averaged in. Probabilities are
    ``softmax(scores / temperature)``. ``steps`` is the course of a training by steps.
    """

    classifier: str
    parameters: Mapping[str, Any]
    curve: Sequence[ClassPoint]
    chosen: ClassPoint
    held: NDArray[np.float64]
    rest: NDArray[np.float64]
    build: Callable[[Mapping[str, Any]], ClassScorer]
    kind: str
    made_by: Mapping[str, str]
    checks: Mapping[str, float] = field(default_factory=dict)
    notes: Sequence[str] = ()
    steps: Sequence[Mapping[str, float]] = ()


def judged(
    parameters: Mapping[str, float | str], scores: NDArray[np.float64], label: NDArray[np.int64]
) -> ClassPoint:
    """A grid point by its (h, k) scores of the held pictures."""
    if not np.isfinite(scores).all():
        none = float("nan")
        return ClassPoint(parameters, none, none, none, np.full(len(label), np.nan))
    warm = temperature(scores, label)
    losses = -log_softmax(scores / warm, axis=1)[np.arange(len(label)), label]
    right = float((scores.argmax(axis=1) == label).mean())
    return ClassPoint(parameters, right, float(losses.mean()), warm, losses)


def choose_class(curve: Sequence[ClassPoint], *, simplest_first: bool = True) -> int:
    """Index of the point of least cross-entropy, or the simplest that is as good.

    Where the simplest stands first, the first point is taken that exceeds the least by no more than
    one standard error of the difference, picture by picture: on few held pictures the least of all
    is often an extreme that chance put there. Source: Breiman et al., "Classification and
    regression trees" (1984), section 3.4.3 (the 1 SE rule).

    Raises:
        DataError: every point diverged.
    """
    losses = np.array([point.cross_entropy for point in curve])
    if np.isnan(losses).all():
        raise DataError(
            "no grid point has a cross-entropy: all fits diverged",
            hint="lower [compare] step_sizes",
        )
    best = int(np.nanargmin(losses))
    if not simplest_first:
        return best
    for at, point in enumerate(curve[:best]):
        excess = point.losses - curve[best].losses
        if excess.mean() <= excess.std(ddof=1) / np.sqrt(len(excess)):
            return at
    return best


def mean_square(rows: NDArray[np.float32]) -> float:
    """Mean squared length of (n, d) rows; never 0."""
    parts = (rows[at : at + 1024] for at in range(0, len(rows), 1024))
    total = sum(float(np.square(part, dtype=np.float64).sum()) for part in parts)
    return max(total / max(len(rows), 1), 1e-30)


@dataclass(frozen=True)
class Penalised:
    """What ``penalised`` chose: the curve, its point, scores of the held pictures, the model."""

    curve: Sequence[ClassPoint]
    chosen: ClassPoint
    held: NDArray[np.float64]
    model: Point


def penalised(
    problem: ClassProblem,
    store: GridStore,
    fit: Callable[[float, NDArray[np.intp]], Point],
    score: Callable[[Point, NDArray[np.float32]], NDArray[np.float64]],
) -> Penalised:
    """Choose among ``PENALTIES`` on the held pictures, then fit all training pictures.

    Args:
        problem: the classes.
        store: keeps what is finished.
        fit: a penalty and rows of ``matrix.train(views)`` to a model's arrays.
        score: such arrays and (n, d) features to (n, k) scores.
    """

    def judge(c: float) -> Point:
        scores = np.empty((len(problem.held_label), problem.n_classes))
        model: Point = {}
        for rows, held in problem.fits():
            model = fit(c, rows)
            scores[held] = np.mean([score(model, x) for x in problem.held_views(held)], axis=0)
        # Without folds the model that was judged is the last one, too.
        return {"held": scores} if problem.folds else {"held": scores, **model}

    points = [store.point(f"C={c:g}", lambda c=c: judge(c)) for c in PENALTIES]  # type: ignore[misc]
    curve = [
        judged({"C": c}, point["held"], problem.held_label)
        for c, point in zip(PENALTIES, points, strict=True)
    ]
    best = choose_class(curve)
    model = points[best]
    if problem.folds:
        every = np.arange(problem.views * problem.labels.n_train)
        model = store.point("refit", lambda: fit(PENALTIES[best], every))
    return Penalised(curve, curve[best], points[best]["held"], model)
