"""A softmax layer on stored features: by scikit-learn's LogisticRegression, or by steps."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
from sklearn.linear_model import LogisticRegression

from training.classifiers.last_layer import CurveStep, Run, train_runs
from training.fitting.classes import (
    ClassFitted,
    choose_class,
    judged,
    mean_square,
    penalised,
)
from training.models.classes import NEVER, LinearClasses

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from training.fitting.classes import ClassProblem
    from training.fitting.grid import GridStore, Point

__all__ = [
    "BY_STEPS",
    "NAME",
    "SEARCH",
    "fit_by_steps",
    "fit_classes",
    "fit_one",
    "penalty_of",
]

NAME = "softmax"
BY_STEPS = "last-layer"

SEARCH: tuple[Run, ...] = (
    *(Run("sgd", rate, steps) for rate in (0.3, 1.0, 3.0) for steps in (1000, 3000, 9000)),
    *(Run("adagrad", rate, steps) for rate in (0.03, 0.1, 0.3) for steps in (1000, 3000, 9000)),
)
"""Paper 3's search: 18 runs over optimisers, rates and steps, in one pass."""


def fit_classes(problem: ClassProblem, store: GridStore) -> ClassFitted:
    """Choose the penalty on the held pictures, then fit all training pictures with it."""
    rows, label = problem.matrix.train(problem.views), problem.tiled(problem.labels.label)
    weight = problem.tiled(problem.labels.weight)
    square = mean_square(rows)

    def fitted(c: float, chosen: NDArray[np.intp]) -> Point:
        # A penalty on scaled rows is C times the scale squared on the rows themselves.
        own = rows[chosen]  # a copy
        return _fit(own, label[chosen], c / square, problem.n_classes, weight[chosen])

    def scored(model: Point, features: NDArray[np.float32]) -> NDArray[np.float64]:
        return (features @ model["weight"] + model["bias"]).astype(np.float64)

    grid = penalised(problem, store, fitted, scored)
    final = grid.model
    return ClassFitted(
        classifier=NAME,
        parameters={**grid.chosen.parameters, "penalty": "l2"},
        curve=grid.curve,
        chosen=grid.chosen,
        held=grid.held,
        rest=problem.matrix.mean_views(problem.matrix.test @ final["weight"]) + final["bias"],
        build=lambda card: LinearClasses(card, final["weight"], final["bias"]),
        kind="linear-classes",
        made_by=dict.fromkeys(("curve", "model"), "scikit-learn LogisticRegression"),
    )


def penalty_of(fitted: Iterable[ClassFitted]) -> float:
    """C of the softmax layer among fitted classifiers; 1 where there is none."""
    return next((float(f.parameters["C"]) for f in fitted if f.classifier == NAME), 1.0)


def fit_one(rows: NDArray[np.float32], label: NDArray[np.int64], c: float, n_classes: int) -> Point:
    """``weight`` (d, k) and ``bias`` (k,) of penalty ``c`` on (n, d) rows as they are."""
    return _fit(rows.copy(), label, c / mean_square(rows), n_classes)


def _fit(
    own: NDArray[np.float32],
    label: NDArray[np.int64],
    c: float,
    n_classes: int,
    sample_weight: NDArray[np.float64] | None = None,
) -> Point:
    """``weight`` (d, k) and ``bias`` (k,); the caller's own (n, d) rows are moved.

    The bias is not penalised, so that rows around their mean have the same optimum; L-BFGS gets
    there in a fraction of the steps, since the mean of rectified features is their longest axis.
    """
    mean = own.mean(axis=0, dtype=np.float64).astype(np.float32)
    own -= mean
    model = LogisticRegression(C=c, max_iter=5000).fit(own, label, sample_weight=sample_weight)
    found = _columns(model, n_classes)
    found["bias"] -= mean @ found["weight"]
    return found


def fit_by_steps(problem: ClassProblem, store: GridStore, seed: int) -> ClassFitted:
    """The layer by steps of 32 pictures, ``SEARCH``'s 18 ways in one pass; see ``last_layer``.

    Needs a validation part, which the curves are taken on.
    """
    rows, label = problem.matrix.train(problem.views), problem.tiled(problem.labels.label)
    scale = np.float32(1 / np.sqrt(mean_square(rows)))
    validation = next(problem.held_views(np.arange(problem.labels.n_validation)))

    def compute() -> Point:
        trained = train_runs(
            rows,
            label,
            (validation, problem.held_label),
            SEARCH,
            n_classes=problem.n_classes,
            seed=seed,
            scale=float(scale),
        )
        curves = np.full((len(SEARCH), max(len(t.curve) for t in trained), 5), np.nan)
        for at, one in enumerate(trained):
            curves[at, : len(one.curve)] = one.curve
        return {
            "weight": np.stack([one.weight for one in trained]),
            "bias": np.stack([one.bias for one in trained]),
            "curves": curves,
        }

    point = store.point("18 runs", compute)
    with np.errstate(over="ignore", invalid="ignore"):
        held = [
            problem.of_validation(weight) + bias
            for weight, bias in zip(point["weight"], point["bias"], strict=True)
        ]
    curve = [
        judged(
            {"optimiser": run.optimiser, "rate": run.rate, "steps": float(run.steps)},
            scores,
            problem.held_label,
        )
        for run, scores in zip(SEARCH, held, strict=True)
    ]
    best = choose_class(curve)
    weight, bias = point["weight"][best], point["bias"][best]
    steps = point["curves"][best]
    return ClassFitted(
        classifier=BY_STEPS,
        parameters=SEARCH[best]._asdict(),
        curve=curve,
        chosen=curve[best],
        held=held[best],
        rest=problem.matrix.mean_views(problem.matrix.test @ weight) + bias,
        build=lambda card: LinearClasses(card, weight, bias),
        kind="linear-classes",
        made_by=dict.fromkeys(("curve", "model"), "softmax layer by steps, all runs in one pass"),
        steps=[
            CurveStep(int(row[0]), *row[1:])._asdict()
            for row in steps[~np.isnan(steps[:, 0])].tolist()
        ],
    )


def _columns(model: LogisticRegression, n_classes: int) -> Point:
    """``weight`` (d, k) and ``bias`` (k,).

    scikit-learn keeps one row for two classes; half of it for and half against is the same. A fold
    that lacks a class can never say it.
    """
    weight, bias = model.coef_, model.intercept_
    if len(weight) == 1:
        weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    columns = np.zeros((weight.shape[1], n_classes), np.float32)
    offsets = np.full(n_classes, NEVER, np.float32)
    columns[:, model.classes_], offsets[model.classes_] = weight.T, bias
    return {"weight": columns, "bias": offsets}
