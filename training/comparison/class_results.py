"""What a comparison of k classes found, as typed values: ``reports/classes.json``.

Everything that is said about it is said from these values, in ``class_words``. A number that does
not exist is None, in the file null.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from training.comparison.report_file import ReportFile
from training.comparison.results import FigureFile, Looks
from training.statistics.classes import ClassRow, Paired, Rate, Separation

__all__ = [
    "FILE",
    "Abstention",
    "Against",
    "ClassComparison",
    "ClassData",
    "ClassGridPoint",
    "ClassResult",
    "Difficult",
    "OpenWorld",
    "Part",
    "load",
    "save",
]

FILE = "classes.json"


@dataclass(frozen=True, slots=True)
class ClassGridPoint:
    """One grid point on the held pictures; both numbers are None when the fit diverged."""

    parameters: Mapping[str, float | str]
    accuracy: float | None
    cross_entropy: float | None


@dataclass(frozen=True, slots=True)
class ClassResult:
    """One classifier on one set of one layer, on the test pictures.

    ``held`` is its accuracy on the pictures that chose it, ``top_k`` that of the k most probable
    classes, ``cross_entropy`` in nats of calibrated probabilities; ``confusion[i][j]`` counts
    pictures of class i that were called class j.
    """

    layer: str
    set: str
    classifier: str
    model: str
    parameters: Mapping[str, Any]
    held: Rate
    held_cross_entropy: float
    temperature: float
    top_1: Rate
    top_k: Rate
    cross_entropy: float
    per_class: Sequence[ClassRow]
    confusion: Sequence[Sequence[int]]
    curve: Sequence[ClassGridPoint]
    steps: Sequence[Mapping[str, float]]
    made_by: Mapping[str, str]
    checks: Mapping[str, float]
    notes: Sequence[str]

    @property
    def title(self) -> str:
        """'softmax on pooled'."""
        return f"{self.classifier} on {self.layer}"


@dataclass(frozen=True, slots=True)
class Against:
    """The best model beside another one, or beside ``majority``, on the same test pictures.

    ``p`` is adjusted for all models that the best is held against (Holm).
    """

    other: str
    paired: Paired


@dataclass(frozen=True, slots=True)
class Part:
    """One part of the study: pictures and groups of known classes."""

    name: str
    pictures: int
    groups: int
    per_class: Sequence[int]


@dataclass(frozen=True, slots=True)
class ClassData:
    """What was compared on what. ``group`` says what stands on one side: author or post."""

    parts: Sequence[Part]
    split: str
    group: str
    unseen_pictures: int
    held_by: str
    labels_fingerprint: str
    features_fingerprint: str


@dataclass(frozen=True, slots=True)
class Abstention:
    """A promised accuracy, and what follows on the test pictures; ``threshold`` None promises none.

    ``thresholds`` fall; ``coverage`` and ``accuracies`` are those of the test pictures at each.
    """

    accuracy: float
    confidence: float
    threshold: float | None
    needed: int
    validation_pictures: int
    validation_answered: int
    test_answered: Rate
    test_right: Rate
    unseen_passing: Rate
    thresholds: Sequence[float]
    coverage: Sequence[float]
    accuracies: Sequence[float]


@dataclass(frozen=True, slots=True)
class OpenWorld:
    """How well known classes are told from those that were held out whole.

    By ``nearness`` to the pictures of training (``training.statistics.nearness``), which asks no
    model, and by the largest ``probability`` of the model.
    """

    classes: Sequence[str]
    pictures: int
    nearness: Separation
    probability: Separation


@dataclass(frozen=True, slots=True)
class Difficult:
    """A test picture, and how probable its own class was."""

    picture_id: str
    true: str
    said: str
    probability: float
    certainty: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassComparison:
    """The whole of ``reports/classes.json``; ``k`` is that of ``top_k``.

    ``judged_on`` says which pictures the figures are of: ``test``, or those that chose.
    """

    study: str
    fingerprint: str
    backbone: str
    data: ClassData
    classes: Sequence[str]
    unseen: Sequence[str]
    k: int
    chance: float
    majority_class: str
    majority: Rate
    best: str
    results: Sequence[ClassResult]
    against: Sequence[Against]
    abstention: Abstention
    open_world: OpenWorld | None
    difficult: Sequence[Difficult]
    looks: Looks | None = None
    judged_on: str = "test"
    answer: Sequence[str] = ()
    notes: Sequence[str] = ()
    figures: Sequence[FigureFile] = ()

    @property
    def best_result(self) -> ClassResult:
        """The row of least cross-entropy on the held pictures."""
        return next(row for row in self.results if row.model == self.best)


_REPORT = ReportFile(FILE, ClassComparison)
save, load = _REPORT.save, _REPORT.load
