"""Learning curve: average precision on the held-out authors against authors trained on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from training.classifiers.solver import Path
from training.statistics.metrics import average_precision

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from training.fitting.fitted import Problem
    from training.fitting.grid import GridStore, Point

__all__ = ["learning_curve"]

FRACTIONS = (0.125, 0.25, 0.5, 1.0)
REPEATS = 3

# Precision does not move any more long before the objective is exact to the last digits.
TOLERANCE = 1e-3


def learning_curve(problem: Problem, store: GridStore, c: float) -> list[dict[str, float]]:
    """LinearSVC's precision for growing random subsets of the training authors.

    The penalty of one picture is ``c`` divided by the share of the pictures that is left, so that
    every subset is regularised alike.

    Returns:
        One dict for each size: authors, mean, low and high (least and greatest repeat).
    """
    point = store.point("learning curve", lambda: _curve(problem, c))
    curve = []
    for authors in np.unique(point["authors"]):
        own = point["average_precision"][point["authors"] == authors]
        ends = {"mean": own.mean(), "low": own.min(), "high": own.max()}
        curve.append({"authors": int(authors), **{end: float(v) for end, v in ends.items()}})
    return curve


def _curve(problem: Problem, c: float) -> Point:
    authors, scores = [], []
    for size, inside in _subsets(problem):
        authors.append(size)
        scores.append(_precision(problem, inside, c))
    return {"authors": np.array(authors), "average_precision": np.array(scores)}


def _precision(problem: Problem, inside: NDArray[np.bool_], c: float) -> float:
    """Average precision on the held-out authors of a model of the pictures ``inside``."""
    labels, matrix = problem.labels, problem.matrix
    keep = np.tile(inside, problem.views)
    rows = matrix.train(problem.views)
    rows = rows if keep.all() else rows[keep]
    share = problem.tiled(labels.weight)[keep].astype(np.float32)[None]
    path = Path(rows, problem.tiled(labels.sign)[keep], share, tolerance=TOLERANCE)
    weight = path.step(c / float(inside.mean())).weight
    scores = matrix.mean_views(matrix.test @ weight[0])
    return float(average_precision(labels.label[labels.n_train :], scores))


def _subsets(problem: Problem) -> Iterator[tuple[int, NDArray[np.bool_]]]:
    """Numbers of authors and (n_train,) their pictures; subsets of one class are left out."""
    rng = np.random.default_rng(problem.seed)
    author, label = problem.labels.author[: problem.labels.n_train], problem.train_label
    everyone = np.unique(author)
    for repeat in range(REPEATS):
        order = rng.permutation(everyone)
        for fraction in FRACTIONS if repeat == 0 else FRACTIONS[:-1]:
            chosen = order[: max(2, round(fraction * len(order)))]
            inside = np.isin(author, chosen)
            if np.unique(label[inside]).size == 2:
                yield len(chosen), inside
