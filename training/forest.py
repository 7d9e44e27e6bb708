"""Random forest: one forest of all trees, and a smaller one for each fold.

The fold forests share the trees between them (500 trees, 5 folds: 100 each), so cross-validation
costs about as much as one forest. Their scores calibrate the whole forest and rank it beside the
others; they are a little noisier than its own, so its cross-validated precision is on the low side.
Out-of-bag scores would be free, but an author's other pictures would be in the bag.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.ensemble import RandomForestClassifier

from training.fitted import CurvePoint, Fitted, fold_scores
from training.models import TRUSTED, ForestScorer

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from training.fitted import Problem
    from training.grid import GridStore, Point

__all__ = ["NAME", "fit", "grid_points", "grow"]

NAME = "random-forest"


def grid_points(folds: int) -> int:
    """How many points ``fit`` asks its store for."""
    return folds + 1


def fit(problem: Problem, store: GridStore, trees: int) -> Fitted:
    """Cross-validate with small forests, then fit the whole one on all training pictures."""
    each = max(10, trees // len(problem.labels.folds))
    out_of_fold = np.zeros(problem.labels.n_train)
    for fold in problem.labels.folds:
        inside = problem.train_fold == fold
        point = store.point(f"fold={fold}", lambda f=fold: _fold(problem, f, each))  # type: ignore[misc]
        out_of_fold[inside] = point["scores"]
    test = store.point("whole", lambda: _whole(problem, store, trees))["test"]
    curve = [CurvePoint({"trees": each}, fold_scores(problem, out_of_fold))]

    def build(card: Mapping[str, Any]) -> ForestScorer:
        import skops.io

        return ForestScorer(card, skops.io.load(store.path("forest.skops"), trusted=TRUSTED))

    return Fitted(
        classifier=NAME,
        parameters={"trees": trees, "trees_of_each_fold": each, "max_features": "sqrt"},
        curve=curve,
        cv_ap=curve[0].mean,
        out_of_fold=out_of_fold,
        test=test,
        build=build,
        kind="forest",
        made_by={
            "curve": f"scikit-learn RandomForestClassifier, {each} trees a fold",
            "model": "scikit-learn RandomForestClassifier",
        },
    )


def _fold(problem: Problem, fold: int, trees: int) -> Point:
    keep = problem.tiled(problem.labels.fold) != fold
    forest = _forest(problem, trees, keep)
    inside = np.flatnonzero(problem.train_fold == fold)
    views = range(problem.matrix.views)
    rows = np.concatenate([inside + view * problem.labels.n_train for view in views])
    return {"scores": _scores(problem, forest, problem.matrix.all_train[rows])}


def _whole(problem: Problem, store: GridStore, trees: int) -> Point:
    import skops.io

    forest = _forest(problem, trees, None)
    store.keep(store.path("forest.skops"), lambda staged: skops.io.dump(forest, staged))
    return {"test": _scores(problem, forest, problem.matrix.test)}


def _forest(problem: Problem, trees: int, keep: NDArray[np.bool_] | None) -> RandomForestClassifier:
    rows = problem.matrix.train(problem.views)
    label, weight = problem.tiled(problem.labels.label), problem.tiled(problem.labels.weight)
    if keep is not None:
        rows, label, weight = rows[keep], label[keep], weight[keep]
    return grow(rows, label, weight, trees, jobs=problem.jobs, seed=problem.seed)


def grow(
    rows: NDArray[np.float32],
    label: NDArray[np.int64],
    weight: NDArray[np.float64] | None,
    trees: int,
    *,
    jobs: int,
    seed: int,
) -> RandomForestClassifier:
    """scikit-learn's forest on (n, d) rows; it predicts in one thread, so with the same bits.

    Several threads add up the trees in the order in which they happen to end.
    """
    forest = RandomForestClassifier(trees, n_jobs=jobs, random_state=seed)
    forest.fit(rows, label, sample_weight=weight)
    forest.n_jobs = 1
    return forest


def _scores(
    problem: Problem, forest: RandomForestClassifier, rows: NDArray[np.float32]
) -> NDArray[np.float64]:
    return problem.matrix.mean_views(forest.predict_proba(rows)[:, 1])
