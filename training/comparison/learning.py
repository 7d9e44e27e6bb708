"""Learning curve: average precision on the held-out authors against authors trained on.

Each point is the mean over a few random subsets of the training authors; its interval is that of
the mean over the held-out authors, so it has its width at full data, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from training.classifiers.solver import Path
from training.comparison.results import LearningPoint
from training.statistics.intervals import bounded
from training.statistics.metrics import average_precision

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from training.comparison.judge import Judge
    from training.fitting.fitted import Problem
    from training.fitting.grid import GridStore, Point

__all__ = ["held_out_scores", "learning_curve"]

FRACTIONS = (0.125, 0.25, 0.5, 1.0)
REPEATS = 3

# Precision does not move any more long before the objective is exact to the last digits.
TOLERANCE = 1e-3


def learning_curve(
    problem: Problem, store: GridStore, c: float, judge: Judge
) -> list[LearningPoint]:
    """LinearSVC's precision for growing random subsets of the training authors.

    The penalty of one picture is ``c`` divided by the share of the pictures that is left, so that
    every subset is regularised alike.
    """
    point = store.point("learning curve", lambda: _curve(problem, c))
    curve = []
    for authors in np.unique(point["authors"]):
        own = point["scores"][point["authors"] == authors]
        mean = float(np.mean([average_precision(judge.label, scores) for scores in own]))
        without = judge.left_out.values(lambda weight, own=own: _mean(judge.label, own, weight))  # type: ignore[misc]
        low, high = bounded(mean, without["mean"])
        curve.append(LearningPoint(int(authors), mean, low, high))
    return curve


def _mean(
    label: NDArray[np.int64], own: NDArray[np.float64], weight: NDArray[np.float64]
) -> dict[str, NDArray[np.float64]]:
    """Mean over the subsets' (k, n) scores, for (b, n) weights."""
    return {"mean": np.mean([average_precision(label, scores, weight) for scores in own], axis=0)}


def _curve(problem: Problem, c: float) -> Point:
    authors, scores = [], []
    for size, inside in _subsets(problem):
        authors.append(size)
        scores.append(held_out_scores(problem, inside, c))
    return {"authors": np.array(authors), "scores": np.stack(scores)}


def held_out_scores(problem: Problem, inside: NDArray[np.bool_], c: float) -> NDArray[np.float64]:
    """Scores of the held-out pictures by a LinearSVC of the (n_train,) pictures ``inside``."""
    labels, matrix = problem.labels, problem.matrix
    keep = np.tile(inside, problem.views)
    rows = matrix.train(problem.views)
    rows = rows if keep.all() else rows[keep]
    share = problem.tiled(labels.weight)[keep].astype(np.float32)[None]
    path = Path(rows, problem.tiled(labels.sign)[keep], share, tolerance=TOLERANCE)
    weight = path.step(c / float(inside.mean())).weight
    return matrix.mean_views(matrix.test @ weight[0])


def _subsets(problem: Problem) -> Iterator[tuple[int, NDArray[np.bool_]]]:
    """Numbers of authors and (n_train,) their pictures; subsets of one class are left out."""
    rng = np.random.default_rng(problem.seed)
    group, label = problem.labels.group[: problem.labels.n_train], problem.train_label
    everyone = np.unique(group)
    for repeat in range(REPEATS):
        order = rng.permutation(everyone)
        for fraction in FRACTIONS if repeat == 0 else FRACTIONS[:-1]:
            chosen = order[: max(2, round(fraction * len(order)))]
            inside = np.isin(group, chosen)
            if np.unique(label[inside]).size == 2:
                yield len(chosen), inside
