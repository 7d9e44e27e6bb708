"""Learning curve: average precision on the held-out authors against authors trained on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from training.metrics import average_precision
from training.solver import Path

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from training.fitted import Problem
    from training.grid import GridStore, Point

__all__ = ["learning_curve"]

FRACTIONS = (0.125, 0.25, 0.5, 0.75, 1.0)
REPEATS = 4


def learning_curve(problem: Problem, store: GridStore, c: float) -> list[dict[str, float]]:
    """LinearSVC's precision for growing random subsets of the training authors.

    All subsets are solved in one batch. The penalty of one picture is ``c`` times the share that
    is left out, so that every subset is regularised alike.

    Returns:
        One dict for each size: authors, mean, low and high (least and greatest repeat).
    """
    point = store.point("learning curve", lambda: _curve(problem, c))
    curve = []
    for authors in np.unique(point["authors"]):
        own = point["average_precision"][point["authors"] == authors]
        curve.append(
            {
                "authors": int(authors),
                "mean": float(own.mean()),
                "low": float(own.min()),
                "high": float(own.max()),
            }
        )
    return curve


def _curve(problem: Problem, c: float) -> Point:
    labels = problem.labels
    share, authors = _subsets(problem)
    rows, sign = problem.matrix.train(problem.views), problem.tiled(labels.sign)
    found = Path(rows, sign, share).step(c)
    scores = problem.matrix.mean_views(problem.matrix.test @ found.weight.T)
    test = labels.label[labels.n_train :]
    return {
        "authors": authors,
        "average_precision": np.array([average_precision(test, own) for own in scores.T]),
    }


def _subsets(problem: Problem) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """(k, rows) shares and (k,) numbers of authors; subsets of one class are left out."""
    rng = np.random.default_rng(problem.seed)
    author, label = problem.labels.author[: problem.labels.n_train], problem.train_label
    everyone = np.unique(author)
    shares, sizes = [], []
    for _ in range(REPEATS):
        order = rng.permutation(everyone)
        for fraction in FRACTIONS:
            chosen = order[: max(2, round(fraction * len(order)))]
            inside = np.isin(author, chosen)
            if np.unique(label[inside]).size == 2:
                weight = inside * problem.labels.weight[: len(author)] / inside.mean()
                shares.append(np.tile(weight, problem.views))
                sizes.append(len(chosen))
    return np.stack(shares).astype(np.float32), np.array(sizes)
