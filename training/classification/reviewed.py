"""Training with what people said in review, and what that changed on pictures nobody reviewed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from likewise.errors import UsageError
from training.classification.fit import scale_of, softmax
from training.data.reviews import REJECTED, Reviewed, reviewed_labels
from training.statistics.bootstrap import author_weights, interval
from training.statistics.classes import Rate, mcnemar, rate

if TYPE_CHECKING:
    from likewise.study import Study
    from training.classification.fit import Candidate
    from training.classification.problem import ClassProblem

__all__ = ["ReviewGain", "gain_of_reviews", "with_reviews"]

RESAMPLES = 1000


@dataclass(frozen=True, slots=True)
class ReviewGain:
    """Share of right answers with reviews minus without, on the same unreviewed pictures.

    ``low`` and ``high`` are its 95 % interval over groups; ``p`` is McNemar's. ``changed``,
    ``rejected`` and ``confirmed`` count labels that training could learn from.
    """

    changed: int
    rejected: int
    confirmed: int
    part: str
    reviewed: Rate
    without: Rate
    difference: float
    low: float
    high: float
    p: float

    @property
    def sentence(self) -> str:
        """What may be said, and no more."""
        start = (
            f"reviews changed {self.changed:,} labels, rejected {self.rejected:,} and confirmed "
            f"{self.confirmed:,}; on {self.reviewed.of:,} pictures of the {self.part} part that "
            f"nobody reviewed {self.reviewed.value:.1%} are right with them, "
            f"{self.without.value:.1%} without"
        )
        span = f"{self.difference:+.1%}, {self.low:+.1%} to {self.high:+.1%}; p = {self.p:.2g}"
        if self.low > 0 and self.p < 0.05:
            return f"{start}: they help ({span})"
        if self.high < 0 and self.p < 0.05:
            return f"{start}: they do harm ({span})"
        return f"{start}: whether they help is open ({span})"


def with_reviews(study: Study, problem: ClassProblem) -> tuple[ClassProblem, Reviewed]:
    """The problem with training and validation labels as people left them.

    Rejected pictures are in no part that anything is learned or judged from.

    Raises:
        UsageError: the study's labels hold the reviews already.
        MissingTableError: no reviews have been published.
        DataError: a review gives a class that the study does not have.
    """
    if study.config.question.kind == "reviewed":
        raise UsageError(
            'the labels of this study hold the reviews already ([question] kind = "reviewed")',
            hint='leave --reviews away, or set kind = "classes" to see what reviews change',
        )
    training = np.isin(problem.part, ["train", "validation"])
    names = {name: number for number, name in enumerate(problem.names)}
    said = reviewed_labels(study, problem.picture_id, problem.label, training, names)
    part = problem.part.copy()
    part[~said.keep] = REJECTED
    return replace(problem, label=said.label, part=part), said


def gain_of_reviews(
    reviewed: ClassProblem, before: ClassProblem, said: Reviewed, c: float, seed: int
) -> ReviewGain | None:
    """A softmax layer of penalty ``c`` with and without reviews, on the test part (else validation)
    as far as nobody reviewed it; None where nothing is left of it.
    """
    for part in ("test", "validation"):
        rows = before.rows(part)
        rows = rows[~said.touched[rows]]
        if len(rows):
            break
    else:
        return None
    columns, group = before.columns(rows), before.group[rows]
    with_, without = (_fit(problem, c).right(rows, columns) for problem in (reviewed, before))
    difference = with_.astype(np.float64) - without
    weight = author_weights(group, RESAMPLES, seed)
    low, high = interval(weight @ difference / weight.sum(axis=1))
    return ReviewGain(
        said.changed,
        said.rejected,
        said.confirmed,
        part,
        rate(with_, group),
        rate(without, group),
        float(difference.mean()),
        low,
        high,
        mcnemar(with_, without).p,
    )


def _fit(problem: ClassProblem, c: float) -> Candidate:
    features, columns = problem.training(problem.rows("train"))
    scale = scale_of(features)
    return softmax(problem, c, features * np.float32(scale), columns, scale)
