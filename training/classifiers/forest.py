"""Random forest: one forest of all trees, and a smaller one for each fold.

The fold forests share the trees between them (500 trees, 5 folds: 100 each), so cross-validation
costs about as much as one forest. Their scores calibrate the whole forest and rank it beside the
others; they are a little noisier than its own, so its cross-validated precision is on the low side.
Out-of-bag scores would be free, but an author's other pictures would be in the bag.

Every forest grows in bundles of trees with seeds of their own, so it is the same forest wherever
its bundles grow, and a killed run loses one of them.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.ensemble import RandomForestClassifier

from likewise.errors import UsageError
from training.data.mapped import let_go, open_rows
from training.fitting.fitted import CurvePoint, Fitted, fold_scores
from training.models.saved import TRUSTED, ForestScorer

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from training.fitting.fitted import Problem
    from training.fitting.grid import GridStore, Point
    from training.fitting.workers import Workers

__all__ = ["NAME", "Bundle", "check_engine", "fit", "grid_points", "grow", "grow_bundle"]

NAME = "random-forest"
BUNDLE = 50
CHUNK = 1024
WHOLE = -1


def grid_points(folds: int, trees: int) -> int:
    """How many points ``fit`` asks its store for."""
    return folds * len(_sizes(_each(folds, trees))) + len(_sizes(trees))


def check_engine(engine: str) -> None:
    """Raises UsageError when the engine ``intelex`` is asked for and not installed."""
    if engine == "intelex" and importlib.util.find_spec("sklearnex") is None:
        raise UsageError(
            '[compare] forest_engine = "intelex" needs the package scikit-learn-intelex',
            hint="pip install 'likewise[intelex]', or set forest_engine = \"scikit-learn\"",
        )


def fit(problem: Problem, store: GridStore, trees: int, workers: Workers, engine: str) -> Fitted:
    """Cross-validate with small forests, then fit the whole one on all training pictures."""
    folds = problem.labels.folds
    each = _each(len(folds), trees)
    if engine == "intelex" and (problem.labels.weight != problem.labels.weight[0]).any():
        raise UsageError(
            '[compare] forest_engine = "intelex" knows no weights, and the labels have some',
            hint='set forest_engine = "scikit-learn"',
        )
    bundles = [(f, number, size) for f in folds for number, size in enumerate(_sizes(each))]
    bundles += [(WHOLE, number, size) for number, size in enumerate(_sizes(trees))]
    calls = {
        _title(f, number): _call(problem, f, number, size, engine) for f, number, size in bundles
    }
    let_go(problem.matrix.rows)  # bundles map the file by themselves
    points = store.points(calls, lambda missing: workers.threaded(grow_bundle, missing))
    votes_of = {title: point["votes"] for title, point in points.items()}
    del points  # of many trees: read again when the model is saved
    out_of_fold = np.zeros(problem.labels.n_train)
    for fold in folds:
        votes = _mean_votes(votes_of, fold, _sizes(each))
        out_of_fold[problem.train_fold == fold] = problem.matrix.mean_views(votes)
    curve = [CurvePoint({"trees": each}, fold_scores(problem, out_of_fold))]
    test = problem.matrix.mean_views(_mean_votes(votes_of, WHOLE, _sizes(trees)))

    def build(card: Mapping[str, Any]) -> ForestScorer:
        titles = [_title(WHOLE, number) for number in range(len(_sizes(trees)))]
        return ForestScorer(card, _joined(store.finished(title)["forest"] for title in titles))

    program = {"scikit-learn": "scikit-learn", "intelex": "scikit-learn-intelex"}[engine]
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
            "curve": f"{program} RandomForestClassifier, {each} trees a fold",
            "model": f"{program} RandomForestClassifier",
        },
    )


def _each(folds: int, trees: int) -> int:
    return max(10, trees // folds)


def _sizes(trees: int) -> list[int]:
    """Trees of each bundle."""
    return [min(BUNDLE, trees - at) for at in range(0, trees, BUNDLE)]


def _title(fold: int, number: int) -> str:
    return f"{'whole' if fold == WHOLE else f'fold={fold}'} trees={number * BUNDLE}"


def _mean_votes(
    votes_of: Mapping[str, NDArray[np.float64]], fold: int, sizes: list[int]
) -> NDArray[np.float64]:
    votes = np.stack([votes_of[_title(fold, number)] for number in range(len(sizes))])
    return np.average(votes, axis=0, weights=sizes)


def _call(problem: Problem, fold: int, number: int, trees: int, engine: str) -> dict[str, Any]:
    """Arguments of ``grow_bundle``: which rows to grow on and which to score."""
    matrix = problem.matrix
    held_out = np.arange(len(matrix.all_train), len(matrix.rows))
    scored = held_out if fold == WHOLE else problem.views_of(problem.train_fold == fold)
    state = np.random.SeedSequence([problem.seed, fold + 1, number]).generate_state(1)
    label, fold_of = problem.tiled(problem.labels.label), problem.tiled(problem.labels.fold)
    grown = np.flatnonzero(fold_of != fold)
    return {
        "bundle": Bundle(
            path=matrix.path,
            grown=grown,
            label=label[grown],
            weight=problem.tiled(problem.labels.weight)[grown],
            scored=scored,
            trees=trees,
            seed=int(state[0]),
            engine=engine,
            kept=fold == WHOLE,
        )
    }


@dataclass(frozen=True)
class Bundle:
    """Trees to grow on the rows ``grown`` of a mapped file, and rows to vote on with them.

    ``label`` and ``weight`` are those of the rows to grow on.
    """

    path: Path
    grown: NDArray[np.intp]
    label: NDArray[np.int64]
    weight: NDArray[np.float64]
    scored: NDArray[np.intp]
    trees: int
    seed: int
    engine: str
    kept: bool


def grow_bundle(bundle: Bundle, *, jobs: int) -> Point:
    """``votes`` for the rows to score; a task for ``Workers``.

    A bundle that is kept also comes back as ``forest``, the bytes of a skops file.
    """
    import skops.io

    rows, grown, scored = open_rows(bundle.path), bundle.grown, bundle.scored
    # Rows that stand together need no copy.
    together = grown[-1] - grown[0] == len(grown) - 1
    forest = grow(
        rows[grown[0] : grown[-1] + 1] if together else rows[grown],
        bundle.label,
        bundle.weight,
        bundle.trees,
        jobs=jobs,
        seed=bundle.seed,
        engine=bundle.engine,
    )
    parts = [scored[at : at + CHUNK] for at in range(0, len(scored), CHUNK)]
    votes = [forest.predict_proba(rows[part])[:, 1] for part in parts]
    point: Point = {"votes": np.concatenate(votes)}
    if bundle.kept:
        point["forest"] = np.frombuffer(skops.io.dumps(forest), np.uint8)
    return point


def grow(
    rows: NDArray[np.float32],
    label: NDArray[np.int64],
    weight: NDArray[np.float64] | None,
    trees: int,
    *,
    jobs: int,
    seed: int,
    engine: str = "scikit-learn",
) -> RandomForestClassifier:
    """A forest on (n, d) rows, of scikit-learn's classes whatever the engine that grew it.

    It predicts in one thread, so with the same bits: several threads add up the trees in the order
    in which they happen to end.
    """
    forest = RandomForestClassifier(trees, n_jobs=jobs, random_state=seed)
    if engine == "scikit-learn":
        forest.fit(rows, label, sample_weight=weight)
    else:
        from sklearnex import ensemble

        # Handed weights, also equal ones, it leaves the work to scikit-learn without a word.
        faster = ensemble.RandomForestClassifier(trees, n_jobs=jobs, random_state=seed)
        faster.fit(rows, label)
        for name in ("classes_", "n_classes_", "n_outputs_", "n_features_in_", "estimators_"):
            setattr(forest, name, getattr(faster, name))
    forest.n_jobs = 1
    return forest


def _joined(bundles: Iterable[NDArray[np.uint8]]) -> RandomForestClassifier:
    """One forest of the trees of all bundles, each the bytes of a skops file."""
    import skops.io

    forests = [skops.io.loads(bundle.tobytes(), trusted=TRUSTED) for bundle in bundles]
    whole: RandomForestClassifier = forests[0]
    whole.estimators_ = [tree for forest in forests for tree in forest.estimators_]
    whole.n_estimators = len(whole.estimators_)
    return whole
