"""Training with what people said in review, and what that changed on pictures nobody reviewed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from likewise.errors import UsageError
from training.classifiers import softmax
from training.data.matrix import borrowed_matrix
from training.data.reviews import REJECTED, Reviewed, reviewed_labels
from training.statistics.classes import Rate, mcnemar, rate

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from likewise.study import Study
    from training.data.labels import Labels

__all__ = ["ReviewGain", "gain_of_reviews", "review_gain", "with_reviews"]


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


def with_reviews(study: Study, labels: Labels) -> tuple[Labels, Reviewed]:
    """Labels with those of training and validation as people left them; rejected pictures go.

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
    training = np.arange(len(labels.label)) < labels.test.start
    names = {name: number for number, name in enumerate(labels.classes)}
    said = reviewed_labels(study, labels.picture_id, labels.label, training, names)
    # What a review calls by a class that no model may learn is learned by none.
    hidden = training & (said.label >= len(labels.known))
    dropped = {REJECTED: said.rejected, "of an unseen class in review": int(hidden.sum())}
    return replace(labels, label=said.label).only(
        said.keep & ~hidden, {reason: n for reason, n in dropped.items() if n}
    ), said


def gain_of_reviews(
    study: Study, reviewed: Labels, before: Labels, said: Reviewed, layer: str, c: float
) -> ReviewGain | None:
    """A softmax layer of penalty ``c`` with and without reviews, on the test part (else validation)
    as far as nobody reviewed it; None where nothing is left of it.
    """
    parts = {"test": before.test, "validation": before.validation}
    left = [name for name, at in parts.items() if not said.touched[at].all()]
    if not left:
        return None
    part = left[0]
    fresh = ~said.touched[parts[part]]
    group = before.group[parts[part]][fresh]
    with_, without = (_right(study, labels, layer, c, part)[fresh] for labels in (reviewed, before))
    return review_gain(said, part, with_, without, group, seed=study.config.study.seed)


def review_gain(
    said: Reviewed,
    part: str,
    with_: NDArray[np.bool_],
    without: NDArray[np.bool_],
    group: NDArray[np.int64],
    *,
    seed: int,
) -> ReviewGain:
    """The gain by what two models that differ in the reviews alone have right, (n,) each, on
    pictures of a part that nobody reviewed; ``group`` (n,) stands on one side as a whole."""
    paired = mcnemar(with_, without, group, seed=seed)
    return ReviewGain(
        said.changed,
        said.rejected,
        said.confirmed,
        part,
        rate(with_, group),
        rate(without, group),
        paired.difference,
        paired.low,
        paired.high,
        paired.p,
    )


def _right(study: Study, labels: Labels, layer: str, c: float, part: str) -> NDArray[np.bool_]:
    """Whether each picture of the part is told right by a layer fitted on these labels."""
    at = labels.test if part == "test" else labels.validation
    with borrowed_matrix(study, labels, layer) as matrix:
        rows, label = matrix.all_train, np.tile(labels.label[: labels.n_train], matrix.views)
        model = softmax.fit_one(rows, label, c, len(labels.known))
        scores = matrix.mean_views(matrix.test @ model["weight"]) + model["bias"]
    own = scores[at.start - labels.n_train : at.stop - labels.n_train]
    right: NDArray[np.bool_] = own.argmax(axis=1) == labels.label[at]
    return right
