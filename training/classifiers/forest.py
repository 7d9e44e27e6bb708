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
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.ensemble import RandomForestClassifier

from likewise.errors import UsageError
from training.data.mapped import let_go, open_rows
from training.fitting.classes import ClassFitted, judged
from training.fitting.fitted import CurvePoint, Fitted, fold_scores
from training.models.classes import TRUSTED, ForestClasses, log_votes
from training.models.saved import ForestScorer

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from training.fitting.classes import ClassProblem
    from training.fitting.fitted import Problem
    from training.fitting.grid import GridStore, Point
    from training.fitting.workers import Workers

__all__ = [
    "NAME",
    "Bundle",
    "check_engine",
    "fit",
    "fit_classes",
    "grid_points",
    "grow",
    "grow_bundle",
]

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
    grown = _Grown(problem, store, trees, workers, engine)
    out_of_fold = np.zeros(problem.labels.n_train)
    for fold in problem.folds:
        out_of_fold[problem.train_fold == fold] = problem.matrix.mean_views(grown.votes(fold))
    curve = [CurvePoint({"trees": grown.each}, fold_scores(problem, out_of_fold))]
    return Fitted(
        classifier=NAME,
        parameters={"trees": trees, "trees_of_each_fold": grown.each, "max_features": "sqrt"},
        curve=curve,
        cv_ap=curve[0].mean,
        out_of_fold=out_of_fold,
        test=problem.matrix.mean_views(grown.votes(WHOLE)),
        build=lambda card: ForestScorer(card, grown.forest()),
        kind="forest",
        made_by=grown.made_by,
    )


def fit_classes(
    problem: ClassProblem, store: GridStore, trees: int, workers: Workers, engine: str
) -> ClassFitted:
    """The same forests on the numbers of k classes; scores are logarithms of votes."""
    grown = _Grown(problem, store, trees, workers, engine, classes=problem.n_classes)
    # Logarithms first, then the mean of the views: as the saved model is asked, view by view.
    rest = problem.matrix.mean_views(log_votes(grown.votes(WHOLE), trees))
    if problem.folds:
        held = np.zeros((problem.labels.n_train, problem.n_classes))
        for fold in problem.folds:
            votes = log_votes(grown.votes(fold), grown.each)
            held[problem.train_fold == fold] = problem.matrix.mean_views(votes)
    else:
        held = rest[: problem.labels.n_validation]
    point = judged({"trees": float(trees)}, held, problem.held_label)
    return ClassFitted(
        classifier=NAME,
        parameters={"trees": trees, "max_features": "sqrt"},
        curve=[point],
        chosen=point,
        held=held,
        rest=rest,
        build=lambda card: ForestClasses(card, grown.forest()),
        kind="forest-classes",
        made_by=grown.made_by,
    )


class _Grown:
    """Every forest of a problem: those of the folds, and the whole one.

    ``classes`` is 0 where votes are those for the label 1.
    """

    def __init__(
        self,
        problem: Problem,
        store: GridStore,
        trees: int,
        workers: Workers,
        engine: str,
        *,
        classes: int = 0,
    ) -> None:
        folds = problem.folds
        self.trees, self.store = trees, store
        self.each = _each(len(folds), trees)
        if engine == "intelex" and (problem.labels.weight != problem.labels.weight[0]).any():
            raise UsageError(
                '[compare] forest_engine = "intelex" knows no weights, and the labels have some',
                hint='set forest_engine = "scikit-learn"',
            )
        bundles = [
            (f, number, size) for f in folds for number, size in enumerate(_sizes(self.each))
        ]
        bundles += [(WHOLE, number, size) for number, size in enumerate(_sizes(trees))]
        calls = {
            _title(f, number): _call(problem, f, number, size, engine, classes)
            for f, number, size in bundles
        }
        let_go(problem.matrix.rows)  # bundles map the file by themselves
        points = store.points(calls, lambda missing: workers.threaded(grow_bundle, missing))
        # Without the trees, which are many: they are read again when the model is saved.
        self._votes = {title: point["votes"] for title, point in points.items()}
        program = {"scikit-learn": "scikit-learn", "intelex": "scikit-learn-intelex"}[engine]
        self.made_by = {
            "curve": f"{program} RandomForestClassifier, {self.each} trees a fold"
            if folds
            else f"{program} RandomForestClassifier",
            "model": f"{program} RandomForestClassifier",
        }

    def votes(self, fold: int) -> NDArray[np.float64]:
        """Mean votes of a fold's forest for the pictures of that fold, or of ``WHOLE``'s."""
        sizes = _sizes(self.trees if fold == WHOLE else self.each)
        votes = np.stack([self._votes[_title(fold, number)] for number in range(len(sizes))])
        return np.average(votes, axis=0, weights=sizes)

    def forest(self) -> RandomForestClassifier:
        """The whole forest."""
        titles = [_title(WHOLE, number) for number in range(len(_sizes(self.trees)))]
        return _joined(self.store.finished(title)["forest"] for title in titles)


def _each(folds: int, trees: int) -> int:
    return max(10, trees // max(1, folds))


def _sizes(trees: int) -> list[int]:
    """Trees of each bundle."""
    return [min(BUNDLE, trees - at) for at in range(0, trees, BUNDLE)]


def _title(fold: int, number: int) -> str:
    return f"{'whole' if fold == WHOLE else f'fold={fold}'} trees={number * BUNDLE}"


def _call(
    problem: Problem, fold: int, number: int, trees: int, engine: str, classes: int
) -> dict[str, Any]:
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
            classes=classes,
        )
    }


@dataclass(frozen=True)
class Bundle:
    """Trees to grow on the rows ``grown`` of a mapped file, and rows to vote on with them.

    ``label`` and ``weight`` are those of the rows to grow on; ``classes`` as in ``_Grown``.
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
    classes: int = 0


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
    shares = np.concatenate([forest.predict_proba(rows[part]) for part in parts])
    if bundle.classes:
        # A fold may lack a class; then nobody votes for it.
        votes = np.zeros((len(scored), bundle.classes))
        votes[:, forest.classes_] = shares
    else:
        votes = shares[:, 1]
    point: Point = {"votes": votes}
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
        # Its threads take away the filters of warnings and put them back, all at once: some runs
        # end without any, and then every later tree warns of it.
        with warnings.catch_warnings():
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
