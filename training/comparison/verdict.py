"""From fitted classifiers to typed results, and to the cards of saved models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

from training.comparison.judge import finite
from training.comparison.results import (
    BaselineResult,
    Comparison,
    GridPoint,
    Paired,
    PrecisionRecall,
    Result,
)
from training.comparison.sentences import of_result
from training.fitting.grid import safe_name
from training.statistics.calibration import Sigmoid, platt, probability
from training.statistics.metrics import Evaluation

if TYPE_CHECKING:
    from training.comparison.baselines import Baseline
    from training.comparison.judge import Held, Judge
    from training.fitting.fitted import Fitted, Problem

__all__ = ["Judged", "baseline_results", "card", "differences", "result"]


@dataclass(frozen=True)
class Judged:
    """One row of the comparison: a fitted classifier, its calibration and its evaluation.

    It holds no features, so that one layer's matrix can go before the next is read.
    ``calibration`` is None where it was refused.
    """

    layer: str
    set_name: str
    backbone: str
    dim: int
    fitted: Fitted
    calibration: Sigmoid | None
    held: Held

    @classmethod
    def of(cls, judge: Judge, problem: Problem, fitted: Fitted) -> Judged:
        """Calibrate on the out-of-fold scores; evaluate on the held-out authors."""
        matrix, label = problem.matrix, problem.labels.label[problem.labels.n_train :]
        fit = platt(fitted.out_of_fold, problem.train_label)
        chances = probability(None if fit is None else fit.to_dict(), fitted.test)
        held = judge.held(Evaluation(label, fitted.test, chances))
        place = (matrix.layer, problem.set_name, matrix.backbone, matrix.dim)
        return cls(*place, fitted, fit, held)

    @property
    def model(self) -> str:
        """Name of the saved model, e.g. ``fc7-flipped-linear-svc``."""
        return safe_name(f"{self.layer}-{self.set_name}-{self.fitted.classifier}")


def result(judge: Judge, row: Judged, plain: Mapping[str, Held]) -> Result:
    """One row of the comparison; ``plain`` are the baselines by name."""
    fitted, fit = row.fitted, row.calibration
    chance = judge.against_chance(row.held)
    against = {
        name: chance if name == "chance" else judge.difference(row.held, other)
        for name, other in plain.items()
    }
    curve = row.held.evaluation.precision_recall()
    return Result(
        layer=row.layer,
        set=row.set_name,
        classifier=fitted.classifier,
        model=row.model,
        parameters=dict(fitted.parameters),
        cv_average_precision=fitted.cv_ap,
        metrics=judge.scores(row.held),
        p_value=chance.p,
        against=against,
        calibrated=fit is not None,
        confusion=judge.confusion(row.held) if fit is not None else None,
        threshold=-fit.intercept / fit.slope if fit is not None else None,
        pr_curve=PrecisionRecall(curve["recall"], curve["precision"]),
        curve=[
            GridPoint(
                {name: x if isinstance(x, str) else float(x) for name, x in p.parameters.items()},
                finite(p.mean),
                finite(p.spread),
                dict(p.fold_ap),
            )
            for p in fitted.curve
        ],
        made_by=dict(fitted.made_by),
        checks=dict(fitted.checks),
        notes=list(fitted.notes),
    )


def baseline_results(
    judge: Judge, baselines: Sequence[Baseline], plain: Mapping[str, Held]
) -> list[BaselineResult]:
    """The baselines' scores; chance itself has no p-value."""
    return [
        BaselineResult(
            name=b.name,
            description=b.description,
            metrics=judge.scores(plain[b.name]),
            p_value=None if b.name == "chance" else judge.against_chance(plain[b.name]).p,
        )
        for b in baselines
    ]


def differences(judge: Judge, rows: Sequence[Judged]) -> list[Paired]:
    """Differences of average precision between all rows; intervals only, nothing is claimed."""
    return [
        Paired(a.model, b.model, judge.difference(a.held, b.held, tested=False))
        for a, b in combinations(rows, 2)
    ]


LIMITS = (
    "Liked here means above the cut that the study's labels were made by; it is no measure of "
    "beauty, and no statement about the people shown.",
    "Probabilities, where there are any, are calibrated by Platt's sigmoid on cross-validation "
    "scores.",
    "p-values are not corrected for the number of classifiers compared.",
)


def card(
    row: Judged, found: Result, comparison: Comparison, about: Mapping[str, Any]
) -> dict[str, Any]:
    """The saved model's ``card.json``."""
    return {
        "name": row.model,
        "kind": row.fitted.kind,
        "summary": of_result(found, comparison),
        "classifier": row.fitted.classifier,
        "layer": row.layer,
        "set": row.set_name,
        "backbone": row.backbone,
        "dim": row.dim,
        "parameters": dict(row.fitted.parameters),
        "made_by": dict(row.fitted.made_by),
        "scores": {
            "cv_average_precision": row.fitted.cv_ap,
            **{name: asdict(score) for name, score in found.metrics.items()},
            "p_value": found.p_value,
        },
        "shown": {
            "chance": found.against["chance"].verdict,
            "adds": None if comparison.worth is None else comparison.worth.gain.verdict,
        },
        "calibration": row.calibration.to_dict() if row.calibration is not None else None,
        "data": asdict(comparison.data),
        "limits": [
            comparison.unit.scope
            or "The scores hold for authors of the kind that was collected, at that time.",
            *LIMITS,
            *row.fitted.notes,
        ],
        **about,
    }
