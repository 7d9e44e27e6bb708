"""From fitted classifiers to scores with intervals, differences and words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import expit

from training.fitting.grid import safe_name
from training.statistics.bootstrap import author_weights, interval, permutation_p, permuted_labels
from training.statistics.calibration import platt
from training.statistics.metrics import METRICS, Evaluation

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from training.comparison.baselines import Baseline
    from training.data.matrix import Labels
    from training.fitting.fitted import Fitted, Problem

__all__ = ["Judge", "Judged", "differences", "result", "sentences"]


@dataclass(frozen=True)
class Judged:
    """One row of the comparison: a fitted classifier, its calibration and its evaluation.

    It holds no features, so that one layer's matrix can go before the next is read.
    """

    layer: str
    set_name: str
    backbone: str
    dim: int
    fitted: Fitted
    slope: float
    intercept: float
    evaluation: Evaluation

    @classmethod
    def of(cls, problem: Problem, fitted: Fitted) -> Judged:
        """Calibrate on the out-of-fold scores; evaluate on the held-out authors."""
        matrix, label = problem.matrix, problem.labels.label[problem.labels.n_train :]
        slope, intercept = platt(fitted.out_of_fold, problem.train_label)
        evaluation = Evaluation(label, fitted.test, expit(slope * fitted.test + intercept))
        place = (matrix.layer, problem.set_name, matrix.backbone, matrix.dim)
        return cls(*place, fitted, slope, intercept, evaluation)

    @property
    def model(self) -> str:
        """Name of the saved model, e.g. ``fc7-flipped-linear-svc``."""
        return safe_name(f"{self.layer}-{self.set_name}-{self.fitted.classifier}")


class Judge:
    """Draws the bootstrap and the permutations once, and holds every row against them."""

    def __init__(self, labels: Labels, resamples: int, permutations: int, seed: int) -> None:
        held_out = slice(labels.n_train, None)
        self.label, author = labels.label[held_out], labels.author[held_out]
        self.weights = author_weights(author, resamples, seed)
        self.permuted = (
            permuted_labels(self.label, author, permutations, seed + 1) if permutations else None
        )
        self._draws: dict[int, dict[str, NDArray[np.float64]]] = {}

    def _drawn(self, evaluation: Evaluation) -> dict[str, NDArray[np.float64]]:
        key = id(evaluation)
        if key not in self._draws:
            self._draws[key] = evaluation.metrics(self.weights)
        return self._draws[key]

    def scores(self, evaluation: Evaluation) -> dict[str, dict[str, float]]:
        """Each metric with its value and the 95 % interval over authors."""
        values, draws = evaluation.metrics(), self._drawn(evaluation)
        return {name: _bounded(float(values[name]), draws[name]) for name in METRICS}

    def difference(
        self, left: Evaluation, right: Evaluation, metric: str = "average_precision"
    ) -> dict[str, float]:
        """``left - right`` on the same held-out authors, paired in every resample."""
        value = float(left.metrics()[metric] - right.metrics()[metric])
        return _bounded(value, self._drawn(left)[metric] - self._drawn(right)[metric])

    def p_value(self, evaluation: Evaluation) -> float | None:
        """p against "no signal"; None without permutations or exchangeable authors."""
        if self.permuted is None:
            return None
        return permutation_p(evaluation.label, evaluation.scores, self.permuted)

    @cached_property
    def undrawn(self) -> int:
        """Resamples that drew one class only; they have no average precision."""
        good = self.weights @ self.label
        return int(((good == 0) | (good == self.weights.sum(axis=1))).sum())


def _finite(value: float) -> float | None:
    """JSON knows no NaN: a score that does not exist is null."""
    return value if np.isfinite(value) else None


def _bounded(value: float, draws: NDArray[np.float64]) -> dict[str, Any]:
    low, high = interval(draws)
    return {"value": _finite(value), "low": _finite(low), "high": _finite(high)}


def result(judge: Judge, row: Judged, baselines: Sequence[Baseline]) -> dict[str, Any]:
    """One row of ``comparison.json``."""
    fitted = row.fitted
    return {
        "layer": row.layer,
        "set": row.set_name,
        "classifier": fitted.classifier,
        "model": row.model,
        "parameters": dict(fitted.parameters),
        "cv_average_precision": fitted.cv_ap,
        "metrics": judge.scores(row.evaluation),
        "p_value": judge.p_value(row.evaluation),
        "against": {b.name: judge.difference(row.evaluation, b.evaluation) for b in baselines},
        "confusion": row.evaluation.confusion(),
        "pr_curve": row.evaluation.precision_recall(),
        "threshold": -row.intercept / row.slope if row.slope else None,
        "curve": [
            {
                "parameters": dict(point.parameters),
                "mean": _finite(point.mean),
                "spread": _finite(point.spread),
                "folds": {str(fold): ap for fold, ap in point.fold_ap.items()},
            }
            for point in fitted.curve
        ],
        "made_by": dict(fitted.made_by),
        "checks": dict(fitted.checks),
        "notes": list(fitted.notes),
    }


def differences(judge: Judge, rows: Sequence[Judged]) -> list[dict[str, Any]]:
    """Paired differences of average precision between all rows: left minus right."""
    return [
        {"left": a.model, "right": b.model, **judge.difference(a.evaluation, b.evaluation)}
        for a, b in combinations(rows, 2)
    ]


def sentences(results: Sequence[Mapping[str, Any]], best: str) -> list[str]:
    """What the comparison says, no stronger than its intervals."""
    return [_verdict(row, chosen=row["model"] == best) for row in results]


def _verdict(row: Mapping[str, Any], *, chosen: bool) -> str:
    ap, chance = row["metrics"]["average_precision"], row["against"]["chance"]
    history = row["against"]["author-history"]
    name = f"{row['classifier']} on {row['layer']} ({row['set']})"
    start = f"{name}{', the best in cross-validation,' if chosen else ''} has an average precision"
    words = [f"{start} of {ap['value']:.3f} ({ap['low']:.3f} to {ap['high']:.3f})."]
    words.append(_against("chance", chance))
    words.append(_against("the author's own history", history))
    return " ".join(words)


def _against(what: str, difference: Mapping[str, float]) -> str:
    size = f"{difference['value']:+.3f}, {difference['low']:+.3f} to {difference['high']:+.3f}"
    if difference["low"] > 0:
        return f"It beats {what} ({size})."
    if difference["high"] < 0:
        return f"It is worse than {what} ({size})."
    return f"It does not beat {what} ({size})."


LIMITS = (
    "Liked here means likes over followers above the median of this study; it is no measure of "
    "beauty, and no statement about the people shown.",
    "The scores hold for authors of the kind that was collected, at the time of the collection.",
    "Probabilities are calibrated by Platt's sigmoid on cross-validation scores.",
    "p-values are not corrected for the number of classifiers compared.",
)


def card(
    row: Judged, found: Mapping[str, Any], about: Mapping[str, Any], folds: Sequence[int]
) -> dict[str, Any]:
    """The saved model's ``card.json``."""
    return {
        "name": row.model,
        "kind": row.fitted.kind,
        "summary": _verdict(found, chosen=False),
        "classifier": row.fitted.classifier,
        "layer": row.layer,
        "set": row.set_name,
        "backbone": row.backbone,
        "dim": row.dim,
        "parameters": dict(row.fitted.parameters),
        "made_by": dict(row.fitted.made_by),
        "scores": {
            "cv_average_precision": row.fitted.cv_ap,
            **found["metrics"],
            "p_value": found["p_value"],
        },
        "calibration": {"slope": row.slope, "intercept": row.intercept},
        "folds": list(folds),
        **about,
        "limits": [*LIMITS, *row.fitted.notes],
    }
