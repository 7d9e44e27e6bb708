"""The comparison of a study that asks which class a picture is of: labels, features -> comparison.

Classifiers and grid points are chosen on the held pictures (validation, or cross-validation where
the study has no such part); the test part judges every classifier once, and the look is counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from scipy.special import softmax

from likewise.errors import UsageError
from likewise.funnel import Funnel
from likewise.progress import progress
from likewise.tables import COMPARISON
from training import begin
from training.classifiers import forest, linear
from training.classifiers import softmax as softmax_layer
from training.comparison import class_results, class_words
from training.comparison.class_judge import ClassJudge, data_of, nearness_of
from training.comparison.class_results import ClassComparison, ClassGridPoint, ClassResult
from training.comparison.class_reviews import gain_of_reviews, with_reviews
from training.comparison.crossing import REASON, apart
from training.comparison.fits import Fits
from training.comparison.judge import finite
from training.comparison.looks import look
from training.data.matrix import borrowed_matrix, load_labels
from training.fitting.classes import ClassProblem
from training.fitting.grid import safe_name
from training.models import saved as models
from training.statistics.classes import Rate, rate

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from likewise.study import Manifest, Stage, Study
    from training.data.matrix import Labels, Matrix
    from training.fitting.classes import ClassFitted
    from training.fitting.fitted import Problem

__all__ = ["ClassFits", "Row", "best_row", "check_classifiers", "class_card", "compare_classes"]

USUAL = (softmax_layer.NAME, linear.NAME, forest.NAME)
"""Classifiers where ``[compare]`` names none: what needs no Spark."""

ACCURACY, CONFIDENCE = 0.99, 0.95


def check_classifiers(wanted: Sequence[str], refused: Sequence[str], question: str) -> None:
    """Raises UsageError where ``[compare]`` names a classifier of another question."""
    if other := [name for name in wanted if name in refused]:
        raise UsageError(
            f"[compare] classifiers names {', '.join(other)}, for studies {question}",
            hint="take it out of [compare] classifiers in likewise.toml",
        )


@dataclass(frozen=True)
class Row:
    """One classifier on one set of one layer; ``share`` are probabilities of what trains nothing.

    ``held`` is its accuracy on the pictures that chose it.
    """

    fitted: ClassFitted
    layer: str
    set: str
    backbone: str
    maker: str
    dim: int
    held: Rate
    share: NDArray[np.float64]

    @property
    def model(self) -> str:
        """Name of the saved model."""
        return safe_name(f"{self.layer}-{self.set}-{self.fitted.classifier}")

    @property
    def chose(self) -> NDArray[np.float64]:
        """(h, k) probabilities of the pictures that chose it."""
        shares: NDArray[np.float64]
        shares = softmax(self.fitted.held / self.fitted.chosen.temperature, axis=1)
        return shares

    def result(self, judge: ClassJudge, share: NDArray[np.float64] | None = None) -> ClassResult:
        """What pictures say of it; without a ``share`` this opens the test part."""
        fitted, chosen = self.fitted, self.fitted.chosen
        return replace(
            judge.judged(self.share if share is None else share),
            layer=self.layer,
            set=self.set,
            classifier=fitted.classifier,
            model=self.model,
            parameters=dict(fitted.parameters),
            held=self.held,
            held_cross_entropy=chosen.cross_entropy,
            temperature=chosen.temperature,
            curve=[
                ClassGridPoint(p.parameters, finite(p.accuracy), finite(p.cross_entropy))
                for p in fitted.curve
            ],
            steps=list(fitted.steps),
            made_by=fitted.made_by,
            checks=fitted.checks,
            notes=fitted.notes,
        )


class ClassFits(Fits):
    """Every classifier of k classes that ``[compare]`` names; unset, ``USUAL`` on one set."""

    def __init__(
        self, study: Study, labels: Labels, store: Path, *, master: str | None = None
    ) -> None:
        super().__init__(study, labels, store, master)
        told = self.settings.model_fields_set
        self.classifiers = list(self.settings.classifiers if "classifiers" in told else USUAL)
        for words in class_words.outside(labels.dropped):
            self.note(words)
        if labels.n_validation == 0 and softmax_layer.BY_STEPS in self.classifiers:
            self.classifiers.remove(softmax_layer.BY_STEPS)
            self.note(f"{softmax_layer.BY_STEPS} needs a validation part, and the split has none")

    def problems(self, matrix: Matrix) -> list[Problem]:
        """The sets of ``[compare]``; unset, that with most views alone."""
        found = super().problems(matrix)
        return found if "sets" in self.settings.model_fields_set else found[-1:]

    def rows(self, layers: Sequence[str]) -> list[Row]:
        """Fit everything; nothing is asked of the test part."""
        found: list[Row] = []
        each = sum(self.points(name) for name in self.classifiers)
        sets = len(self.settings.sets) if "sets" in self.settings.model_fields_set else 1
        with self.bar(len(layers) * sets * each):
            for matrix in self.matrices(layers):
                for problem in self.problems(matrix):
                    assert isinstance(problem, ClassProblem), "labels of classes make them"
                    found += [self._row(problem, name) for name in self.classifiers]
        return found

    def _row(self, problem: ClassProblem, name: str) -> Row:
        fitted, matrix, labels = self.fit_classes(problem, name), problem.matrix, self.labels
        right = fitted.held.argmax(axis=1) == problem.held_label
        group = labels.group[labels.validation if labels.n_validation else slice(labels.n_train)]
        return Row(
            fitted,
            matrix.layer,
            problem.set_name,
            matrix.backbone,
            matrix.maker,
            matrix.dim,
            rate(right, group),
            softmax(fitted.rest / fitted.chosen.temperature, axis=1),
        )


def best_row(rows: Sequence[Row]) -> Row:
    """The row of least cross-entropy on the held pictures, the first name of equals."""
    return min(rows, key=lambda row: (row.fitted.chosen.cross_entropy, row.model))


def compare_classes(study: Study, *, redo: bool, master: str | None) -> Manifest:
    """Compare the classifiers of k classes; arguments and errors are those of ``compare``."""
    settings = study.config.compare
    # Labels of kind "reviewed" hold the reviews already.
    reviews = settings.reviews and study.config.question.kind == "classes"
    reviews = reviews and study.manifest("reviews") is not None
    stage = begin.compare(study, redo=redo)
    if stage.done:
        return stage.manifest
    labels = before = apart(study, load_labels(study))
    said = None
    if reviews:
        labels, said = with_reviews(study, labels)
    folder = study.root / ".unfinished" / f"compare-{stage.fingerprint}"
    fits = ClassFits(study, labels, folder, master=master)
    judge = ClassJudge(labels)
    rows = fits.rows(fits.layers())
    found = _found(study, stage, fits, judge, rows)
    if said is not None:
        c, layer_of = softmax_layer.penalty_of(row.fitted for row in rows), best_row(rows).layer
        gain = gain_of_reviews(study, labels, before, said, layer_of, c)
        words = [] if gain is None else [f"{gain.sentence[0].upper()}{gain.sentence[1:]}."]
        found = replace(found, answer=[*found.answer, *words])
    _save_models(study, fits, rows, found)
    from training.comparison.class_figures import class_plots
    from training.comparison.curves import write

    plots = [(one.plot, one.height) for one in class_plots(found)]
    found = replace(found, figures=write(plots, study.folder("reports", "figures")))
    class_results.save(study, found)
    manifest = _publish(stage, labels, found)
    fits.store.discard()
    return manifest


def _found(
    study: Study, stage: Stage, fits: ClassFits, judge: ClassJudge, rows: Sequence[Row]
) -> ClassComparison:
    labels = fits.labels
    best = best_row(rows)
    others = {row.model: row.share for row in rows if row is not best}

    def near() -> NDArray[np.float64]:
        with (
            progress("nearness to the classes", 1) as bar,
            borrowed_matrix(study, labels, best.layer) as matrix,
        ):
            _, found = nearness_of(labels, matrix)
            bar.advance()
            return found

    if copies := labels.dropped.get(REASON):
        fits.note(f"training pictures left out as near copies of held-out ones: {copies}")
    found = ClassComparison(
        study=study.config.study.name,
        fingerprint=stage.fingerprint,
        backbone=rows[0].backbone,
        data=data_of(study, labels),
        classes=labels.known,
        unseen=labels.unseen,
        k=judge.k,
        chance=1 / len(labels.known),
        majority_class=labels.known[judge.majority],
        majority=judge.rate(judge.majority_right),
        best=best.model,
        results=[row.result(judge) for row in rows],
        against=judge.against(best.share, others),
        abstention=judge.abstention(best.share, ACCURACY, CONFIDENCE),
        open_world=judge.open_world(best.share, near),
        difficult=judge.difficult(best.share),
        looks=look(study, "compare", stage.fingerprint, len(rows)),
        notes=fits.notes,
    )
    return replace(found, answer=class_words.answer(found))


def class_card(
    fits: ClassFits, row: Row, result: ClassResult | None, *, name: str = ""
) -> dict[str, Any]:
    """The card of a model of k classes; without a ``result`` the test part has not been opened."""
    labels, fitted = fits.labels, row.fitted
    manifest, features = fits.study.require("labels"), fits.study.require("features")
    scores: dict[str, Any] = {
        "held_cross_entropy": fitted.chosen.cross_entropy,
        "held_accuracy": _told(row.held),
    }
    if result is not None:
        scores["test_accuracy"] = _told(result.top_1)
    return {
        "name": name or row.model,
        "kind": fitted.kind,
        "verb": "train" if name else "compare",
        "summary": f"Tells {len(labels.known)} classes apart.",
        "classifier": fitted.classifier,
        "parameters": dict(fitted.parameters),
        "backbone": row.backbone,
        "layer": row.layer,
        "set": row.set,
        "maker": row.maker,
        "dim": row.dim,
        "classes": list(labels.known),
        "unseen": list(labels.unseen),
        "temperature": fitted.chosen.temperature,
        "scores": scores,
        "data": {
            "labels": manifest.fingerprint,
            "features": features.fingerprint,
            "training pictures": labels.n_train,
            "validation pictures": labels.n_validation,
        },
        "weights": fits.weights(),
        "limits": [
            "It knows these classes only: of anything else it names the likest one, often surely.",
            "Probabilities hold for pictures like those of the study.",
        ],
    }


def _told(one: Rate) -> dict[str, float]:
    return {"value": one.value, "low": one.low, "high": one.high}


def _save_models(
    study: Study, fits: ClassFits, rows: Sequence[Row], found: ClassComparison
) -> None:
    for row, result in zip(rows, found.results, strict=True):
        models.save(study, row.fitted.build(class_card(fits, row, result)))
    # Models of an older comparison would be ranked beside these; those of `classify train` stay.
    kept = {result.model for result in found.results}
    for name in set(models.class_names(study)) - kept:
        if models.load_classes(study, name).card.get("verb") == "compare":
            models.remove(study, name)


def _publish(stage: Stage, labels: Labels, found: ClassComparison) -> Manifest:
    stage.write(pa.Table.from_pylist(class_words.class_rows(found), COMPARISON.schema))
    used, dropped = len(labels.label), dict(labels.dropped)
    return stage.publish(
        funnel=Funnel("compare", "pictures", used + sum(dropped.values()), used, dropped),
        question="classes",
        best=found.best,
        sentences=list(found.answer),
        notes=list(found.notes),
    )
