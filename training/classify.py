"""``likewise classify``: train, evaluate, predict, map, clean-labels and zero-shot for k classes.

labels and features of a study whose question is about classes -> ``models/NAME/``, ``reports/``.
The same tables, features and parts serve every verb; papers 2 to 4 differ in labels and networks.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from likewise.errors import UsageError
from likewise.progress import progress
from likewise.study import Study, fingerprint
from likewise.whole import write_json
from likewise.working import changes_study
from training.classification.cleaning import Doubts, clean_labels
from training.classification.evaluation import Evaluation, judge_model
from training.classification.prediction import Prediction, predict
from training.classification.zero_shot import zero_shot
from training.classifiers import softmax
from training.comparison.class_judge import ClassJudge, data_of
from training.comparison.class_results import ClassComparison
from training.comparison.class_reviews import gain_of_reviews, with_reviews
from training.comparison.class_run import (
    ACCURACY,
    CONFIDENCE,
    ClassFits,
    Row,
    best_row,
    class_card,
)
from training.comparison.crossing import apart
from training.comparison.judge import finite
from training.comparison.looks import look
from training.comparison.tabulate import grid
from training.data.matrix import borrowed_matrix, load_labels
from training.data.question import must_ask_classes
from training.galleries.class_gallery import of_model
from training.maps.projection import lay_out, principal_components, quality
from training.maps.writer import write_map
from training.models import saved as models
from training.pictures.thumbnails import decoded
from training.report.model_page import model_page
from training.report.sections import looks_for

__all__ = [
    "Doubts",
    "Evaluation",
    "Prediction",
    "Trained",
    "clean_labels",
    "draw_map",
    "evaluate",
    "predict",
    "train",
    "zero_shot",
]


@dataclass(frozen=True, slots=True)
class Trained:
    """What ``train`` did: figures of each classifier on the held pictures, and what was saved."""

    model: str
    chosen: str
    validation: tuple[Mapping[str, Any], ...]
    classes: tuple[str, ...]
    pictures: Mapping[str, int]
    notes: tuple[str, ...]
    page: Path | None = None

    def text(self) -> str:
        """The table as people read it."""
        head = ["classifier", "parameters", "right where it was chosen"]
        names = ("classifier", "parameters", "accuracy")
        table = grid([head, *([str(row[name]) for name in names] for row in self.validation)])
        lines = [table, "", f"saved as {self.model}: {self.chosen}", *self.notes]
        return "\n".join([*lines, *([] if self.page is None else [str(self.page)])])


@changes_study("classify")
def train(
    study: Study | str | os.PathLike[str],
    *,
    name: str = "classes",
    layer: str | None = None,
    search: bool = False,
    reviews: bool = False,
    page: bool = True,
) -> Trained:
    """Fit every classifier on the training part, choose on the held pictures, save the model.

    Nothing is asked of the test part; see ``evaluate`` and ``compare``.

    Args:
        study: a study whose labels are classes and whose features are extracted.
        name: name of the model; one of that name is replaced.
        layer: feature layer; the default is the table's last but the logits.
        search: also try 18 ways to train the last layer by steps.
        reviews: learn labels as people corrected them in review; what that changed is measured on
            the test part's pictures that nobody reviewed, which counts as a look at it.
        page: write ``reports/classify-NAME-train.html``: curves, and the difficult pictures of
            those that chose.

    Raises:
        UsageError: the labels hold the reviews already, or there is no such layer.
        MissingTableError, DataError: labels or features are missing or unfit.
    """
    opened = Study.open(study)
    must_ask_classes(opened)
    labels = before = apart(opened, load_labels(opened))
    said = None
    if reviews:
        labels, said = with_reviews(opened, labels)
    parts = [opened.require(table).fingerprint for table in ("labels", "features")]
    parts += [opened.require("reviews").fingerprint] if reviews else []
    place = (
        f"train-{fingerprint({'parts': parts, 'config': opened.config.model_dump(mode='json')})}"
    )
    fits = ClassFits(opened, labels, opened.root / ".unfinished" / place)
    fits.classifiers = list(dict.fromkeys([softmax.NAME, *fits.classifiers]))
    if search and softmax.BY_STEPS not in fits.classifiers and labels.n_validation:
        fits.classifiers.append(softmax.BY_STEPS)
    known = fits.layers()
    if layer is not None and layer not in known:
        raise UsageError(f"features holds no layer {layer!r}, but {', '.join(known)}")
    rows = fits.rows([layer or known[-1]])
    best = best_row(rows)
    card = class_card(fits, best, None, name=name)
    notes = list(fits.notes)
    if not labels.n_validation:
        notes.append("there is no validation part: the choice was made in cross-validation")
    if said is not None:
        penalty = softmax.penalty_of(row.fitted for row in rows)
        gain = gain_of_reviews(opened, labels, before, said, best.layer, penalty)
        card["reviews"] = None if gain is None else asdict(gain)
        if gain is not None and gain.part == "test":
            look(opened, "classify train --reviews", place, 1)
        notes.append(
            "every held-out picture was reviewed: what the reviews changed is unknown"
            if gain is None
            else gain.sentence
        )
    models.save(opened, best.fitted.build(card))
    table = [_told(row) for row in rows]
    write_json(opened.folder("reports") / f"classify-{name}-curves.json", table)
    fits.store.discard()
    path = _trained_page(opened, name, fits, rows, best) if page else None
    sizes = {
        "train": labels.n_train,
        "validation": labels.n_validation,
        "test": len(labels.label[labels.test]),
    }
    chosen = f"{card['classifier']}, {_told(best)['parameters']}"
    return Trained(name, chosen, tuple(table), labels.known, sizes, tuple(notes), path)


def _trained_page(study: Study, name: str, fits: ClassFits, rows: Sequence[Row], best: Row) -> Path:
    labels = fits.labels
    judge = ClassJudge(labels, chose=True)
    part = "validation" if labels.n_validation else "train"
    result = best.result(judge, best.chose)
    named = "validation" if labels.n_validation else "out-of-fold training"
    found = ClassComparison(
        study=study.config.study.name,
        fingerprint=fingerprint([row.model for row in rows]),
        backbone=best.backbone,
        data=data_of(study, labels),
        classes=labels.known,
        unseen=labels.unseen,
        k=judge.k,
        chance=1 / len(labels.known),
        majority_class=labels.known[judge.majority],
        majority=judge.rate(judge.majority_right),
        best=best.model,
        results=[row.result(judge, row.chose) for row in rows],
        against=judge.against(best.chose, {}),
        abstention=judge.without_promise(best.chose, ACCURACY),
        open_world=None,
        difficult=judge.difficult(best.chose),
        judged_on=named,
        notes=fits.notes,
        answer=[
            f"Of {len(rows)} classifiers {result.title} has the least cross-entropy on the "
            f"pictures that chose; it gets {result.top_1} of them right. The best of several "
            "flatters itself there.",
            f"The test part stays closed until: likewise classify evaluate {study.root}",
        ],
    )
    pictures = labels.picture_id[judge.own]
    chosen = of_model(study, pictures, best.chose, labels.known, model=name, part=part)
    return model_page(study, name, found, chosen, models.load_classes(study, name))


@changes_study("classify")
def evaluate(
    study: Study | str | os.PathLike[str],
    *,
    model: str | None = None,
    accuracy: float = ACCURACY,
    confidence: float = CONFIDENCE,
    against: str | None = None,
    page: bool = True,
    looks: bool = False,
) -> Evaluation:
    """Judge a model on the test part; the look is counted, once for the same model and labels.

    Args:
        study: the study that the model was trained in.
        model: its name; the default is the best on the held pictures.
        accuracy, confidence: of the threshold to promise, chosen on validation.
        against: another model, compared on the same pictures (McNemar).
        page: write ``reports/classify-NAME.html``: classes, mistakes, difficult pictures, curves.
        looks: also draw there what the model looks for in each class (activation maximisation).

    Raises:
        MissingTableError: there is no such model.
        DataError: the model was trained on other features, or no picture is in the test part.
        UsageError: accuracy or confidence is not between 0 and 1.
    """
    opened = Study.open(study)
    done = judge_model(
        opened, model=model, accuracy=accuracy, confidence=confidence, against=against
    )
    if not page:
        return done
    labels = load_labels(opened)
    chosen = of_model(
        opened,
        labels.picture_id[labels.n_train :],
        done.share,
        labels.known,
        model=done.model,
        part="test",
    )
    scorer = models.load_classes(opened, done.model)
    more = [looks_for.section] if looks else []
    path = model_page(opened, done.model, done.found, chosen, scorer, more)
    return replace(done, page=path)


def _told(row: Row) -> dict[str, Any]:
    """A line of the table of classifiers, with its course."""
    parameters = ", ".join(f"{key}={value}" for key, value in row.fitted.parameters.items())
    return {
        "classifier": row.fitted.classifier,
        "parameters": parameters,
        "accuracy": str(row.held),
        "value": row.held.value,
        "cross_entropy": row.fitted.chosen.cross_entropy,
        "grid": [
            {**p.parameters, "accuracy": finite(p.accuracy), "loss": finite(p.cross_entropy)}
            for p in row.fitted.curve
        ],
        "curve": list(row.fitted.steps),
    }


@changes_study("classify")
def draw_map(
    study: Study | str | os.PathLike[str], *, layer: str | None = None, output: Path | None = None
) -> tuple[Path, str]:
    """Lay every labelled picture out on a plane, write the page, say how far it can be trusted.

    Raises:
        MissingTableError, DataError: labels or features are missing or unfit.
    """
    opened = Study.open(study)
    must_ask_classes(opened)
    labels = load_labels(opened, whole=True)
    seed = opened.config.study.seed
    path = output or opened.folder("reports") / "map.html"
    with borrowed_matrix(opened, labels, layer) as matrix:
        features = matrix.upright
    with progress("map", 4) as bar:
        components = principal_components(lambda: iter(np.array_split(features, 16)))
        points = components.transform(features)
        bar.advance()
        places = lay_out(points, seed=seed, jobs=len(os.sched_getaffinity(0)))
        bar.advance()
        trust = quality(points, places, seed=seed)
        bar.advance()
        number = {str(picture): at for at, picture in enumerate(labels.picture_id)}
        pictures = (
            (number[picture], rgb) for picture, rgb in decoded(opened, dict.fromkeys(number, 64))
        )
        names = [labels.classes[c] for c in labels.label]
        title = f"{opened.config.study.name}: a map of {len(number)} pictures"
        write_map(path, title, list(number), places, names, pictures, trust)
        bar.advance()
    said = (
        f"{components.axes.shape[1]} components hold {components.held:.0%} of the variance, the "
        f"first two {components.held_in_two:.0%}. "
    )
    return path, said + (trust.sentence if trust else "Too few pictures to judge the map.")
