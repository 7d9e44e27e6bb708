"""LinearSVC: its C-curve by the batched solver, its last fit by scikit-learn.

Of k classes each is told from the rest, at one C for all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from training.classifiers import liblinear, solver
from training.data.mapped import let_go, open_rows
from training.fitting.classes import ClassFitted, ClassProblem, choose_class, judged
from training.fitting.fitted import CurvePoint, Fitted, choose, fold_scores
from training.models.classes import LinearClasses
from training.models.saved import LinearScorer
from training.statistics.metrics import average_precision

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from training.fitting.fitted import Problem
    from training.fitting.grid import GridStore, Point
    from training.fitting.workers import Workers

__all__ = ["NAME", "cross_validated", "fit", "fit_classes", "fit_fold", "grid_points"]

NAME = "linear-svc"


def grid_points(c_values: Sequence[float], folds: int, reference: str) -> int:
    """How many points ``fit`` asks its store for."""
    return len(c_values) * (1 + folds * (reference == "grid")) + 1


def fit(
    problem: Problem,
    store: GridStore,
    c_values: Sequence[float],
    reference: str,
    workers: Workers,
) -> Fitted:
    """Cross-validate C over all folds at once, then refit the best C with scikit-learn.

    With the reference ``grid`` scikit-learn also fits every fold at every C, and ``checks`` says
    how far its scores are from those of the curve.
    """
    ordered = sorted(c_values)
    points = _curve(problem, store, ordered)
    curve = _scored(problem, ordered, points)
    best = choose(curve)
    c, point = ordered[best], points[best]
    checked = _checked_grid(problem, store, curve, workers) if reference == "grid" else {}
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
            **checked,
        },
        notes=[str(note) for note in final["notes"]],
    )


def cross_validated(
    problem: Problem, store: GridStore, c_values: Sequence[float]
) -> list[CurvePoint]:
    """The C-curve alone, rising in C; nothing is refitted."""
    ordered = sorted(c_values)
    return _scored(problem, ordered, _curve(problem, store, ordered))


def _scored(
    problem: Problem, ordered: Sequence[float], points: Sequence[Point]
) -> list[CurvePoint]:
    return [
        CurvePoint({"C": c}, fold_scores(problem, point["out_of_fold"]))
        for c, point in zip(ordered, points, strict=True)
    ]


def fit_classes(problem: ClassProblem, store: GridStore, c_values: Sequence[float]) -> ClassFitted:
    """Choose one C for all classes on the held pictures, then refit each class with scikit-learn.

    A C of its own for each class would make scores that cannot be compared with each other.
    """
    ordered = sorted(c_values)
    own = problem.each_against_rest(store)
    like: list[solver.Path] = []
    grid = [_curve(*pair, ordered, like) for pair in own]
    held = [
        np.stack([points[at]["out_of_fold"] for points in grid], axis=1)
        for at in range(len(ordered))
    ]
    curve = [
        judged({"C": c}, scores, problem.held_label)
        for c, scores in zip(ordered, held, strict=True)
    ]
    best = choose_class(curve)
    final = [
        place.point("refit", lambda o=one, p=points[best]: _refit(o, ordered[best], p))  # type: ignore[misc]
        for (one, place), points in zip(own, grid, strict=True)
    ]
    weight = np.stack([point["weight"] for point in final], axis=1).astype(np.float32)
    bias = np.array([float(point["bias"]) for point in final], np.float32)
    notes = sorted({str(note) for point in final for note in point["notes"]})
    by_sklearn = all(bool(point["by_sklearn"]) for point in final)
    return ClassFitted(
        classifier=NAME,
        parameters={"C": ordered[best], "loss": "squared_hinge", "penalty": "l2"},
        curve=curve,
        chosen=curve[best],
        held=held[best],
        rest=problem.matrix.mean_views(problem.matrix.test @ weight) + bias,
        build=lambda card: LinearClasses(card, weight, bias),
        kind="linear-classes",
        made_by={
            "curve": "batched Newton solver, one against the rest",
            "model": "scikit-learn LinearSVC" if by_sklearn else "batched Newton solver",
        },
        checks={"objective_gap": float(max(float(point["gap"]) for point in final))},
        notes=notes,
    )


def _curve(
    problem: Problem,
    store: GridStore,
    c_values: Sequence[float],
    like: list[solver.Path] | None = None,
) -> list[Point]:
    """Points of each C; ``like`` keeps the first path of several problems over the same rows."""
    path: solver.Path | None = None
    points: list[Point] = []
    held = problem.held_scores if isinstance(problem, ClassProblem) else problem.out_of_fold
    judges = max(1, len(problem.folds))  # the models that score held pictures, before the last

    def compute(c: float) -> Point:
        nonlocal path
        if path is None:
            path = _path(problem, like[0] if like else None)
            if like is not None and not like:
                like.append(path)
            if points:
                path.start(points[-1]["weight"], points[-1]["bias"])
        found = path.step(c)
        return {
            "weight": found.weight,
            "bias": found.bias,
            "objective": found.objective,
            "out_of_fold": held(found.weight[:judges], found.bias[:judges]),
        }

    for c in c_values:
        points.append(store.point(f"C={c:g}", lambda c=c: compute(c)))  # type: ignore[misc]
    return points


def _path(problem: Problem, like: solver.Path | None) -> solver.Path:
    sign = problem.tiled(problem.labels.sign)
    return solver.Path(problem.matrix.train(problem.views), sign, problem.share(), like=like)


def _checked_grid(
    problem: Problem, store: GridStore, curve: Sequence[CurvePoint], workers: Workers
) -> dict[str, float]:
    """LinearSVC's own score of every fold at every C, held against the curve's."""
    places = [(p, f) for p in curve for f in problem.labels.folds]
    shared = {
        "path": problem.matrix.path,
        "sign": problem.tiled(problem.labels.sign),
        "weight": problem.tiled(problem.labels.weight),
        "fold": problem.tiled(problem.labels.fold),
        "seed": problem.seed,
    }
    calls = {
        f"LinearSVC C={p.parameters['C']:g} fold={f}": {
            **shared,
            "c": p.parameters["C"],
            "left_out": f,
            "scored": problem.views_of(problem.train_fold == f),
        }
        for p, f in places
    }
    room = _free_memory() / max(1.0, liblinear.bytes_needed(problem.matrix.train(problem.views)))
    workers = replace(workers, jobs=int(max(1, min(workers.jobs, room))))
    let_go(problem.matrix.rows)  # the fits map the file by themselves
    points = store.points(calls, lambda missing: workers.separate(fit_fold, missing))
    gaps = []
    for (p, f), point in zip(places, points.values(), strict=True):
        if f in p.fold_ap:
            label = problem.train_label[problem.train_fold == f]
            scores = problem.matrix.mean_views(point["scores"])
            gaps.append(abs(float(average_precision(label, scores)) - p.fold_ap[f]))
    stopped = sum(not point["converged"] for point in points.values())
    return {"grid_ap_gap": max(gaps), "grid_fits_stopped": float(stopped)}


def fit_fold(
    path: Path,
    sign: NDArray[np.float32],
    weight: NDArray[np.float64],
    fold: NDArray[np.int64],
    *,
    scored: NDArray[np.intp],
    left_out: int,
    c: float,
    seed: int,
) -> Point:
    """LinearSVC without one fold, and its scores of the rows ``scored``; a task for ``Workers``.

    ``sign``, ``weight`` and ``fold`` are those of the first rows of the file ``path``.
    """
    rows = open_rows(path)
    found = liblinear.fit(rows[: len(sign)], sign, weight, c, seed, keep=fold != left_out)
    parts = np.array_split(scored, max(1, len(scored) // 1024))
    scores = [rows[part] @ found.weight.astype(np.float32) + found.bias for part in parts]
    return {"scores": np.concatenate(scores), "converged": np.array(found.converged)}


def _refit(problem: Problem, c: float, point: Point) -> Point:
    """The model of all training pictures: by LinearSVC, or the solver's where memory is short."""
    rows, reached = problem.matrix.train(problem.views), float(point["objective"][-1])
    if liblinear.bytes_needed(rows) > _free_memory():
        note = "LinearSVC would need more memory than is free: the solver's own model is kept"
        return {
            "weight": point["weight"][-1],
            "bias": point["bias"][-1],
            "gap": np.array(np.nan),
            "by_sklearn": np.array(False),
            "notes": np.array([note]),
        }
    sign, weight = problem.tiled(problem.labels.sign), problem.tiled(problem.labels.weight)
    found = liblinear.fit(rows, sign, weight, c, problem.seed)
    share = weight.astype(np.float32)
    value = solver.objective(rows, sign, share, c, found.weight, found.bias)
    stopped = [] if found.converged else ["LinearSVC stopped before its tolerance was met"]
    return {
        "weight": found.weight,
        "bias": np.array(found.bias),
        "gap": np.array(reached / value - 1),
        "by_sklearn": np.array(True),
        "notes": np.array(stopped, str),
    }


def _free_memory() -> float:
    """Bytes that can be had without swapping; infinite where the system does not tell."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return float("inf")
    told = {line.split(":")[0]: line.split()[1] for line in lines}
    return 1024.0 * int(told["MemAvailable"]) if "MemAvailable" in told else float("inf")
