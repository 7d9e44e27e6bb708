"""What a comparison found, as typed values: ``reports/comparison.json`` is written and read here.

Everything that is said about a comparison is said from these values, in ``sentences``. A number
that does not exist (a diverged grid point, one class in a resample) is None, in the file null.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from training.comparison.report_file import ReportFile
from training.data.unit import AUTHORS, Unit

__all__ = [
    "BaselineResult",
    "ByPicture",
    "ByTime",
    "Chance",
    "Comparison",
    "Confusion",
    "Data",
    "Difference",
    "FigureFile",
    "GridPoint",
    "LearningPoint",
    "Looks",
    "Paired",
    "PrecisionRecall",
    "Result",
    "Score",
    "Verdict",
    "Worth",
    "load",
    "save",
]

FILE = "comparison.json"

Verdict = Literal["above", "below", "alike", "open"]
"""``alike``: the interval lies inside the margin of equivalence; ``open``: nothing can be said."""


@dataclass(frozen=True, slots=True)
class Score:
    """A number and its 95 % interval over held-out authors."""

    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Difference:
    """``left - right`` of a metric on the same held-out authors, and what may be said of it.

    ``p`` is that of the one-sided permutation test of ``left > right``; None where no two authors
    can be exchanged. ``verdict`` is ``above`` only where interval and test agree.
    """

    value: float | None
    low: float | None
    high: float | None
    p: float | None
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Paired:
    """A difference between two saved models."""

    left: str
    right: str
    difference: Difference


@dataclass(frozen=True, slots=True)
class GridPoint:
    """One grid point: average precision in cross-validation; ``folds`` is empty if it diverged."""

    parameters: Mapping[str, float | str]
    mean: float | None
    spread: float | None
    folds: Mapping[int, float]


@dataclass(frozen=True, slots=True)
class PrecisionRecall:
    """A curve as two lists of the same length, recall rising."""

    recall: Sequence[float]
    precision: Sequence[float]


@dataclass(frozen=True, slots=True)
class Confusion:
    """``counts[i][j]``: held-out pictures of class i that were called class j."""

    classes: Sequence[str]
    counts: Sequence[Sequence[int]]


@dataclass(frozen=True, slots=True)
class Result:
    """One classifier on one set of one layer.

    ``confusion`` and ``threshold`` (the score of probability 1/2) are None, and accuracy and Brier
    have no value, where the calibration was refused.
    """

    layer: str
    set: str
    classifier: str
    model: str
    parameters: Mapping[str, Any]
    cv_average_precision: float
    metrics: Mapping[str, Score]
    p_value: float | None
    against: Mapping[str, Difference]
    calibrated: bool
    confusion: Confusion | None
    threshold: float | None
    pr_curve: PrecisionRecall
    curve: Sequence[GridPoint]
    made_by: Mapping[str, str]
    checks: Mapping[str, float]
    notes: Sequence[str]

    @property
    def average_precision(self) -> Score:
        """On the held-out authors."""
        return self.metrics["average_precision"]


@dataclass(frozen=True, slots=True)
class BaselineResult:
    """What can be said without the picture, or from its plainest properties."""

    name: str
    description: str
    metrics: Mapping[str, Score]
    p_value: float | None


@dataclass(frozen=True, slots=True)
class LearningPoint:
    """Average precision on the held-out authors for ``authors`` trained on."""

    authors: int
    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Data:
    """What was compared on what."""

    pictures: int
    training_pictures: int
    training_authors: int
    held_out_pictures: int
    held_out_authors: int
    good_share: float
    folds: int
    labels_fingerprint: str
    features_fingerprint: str


@dataclass(frozen=True, slots=True)
class Chance:
    """What knowing nothing gets on the held-out pictures.

    ``average_precision`` is the expectation of scores in random order. It lies above
    ``good_share``, the limit for many pictures, and is where the chance line is drawn.
    """

    average_precision: float
    good_share: float


@dataclass(frozen=True, slots=True)
class Worth:
    """What a picture adds to what is known without it: average precision on held-out authors.

    ``known`` uses ``knows`` (for instance followers, author history, time), ``picture`` the best
    classifier of the comparison, ``both`` the two together; ``gain`` is both minus known.
    """

    knows: Sequence[str]
    known: Score
    picture: Score
    both: Score
    gain: Difference
    pictures: int
    authors: int


@dataclass(frozen=True, slots=True)
class ByTime:
    """The best linear model fitted before ``cut`` and tested after it, on other authors."""

    cut: str
    training_pictures: int
    training_authors: int
    held_out_pictures: int
    held_out_authors: int
    chance: Chance
    average_precision: Score
    against_chance: Difference


@dataclass(frozen=True, slots=True)
class ReviewChange:
    """What reviews changed: one LinearSVC with and without them, average precision on the same
    held-out pictures, none of which anybody has reviewed; ``gain`` is with minus without.

    ``changed``, ``rejected`` and ``confirmed`` count training pictures.
    """

    changed: int
    rejected: int
    confirmed: int
    without: Score
    reviewed: Score
    gain: Difference
    pictures: int
    authors: int


@dataclass(frozen=True, slots=True)
class ByPicture:
    """Cross-validation with folds by picture: it leaks, for authors stand on both sides.

    Kept beside ``by_author``, the same classifier's cross-validation by author, to be compared with
    published numbers that were made this way.
    """

    layer: str
    set: str
    classifier: str
    parameters: Mapping[str, Any]
    by_picture: float
    by_author: float


@dataclass(frozen=True, slots=True)
class Looks:
    """How often these held-out authors have been looked at, this time included.

    Every look makes the best of them a little too good: ``runs`` of compare or finetune, and
    ``models`` scored in all of them.
    """

    runs: int
    models: int


@dataclass(frozen=True, slots=True)
class FigureFile:
    """``reports/figures/NAME.png`` and ``.svg``."""

    name: str
    title: str
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The whole of ``reports/comparison.json``.

    ``answer`` is what the comparison says, in the order in which it is to be read; ``sentences``
    holds one verdict for each of ``results``. ``margin`` is the margin of equivalence; ``left_out``
    the number of authors, or groups of them, whose leaving out gives the intervals. Where blocks
    of time were dealt, ``unit`` says so, and everything that counts authors counts blocks.
    """

    study: str
    fingerprint: str
    backbone: str
    data: Data
    best: str
    results: Sequence[Result]
    baselines: Sequence[BaselineResult]
    differences: Sequence[Paired]
    learning_curves: Mapping[str, Sequence[LearningPoint]]
    chance: Chance
    margin: float
    unit: Unit = AUTHORS
    worth: Worth | None = None
    by_time: ByTime | None = None
    by_picture: Sequence[ByPicture] = ()
    reviews: ReviewChange | None = None
    looks: Looks | None = None
    answer: Sequence[str] = ()
    sentences: Sequence[str] = ()
    notes: Sequence[str] = ()
    figures: Sequence[FigureFile] = field(default_factory=tuple)
    left_out: int
    permutations: int

    @property
    def best_result(self) -> Result:
        """The row that was best in cross-validation."""
        return next(row for row in self.results if row.model == self.best)

    def baseline(self, name: str) -> BaselineResult | None:
        """The baseline of that name; None where the data did not allow it."""
        return next((row for row in self.baselines if row.name == name), None)


_REPORT = ReportFile(FILE, Comparison)
save, load = _REPORT.save, _REPORT.load
