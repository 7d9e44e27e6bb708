"""``likewise compare``: which classifier tells good pictures from bad, and how sure that is.

A study that asks which class a picture is of is compared by ``comparison.class_run``.

features, labels -> comparison, ``models/``, ``reports/comparison.json`` and figures. Folds and
held-out authors come from the labels table; every classifier sees the same ones.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from backbones.registry import NOT_THE_PAPERS
from likewise.errors import DataError
from likewise.funnel import Funnel
from likewise.study import Manifest, Stage, Study
from likewise.working import changes_study
from training import begin
from training.classifiers import binary_tree, linear, softmax
from training.comparison import class_results, results, sentences, verdict
from training.comparison.baselines import Baseline, Known, baselines, known_and_picture
from training.comparison.class_run import check_classifiers, compare_classes
from training.comparison.class_words import class_text
from training.comparison.crossing import REASON, apart
from training.comparison.fits import Fits
from training.comparison.fold_scores import publish_fold_scores
from training.comparison.judge import Judge
from training.comparison.learning import learning_curve
from training.comparison.looks import look
from training.comparison.results import (
    ByPicture,
    ByTime,
    Comparison,
    Data,
    LearningPoint,
    Result,
    ReviewChange,
    Worth,
)
from training.comparison.splits import Later, by_picture, by_time, later, without_reviews
from training.comparison.tabulate import comparison_rows, text
from training.comparison.verdict import Judged
from training.data.matrix import Labels, load_labels, load_matrix
from training.data.question import asks_classes
from training.data.reviews import REJECTED, Reviewed, reviewed_likes
from training.fitting.fitted import Problem
from training.fitting.grid import GridStore
from training.models import saved as models
from training.pictures.looks import picture_looks

__all__ = ["compare", "comparison_text"]

CLASSES_ONLY = (softmax.NAME, softmax.BY_STEPS, binary_tree.NAME)

FEW_AUTHORS = 20
"""The least for which the coverage of the intervals has been shown (``benchmarks/claims.py``)."""


@changes_study("compare")
def compare(
    study: Study | str | os.PathLike[str], *, redo: bool = False, master: str | None = None
) -> Manifest:
    """Compare the classifiers and publish the table ``comparison``.

    Args:
        study: the study or its folder.
        redo: compare anew although the table stands there.
        master: Spark master for SVMWithSGD; default is ``[spark] master``.

    Raises:
        MissingTableError: features or labels have not been published.
        DataError: the data cannot carry a comparison (one class, too few authors, NaN, ...).
    """
    opened = Study.open(study)
    if asks_classes(opened):
        return compare_classes(opened, redo=redo, master=master)
    settings = opened.config.compare
    check_classifiers(settings.classifiers, CLASSES_ONLY, "about classes")
    reviews = settings.reviews and opened.manifest("reviews") is not None
    stage = begin.compare(opened, redo=redo)
    if stage.done:
        return stage.manifest
    labels = apart(opened, load_labels(opened, settings.split))
    said = None
    before = labels
    if reviews:
        labels, said = reviewed_likes(opened, labels)
    return _Comparison(opened, stage, labels, master, before, said).run()


def comparison_text(study: Study | str | os.PathLike[str]) -> str:
    """The printed tables of the published comparison."""
    opened = Study.open(study)
    asked = opened.require("comparison").extra.get("question", "likes")
    classes = None if asked == "likes" else class_results.load(opened)
    found = results.load(opened) if asked == "likes" else None
    if found is not None:
        return text(found)
    if classes is not None:
        return class_text(classes)
    file = results.FILE if asked == "likes" else class_results.FILE
    raise DataError(
        f"{opened.root / 'reports' / file} is gone",
        hint="make it anew with: likewise compare --redo",
    )


class _Comparison(Fits):
    """One run: fits what is not finished yet, judges, saves, publishes."""

    def __init__(
        self,
        study: Study,
        stage: Stage,
        labels: Labels,
        master: str | None,
        before: Labels,
        said: Reviewed | None,
    ) -> None:
        self.stage, self.before, self.said = stage, before, said
        super().__init__(
            study, labels, study.root / ".unfinished" / f"compare-{stage.fingerprint}", master
        )
        held_out = slice(labels.n_train, None)
        self.judge = Judge(
            labels.label[held_out],
            labels.group[held_out],
            permutations=self.settings.permutations,
            margin=self.settings.margin,
            seed=self.seed,
        )
        self.known = Known.of(labels)
        self.notes = list(self.known.notes)
        self.learning: dict[str, list[LearningPoint]] = {}
        self.later = later(labels, study.config.label.test_fraction)
        self.by_time: dict[str, ByTime] = {}
        self.by_picture: list[ByPicture] = []

    def run(self) -> Manifest:
        layers = self.layers()
        plain = self._baselines()
        rows = self._fit(layers)
        found = self._found(rows, plain)
        self._save_models(rows, found)
        found = replace(found, figures=self._figures(found))
        results.save(self.study, found)
        publish_fold_scores(self.study, self.labels, rows, self.stage.fingerprint)
        manifest = self._publish(found)
        for folder in self.store.folder.parent.glob("compare-*"):
            GridStore(folder).discard()
        return manifest

    def _baselines(self) -> list[Baseline]:
        def compute() -> dict[str, Any]:
            looks = picture_looks(self.study, self.labels, self.jobs)
            return {} if looks is None else {"looks": looks}

        looks = self.store.point("looks", compute).get("looks")
        if looks is None:
            self.notes.append("no pictures table: no baseline of plain picture properties")
        return baselines(self.labels, self.known, looks)

    def _fit(self, layers: Sequence[str]) -> list[Judged]:
        rows: list[Judged] = []
        with self.bar(self._points(len(layers))):
            for matrix in self.matrices(layers):
                for problem in self.problems(matrix):
                    rows += [self._judged(problem, name) for name in self.settings.classifiers]
        return rows

    def _judged(self, problem: Problem, name: str) -> Judged:
        judged = Judged.of(self.judge, problem, self.fit(problem, name))
        if name == linear.NAME:
            self._beside(problem, judged)
        return judged

    def _beside(self, problem: Problem, judged: Judged) -> None:
        """What is told beside a LinearSVC: its learning curve, and other splits."""
        layer, c = problem.matrix.layer, float(judged.fitted.parameters["C"])
        store = self.store.below(f"{layer}-{problem.set_name}-learning")
        if layer not in self.learning:
            self.learning[layer] = learning_curve(problem, store, c, self.judge)
        if isinstance(self.later, Later):
            self.by_time[judged.model] = by_time(problem, store, self.later, c, self.judge)
        if self.settings.by_picture:
            store = self.store.below(f"{layer}-{problem.set_name}-by-picture")
            found = by_picture(problem, store, self.settings.c_values, judged.fitted)
            self.by_picture.append(found)

    def _points(self, layers: int) -> int:
        each = sum(self.points(name) for name in self.settings.classifiers)
        if linear.NAME not in self.settings.classifiers:
            return layers * len(self.settings.sets) * each
        each += isinstance(self.later, Later) + self.settings.by_picture * len(
            self.settings.c_values
        )
        return layers * (len(self.settings.sets) * each + 1)

    def _found(self, rows: Sequence[Judged], plain: Sequence[Baseline]) -> Comparison:
        held = {b.name: self.judge.held(b.evaluation) for b in plain}
        found = [verdict.result(self.judge, row, held) for row in rows]
        best = max(zip(rows, found, strict=True), key=lambda pair: _rank(pair[1]))
        self._note_data()
        comparison = Comparison(
            study=self.study.config.study.name,
            fingerprint=self.stage.fingerprint,
            backbone=rows[0].backbone,
            data=self._data(),
            best=best[1].model,
            results=found,
            baselines=verdict.baseline_results(self.judge, plain, held),
            differences=verdict.differences(self.judge, rows),
            learning_curves=self.learning,
            chance=self.judge.chance,
            margin=self.judge.margin,
            unit=self.labels.unit,
            worth=self._worth(best[0]),
            by_time=self._by_time(found),
            by_picture=self.by_picture,
            reviews=self._review_change(found),
            looks=look(self.study, "compare", self.stage.fingerprint, len(rows)),
            left_out=self.judge.left_out.count,
            permutations=self.settings.permutations,
        )
        return replace(
            comparison,
            answer=[*self._another_network(), *sentences.answer(comparison)],
            sentences=[sentences.of_result(row, comparison) for row in found],
            notes=self.notes,
        )

    def _another_network(self) -> list[str]:
        """Said above all else: the paper's network was asked for and is not this one."""
        reason = self.study.require("features").extra.get("reason")
        return [f"{reason[0].upper()}{reason[1:]}."] if reason == NOT_THE_PAPERS else []

    def _worth(self, best: Judged) -> Worth | None:
        """What the best classifier's score adds to what is known without the picture."""
        if not self.known.designs:
            self.note("nothing is known of the pictures without them: no gain can be told")
            return None
        known, both = (
            self.judge.held(evaluation)
            for evaluation in known_and_picture(
                self.labels, self.known, best.fitted.out_of_fold, best.fitted.test
            )
        )
        data = self._data()
        return Worth(
            knows=list(self.known.designs),
            known=self.judge.scores(known)["average_precision"],
            picture=self.judge.scores(best.held)["average_precision"],
            both=self.judge.scores(both)["average_precision"],
            gain=self.judge.difference(both, known),
            pictures=data.held_out_pictures,
            authors=data.held_out_authors,
        )

    def _by_time(self, found: Sequence[Result]) -> ByTime | None:
        """That of the linear model that was best in cross-validation."""
        if isinstance(self.later, str):
            self.note(f"no test on later posts: {self.later}")
        linear_rows = [row for row in found if row.model in self.by_time]
        if not linear_rows:
            return None
        return self.by_time[max(linear_rows, key=_rank).model]

    def _review_change(self, found: Sequence[Result]) -> ReviewChange | None:
        """What people's reviews did to the linear model that was best in cross-validation."""
        linear_rows = [row for row in found if row.classifier == linear.NAME]
        if self.said is None:
            return None
        if not linear_rows:
            self.note("what the reviews changed is told by LinearSVC, which was not compared")
            return None
        best = max(linear_rows, key=_rank)
        views, c = 1 + (best.set == "flipped"), float(best.parameters["C"])
        sides = []
        for name, labels in (("after", self.labels), ("before", self.before)):
            path = self.store.path(f"reviews-{name}.npy")
            matrix = load_matrix(self.study, best.layer, labels, path)
            sides.append(Problem(matrix, labels, views, self.seed, self.jobs))
        change = without_reviews(sides[0], sides[1], self.said, c, self.judge)
        for side in sides:
            side.matrix.path.unlink()
        if change is None:
            self.note("too few held-out pictures are unreviewed to tell what the reviews changed")
        return change

    def _save_models(self, rows: Sequence[Judged], found: Comparison) -> None:
        about = {"folds": list(self.labels.folds), "weights": self.weights()}
        for row, result in zip(rows, found.results, strict=True):
            models.save(self.study, row.fitted.build(verdict.card(row, result, found, about)))
        # Models of an older comparison would be ranked beside these, on scores of other data.
        for name in set(models.names(self.study)) - {row.model for row in rows}:
            models.remove(self.study, name)

    def _data(self) -> Data:
        labels, n_train = self.labels, self.labels.n_train
        return Data(
            pictures=len(labels.label),
            training_pictures=n_train,
            training_authors=int(np.unique(labels.group[:n_train]).size),
            held_out_pictures=len(labels.label) - n_train,
            held_out_authors=int(np.unique(labels.group[n_train:]).size),
            good_share=float(labels.label.mean()),
            folds=len(labels.folds),
            labels_fingerprint=self.study.require("labels").fingerprint,
            features_fingerprint=self.study.require("features").fingerprint,
        )

    def _note_data(self) -> None:
        many = self.labels.unit.many
        if self.labels.unit.warning:
            self.note(self.labels.unit.warning)
        if self.judge.permuted is None:
            self.note(
                f"no p-values, so nothing is claimed: no permutations asked, or no two {many} of "
                "equal size"
            )
        held_out = self._data().held_out_authors
        if held_out < FEW_AUTHORS:
            self.note(
                f"only {held_out} held-out {many}: it is not known how often intervals over so "
                "few hold the truth"
            )
        if copies := self.labels.dropped.get(REASON):
            self.note(f"training pictures left out as near copies of held-out ones: {copies}")
        if rejected := self.labels.dropped.get(REJECTED):
            self.note(f"training pictures left out ({REJECTED}): {rejected}")
        if len(self.labels.folds) < self.study.config.label.folds:
            self.note(f"only {len(self.labels.folds)} folds hold training {many}")

    def _figures(self, found: Comparison) -> list[results.FigureFile]:
        from training.comparison import curves

        return curves.save(found, self.study.folder("reports", "figures"))

    def _publish(self, found: Comparison) -> Manifest:
        from likewise.tables import COMPARISON

        self.stage.write(pa.Table.from_pylist(comparison_rows(found), COMPARISON.schema))
        used, dropped = len(self.labels.label), dict(self.labels.dropped)
        return self.stage.publish(
            funnel=Funnel("compare", "pictures", used + sum(dropped.values()), used, dropped),
            best=found.best,
            sentences=list(found.sentences),
            notes=list(found.notes),
        )


def _rank(row: Result) -> tuple[float, list[int]]:
    """As ``models.best`` chooses: the highest in cross-validation, the first name of equals."""
    return row.cv_average_precision, [-ord(letter) for letter in row.model]
