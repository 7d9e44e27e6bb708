"""LinearSVC: its C-curve by the batched solver, its last fit by scikit-learn."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.svm import LinearSVC

from training import solver
from training.fitted import CurvePoint, Fitted, choose, fold_scores
from training.metrics import average_precision
from training.models import LinearScorer

if TYPE_CHECKING:
    from training.fitted import Problem
    from training.grid import GridStore, Point

__all__ = ["NAME", "fit", "grid_points"]

NAME = "linear-svc"

# Bytes that liblinear holds for each value of X: a float64 copy and an (index, value) node.
LIBLINEAR_BYTES = 24


def grid_points(c_values: Sequence[float]) -> int:
    """How many points ``fit`` asks its store for."""
    return len(c_values) + 1


def fit(problem: Problem, store: GridStore, c_values: Sequence[float]) -> Fitted:
    """Cross-validate C over all folds at once, then refit the best C with scikit-learn."""
    ordered = sorted(c_values)
    points = _curve(problem, store, ordered)
    curve = [
        CurvePoint({"C": c}, fold_scores(problem, point["out_of_fold"]))
        for c, point in zip(ordered, points, strict=True)
    ]
    best = choose(curve)
    c, point = ordered[best], points[best]
    final = store.point("refit", lambda: _refit(problem, c, point))
    weight, bias = final["weight"].astype(np.float32), float(final["bias"])
    by_solver = problem.matrix.mean_views(problem.matrix.test @ point["weight"][-1])
    test = problem.matrix.mean_views(problem.matrix.test @ weight) + bias
    by_sklearn = bool(final["by_sklearn"])

    def build(card: Mapping[str, Any]) -> LinearScorer:
        return LinearScorer(card, weight, bias)

    test_label = problem.labels.label[problem.labels.n_train :]
    return Fitted(
        classifier=NAME,
        parameters={"C": c, "loss": "squared_hinge", "penalty": "l2", "scaling": "none"},
        curve=curve,
        cv_ap=curve[best].mean,
        out_of_fold=point["out_of_fold"],
        test=test,
        build=build,
        kind="linear",
        made_by={
            "curve": "batched Newton solver, all folds at once",
            "model": "scikit-learn LinearSVC" if by_sklearn else "batched Newton solver",
        },
        checks={
            "objective_gap": float(final["gap"]),
            "test_ap_gap": float(
                abs(average_precision(test_label, test) - average_precision(test_label, by_solver))
            ),
        },
        notes=[str(note) for note in final["notes"]],
    )


def _curve(problem: Problem, store: GridStore, c_values: Sequence[float]) -> list[Point]:
    path: solver.Path | None = None
    points: list[Point] = []

    def compute(c: float) -> Point:
        nonlocal path
        if path is None:
            path = _path(problem)
            if points:
                path.start(points[-1]["weight"], points[-1]["bias"])
        found = path.step(c)
        return {
            "weight": found.weight,
            "bias": found.bias,
            "objective": found.objective,
            "out_of_fold": problem.out_of_fold(found.weight[:-1], found.bias[:-1]),
        }

    for c in c_values:
        points.append(store.point(f"C={c:g}", lambda c=c: compute(c)))  # type: ignore[misc]
    return points


def _path(problem: Problem) -> solver.Path:
    sign = problem.tiled(problem.labels.sign)
    return solver.Path(problem.matrix.train(problem.views), sign, problem.share())


def _refit(problem: Problem, c: float, point: Point) -> Point:
    """The model of all training pictures: by LinearSVC, or the solver's where memory is short."""
    rows, reached = problem.matrix.train(problem.views), float(point["objective"][-1])
    if rows.size * LIBLINEAR_BYTES > _free_memory():
        note = "LinearSVC would need more memory than is free: the solver's own model is kept"
        return {
            "weight": point["weight"][-1],
            "bias": point["bias"][-1],
            "gap": np.float64(np.nan),
            "by_sklearn": np.bool_(False),
            "notes": np.array([note]),
        }
    model = LinearSVC(C=c, dual="auto", max_iter=10_000, random_state=problem.seed)
    sign, weight = problem.tiled(problem.labels.sign), problem.tiled(problem.labels.weight)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        model.fit(rows, sign, sample_weight=weight)
    stopped = any(issubclass(w.category, ConvergenceWarning) for w in caught)
    value = solver.objective(
        rows, sign, weight.astype(np.float32), c, model.coef_[0], float(model.intercept_[0])
    )
    return {
        "weight": model.coef_[0],
        "bias": model.intercept_[0],
        "gap": np.float64(reached / value - 1),
        "by_sklearn": np.bool_(True),
        "notes": np.array(
            ["LinearSVC stopped before its tolerance was met"] if stopped else [], str
        ),
    }


def _free_memory() -> float:
    """Bytes that can be had without swapping; infinite where the system does not tell."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return float("inf")
    told = {line.split(":")[0]: line.split()[1] for line in lines}
    return 1024.0 * int(told["MemAvailable"]) if "MemAvailable" in told else float("inf")
