"""MLlib's SVMWithSGD: its grid by the same iteration in batches, its last fit by MLlib on Spark.

With the whole data in each step, SVMWithSGD draws nothing at random: from w = 0 it repeats

    w <- w (1 - s / sqrt(t) * regParam) - s / sqrt(t) * mean hinge subgradient

until the step is shorter than ``tolerance * max(|w|, 1)`` (spark.mllib GradientDescent,
HingeGradient, SquaredL2Updater). So the same numbers come out of two matrix products a step for
all folds and values of regParam together, without a Spark job for each step of each grid point.

Features are standardised with the mean and deviation of the training authors' pictures, then scaled
so that rows have a squared norm of 10 on average: steps of 0.1, 1 and 10 then run from the
difference of the class means to an overshooting fit, whatever the layer. There is no intercept:
the features are centred, and calibration sets the threshold. The scaling ``none`` takes the
features as they are; then the steps fit some layers and diverge on others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from spark_jobs import train_svm
from training.data.mapped import let_go
from training.fitting.classes import ClassFitted, ClassPoint, ClassProblem, choose_class, judged
from training.fitting.fitted import CurvePoint, Fitted, choose, fold_scores
from training.models.classes import LinearClasses
from training.models.saved import LinearScorer

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from pyspark.sql import SparkSession

    from training.fitting.fitted import Problem
    from training.fitting.grid import GridStore, Point

__all__ = ["NAME", "Scaling", "batched_sgd", "fit", "fit_classes", "grid_points"]

NAME = "svm-with-sgd"
STANDARD = "standardised"
TOLERANCE = 1e-3
SQUARED_NORM = 10.0


@dataclass(frozen=True)
class Scaling:
    """``(x - mean) / scale`` with (d,) arrays; ``constant`` columns have a scale of infinity."""

    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    constant: int

    @classmethod
    def standard(cls, rows: NDArray[np.float32]) -> Scaling:
        """Mean 0 and equal deviations over (n, d) rows, and a mean squared norm of 10."""
        mean = rows.mean(axis=0, dtype=np.float64)
        deviation = np.sqrt(_variance(rows, mean))
        scale = np.where(deviation == 0, np.inf, deviation * np.sqrt(rows.shape[1] / SQUARED_NORM))
        return cls(mean, scale, int((deviation == 0).sum()))

    @classmethod
    def none(cls, dim: int) -> Scaling:
        """Features as they are, neither centred nor scaled: what the paper will have done."""
        return cls(np.zeros(dim), np.ones(dim), 0)

    @classmethod
    def named(cls, name: str, rows: NDArray[np.float32]) -> Scaling:
        """The scaling of (n, d) rows that ``[compare] sgd_scaling`` calls so."""
        return cls.standard(rows) if name == STANDARD else cls.none(rows.shape[1])

    def fold_in(self, weight: NDArray[Any]) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        """(k, d) weights of scaled rows to (k, d) weights and (k,) biases of plain rows."""
        plain = weight / self.scale
        return plain.astype(np.float32), -(plain @ self.mean)


def _variance(rows: NDArray[np.float32], mean: NDArray[np.float64]) -> NDArray[np.float64]:
    total = np.zeros(rows.shape[1])
    for start in range(0, len(rows), 1024):
        total += np.square(rows[start : start + 1024] - mean).sum(axis=0)
    total /= len(rows)
    noise = np.square(np.abs(mean) * 1e-6)
    return np.where(total <= noise, 0.0, total)


def grid_points(step_sizes: Sequence[float], scalings: Sequence[str]) -> int:
    """How many points ``fit`` asks its store for."""
    return len(step_sizes) * len(scalings) + 1


def fit(
    problem: Problem,
    store: GridStore,
    reg_params: Sequence[float],
    step_sizes: Sequence[float],
    scalings: Sequence[str],
    iterations: int,
    spark: Callable[[], SparkSession],
) -> Fitted:
    """Cross-validate regParam x stepSize x scaling, then fit the best with MLlib on ``spark()``."""
    made = {name: Scaling.named(name, problem.matrix.all_train) for name in scalings}
    curve: list[CurvePoint] = []
    scores: list[NDArray[np.float64]] = []
    tried: list[tuple[Scaling, float, float]] = []
    for name, step in product(scalings, step_sizes):
        point = store.point(
            f"stepSize={step:g} {name}",
            lambda n=name, s=step: _batch(problem, made[n], reg_params, s, iterations),  # type: ignore[misc]
        )
        for reg, own in zip(reg_params, point["out_of_fold"], strict=True):
            place: dict[str, float | str] = {"regParam": reg, "stepSize": step, "scaling": name}
            curve.append(CurvePoint(place, fold_scores(problem, own)))
            scores.append(own)
            tried.append((made[name], reg, step))
    best = choose(curve)
    scaling, reg, step = tried[best]
    chosen = {"regParam": reg, "stepSize": step}
    folder = _vectors(problem, scaling, store)
    final = store.point(
        "mllib", lambda: _mllib(problem, scaling, chosen, iterations, spark, folder)
    )
    weight, bias = scaling.fold_in(final["weight"])

    def build(card: Mapping[str, Any]) -> LinearScorer:
        return LinearScorer(card, weight, float(bias))

    return Fitted(
        classifier=NAME,
        parameters={**curve[best].parameters, "iterations": iterations},
        curve=curve,
        cv_ap=curve[best].mean,
        out_of_fold=scores[best],
        test=problem.matrix.mean_views(problem.matrix.test @ weight) + bias,
        build=build,
        kind="linear",
        made_by={"curve": "the same iteration in batches", "model": "Spark MLlib SVMWithSGD"},
        checks={"weight_gap": float(final["gap"])},
        notes=_notes(problem, scaling),
    )


def fit_classes(
    problem: ClassProblem,
    store: GridStore,
    reg_params: Sequence[float],
    step_sizes: Sequence[float],
    scalings: Sequence[str],
    iterations: int,
    spark: Callable[[], SparkSession],
) -> ClassFitted:
    """One against the rest: one grid point for all classes, each fitted by MLlib on ``spark()``."""
    made = {name: Scaling.named(name, problem.matrix.all_train) for name in scalings}
    own = problem.each_against_rest(store)
    curve: list[ClassPoint] = []
    scores: list[NDArray[np.float64]] = []
    for name, step in product(scalings, step_sizes):
        points = [
            place.point(
                f"stepSize={step:g} {name}",
                lambda o=one, n=name, s=step: _batch(o, made[n], reg_params, s, iterations),  # type: ignore[misc]
            )["out_of_fold"]
            for one, place in own
        ]
        for reg, held in zip(reg_params, np.stack(points, axis=2), strict=True):
            place_of: dict[str, float | str]
            place_of = {"regParam": reg, "stepSize": step, "scaling": name}
            curve.append(judged(place_of, held, problem.held_label))
            scores.append(held)
    best = choose_class(curve, simplest_first=False)
    scaling = made[str(curve[best].parameters["scaling"])]
    chosen = {name: float(curve[best].parameters[name]) for name in ("regParam", "stepSize")}
    # The features are written once; each fit reads them with its own class as the positive one.
    folder = _vectors(problem, scaling, store)
    final = [
        place.point(
            "mllib",
            lambda o=one, k=k: _mllib(o, scaling, chosen, iterations, spark, folder, k),  # type: ignore[misc]
        )
        for k, (one, place) in enumerate(own)
    ]
    plain, offset = scaling.fold_in(np.stack([point["weight"] for point in final]))
    weight, bias = np.ascontiguousarray(plain.T), offset.astype(np.float32)
    return ClassFitted(
        classifier=NAME,
        parameters={**curve[best].parameters, "iterations": iterations},
        curve=curve,
        chosen=curve[best],
        held=scores[best],
        rest=problem.matrix.mean_views(problem.matrix.test @ weight) + bias,
        build=lambda card: LinearClasses(card, weight, bias),
        kind="linear-classes",
        made_by={
            "curve": "the same iteration in batches, one against the rest",
            "model": "Spark MLlib SVMWithSGD",
        },
        checks={"weight_gap": max(float(point["gap"]) for point in final)},
        notes=_notes(problem, scaling),
    )


def _notes(problem: Problem, scaling: Scaling) -> list[str]:
    notes = [f"{scaling.constant} constant feature columns count as 0"] if scaling.constant else []
    if (problem.labels.weight != 1).any():
        notes.append("SVMWithSGD knows no weights: every picture counts the same")
    return notes


def _vectors(problem: Problem, scaling: Scaling, store: GridStore) -> Callable[[], Path]:
    """Gives the folder of scaled features, written when it is first asked for."""

    @cache
    def write() -> Path:
        folder = store.path("vectors")
        rows, label = problem.matrix.train(problem.views), problem.tiled(problem.labels.label)
        train_svm.write_vectors(folder, rows, label, scaling.mean, scaling.scale)
        let_go(problem.matrix.rows)
        return folder

    return write


def _batch(
    problem: Problem,
    scaling: Scaling,
    reg_params: Sequence[float],
    step: float,
    iterations: int,
) -> Point:
    """Scores of pictures that the models have not seen, (regParams, n), of one step size."""
    share = (problem.share(whole=not problem.folds) > 0).astype(np.float32)
    folds = len(share)
    weight = batched_sgd(
        problem.matrix.train(problem.views),
        problem.tiled(problem.labels.sign),
        np.tile(share, (len(reg_params), 1)),
        scaling,
        np.repeat(reg_params, folds),
        step,
        iterations,
    )
    plain, bias = scaling.fold_in(weight)
    held = problem.held_scores if isinstance(problem, ClassProblem) else problem.out_of_fold
    scores = [
        held(plain[at : at + folds], bias[at : at + folds]) for at in range(0, len(plain), folds)
    ]
    return {"out_of_fold": np.stack(scores)}


def batched_sgd(
    rows: NDArray[np.float32],
    sign: NDArray[np.float32],
    share: NDArray[np.float32],
    scaling: Scaling,
    reg: NDArray[np.float64],
    step: float,
    iterations: int,
) -> NDArray[np.float64]:
    """SVMWithSGD's iteration for k problems at once.

    Args:
        rows: (n, d) features before scaling.
        sign: (n,) labels as -1 and +1.
        share: (k, n) 1 where the row is in the problem, else 0.
        scaling: applied to ``rows`` on the fly.
        reg: (k,) regParam of each problem.
        step: stepSize of all problems.
        iterations: most steps.

    Returns:
        (k, d) weights of the scaled rows; not finite where a problem diverged.
    """
    weight = np.zeros((len(share), rows.shape[1]))
    count = share.sum(axis=1, keepdims=True, dtype=np.float64)
    moving = np.arange(len(share))
    for t in range(1, iterations + 1):
        now = weight[moving]
        plain, bias = scaling.fold_in(now)
        margin = sign * (plain @ rows.T + bias[:, None].astype(np.float32))
        pull = share[moving] * sign * (margin < 1)
        mean = (pull @ rows - np.outer(pull.sum(axis=1, dtype=np.float64), scaling.mean)) / (
            scaling.scale * count[moving]
        )
        size = step / np.sqrt(t)
        new = now * (1 - size * reg[moving])[:, None] + size * mean
        weight[moving] = new
        if t > 1:
            moved = np.linalg.norm(new - now, axis=1)
            moving = moving[moved >= TOLERANCE * np.maximum(np.linalg.norm(new, axis=1), 1)]
        if not len(moving):
            break
    return weight


def _mllib(
    problem: Problem,
    scaling: Scaling,
    chosen: Mapping[str, float],
    iterations: int,
    spark: Callable[[], SparkSession],
    folder: Callable[[], Path],
    positive: int = 1,
) -> Point:
    weight = train_svm.fit(
        spark(),
        folder(),
        reg_param=chosen["regParam"],
        step_size=chosen["stepSize"],
        iterations=iterations,
        tolerance=TOLERANCE,
        positive=positive,
    )
    rows = problem.matrix.train(problem.views)
    own = batched_sgd(
        rows,
        problem.tiled(problem.labels.sign),
        np.ones((1, len(rows)), np.float32),
        scaling,
        np.array([chosen["regParam"]]),
        chosen["stepSize"],
        iterations,
    )[0]
    gap = np.linalg.norm(weight - own) / max(float(np.linalg.norm(weight)), 1e-300)
    return {"weight": weight, "gap": np.array(gap)}
