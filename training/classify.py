"""``likewise classify``: train, evaluate, predict, map, clean-labels and zero-shot for k classes.

labels and features of a study whose question is about classes -> ``models/NAME/``, ``reports/``.
The same tables, features and parts serve every verb; papers 2 to 4 differ in labels and networks.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from likewise.errors import UsageError
from likewise.progress import progress
from likewise.study import Study, fingerprint
from likewise.whole import write_json
from likewise.working import changes_study
from training.classification.cleaning import Doubts, clean_labels
from training.classification.evaluation import Evaluation, evaluate
from training.classification.prediction import Prediction, predict
from training.classification.zero_shot import zero_shot
from training.classifiers import softmax
from training.comparison.class_reviews import gain_of_reviews, with_reviews
from training.comparison.class_run import ClassFits, Row, best_row, class_card
from training.comparison.crossing import apart
from training.comparison.judge import finite
from training.comparison.looks import look
from training.comparison.tabulate import grid
from training.data.matrix import borrowed_matrix, load_labels
from training.data.question import must_ask_classes
from training.maps.projection import lay_out, principal_components, quality
from training.maps.writer import write_map
from training.models import saved as models
from training.pictures.thumbnails import decoded

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

    def text(self) -> str:
        """The table as people read it."""
        head = ["classifier", "parameters", "right where it was chosen"]
        names = ("classifier", "parameters", "accuracy")
        table = grid([head, *([str(row[name]) for name in names] for row in self.validation)])
        return "\n".join([table, "", f"saved as {self.model}: {self.chosen}", *self.notes])


@changes_study("classify")
def train(
    study: Study | str | os.PathLike[str],
    *,
    name: str = "classes",
    layer: str | None = None,
    search: bool = False,
    reviews: bool = False,
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
    sizes = {
        "train": labels.n_train,
        "validation": labels.n_validation,
        "test": len(labels.label[labels.test]),
    }
    chosen = f"{card['classifier']}, {_told(best)['parameters']}"
    return Trained(name, chosen, tuple(table), labels.known, sizes, tuple(notes))


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
    labels = load_labels(opened)
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
