"""``likewise classify``: train, evaluate, predict, map, clean-labels and zero-shot for k classes.

labels and features of a study whose question is about classes -> ``models/NAME/``, ``reports/``.
The same tables, features and parts serve every verb; papers 2 to 4 differ in labels and networks.
"""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from likewise.progress import progress
from likewise.study import Study
from likewise.whole import write_json
from likewise.working import changes_study
from training.classification.cleaning import Doubts, clean_labels
from training.classification.evaluation import Evaluation, evaluate
from training.classification.fit import PENALTIES, SEARCH, candidates
from training.classification.model import ClassModel, save_model
from training.classification.prediction import Prediction, predict
from training.classification.problem import load_problem
from training.classification.reviewed import gain_of_reviews, with_reviews
from training.classification.zero_shot import zero_shot
from training.maps.projection import lay_out, principal_components, quality
from training.maps.writer import write_map
from training.pictures.thumbnails import decoded
from training.statistics.classes import rate
from training.statistics.temperature import temperature

if TYPE_CHECKING:
    from training.classification.fit import Candidate

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
    """What ``train`` did: validation figures of each classifier, and the model that was saved."""

    model: str
    chosen: str
    validation: tuple[Mapping[str, Any], ...]
    classes: tuple[str, ...]
    pictures: Mapping[str, int]
    notes: tuple[str, ...]

    def text(self) -> str:
        """The table as people read it."""
        lines = [f"{'classifier':<16}{'parameters':<34}right on validation"]
        lines += [
            f"{row['classifier']:<16}{row['parameters']:<34}{row['accuracy']}"
            for row in self.validation
        ]
        return "\n".join([*lines, "", f"saved as {self.model}: {self.chosen}", *self.notes])


@changes_study("classify")
def train(
    study: Study | str | os.PathLike[str],
    *,
    name: str = "classes",
    layer: str | None = None,
    search: bool = False,
    reviews: bool = False,
) -> Trained:
    """Fit every classifier on the training part, choose on validation, save the model.

    Args:
        study: a study whose labels are classes and whose features are extracted.
        name: name of the model; one of that name is replaced.
        layer: feature layer; the default is the table's last but the logits.
        search: also try 18 ways to train the last layer by steps.
        reviews: learn labels as people corrected them in review; what that changed is measured on
            the test part's pictures that nobody reviewed, which counts as a look at it.

    Raises:
        UsageError: the labels hold the reviews already.
        MissingTableError, DataError: labels or features are missing or unfit.
    """
    opened = Study.open(study)
    problem = before = load_problem(opened, layer)
    said = None
    if reviews:
        problem, said = with_reviews(opened, problem)
    seed = opened.config.study.seed
    held = problem.rows("validation")
    notes = []
    if not len(held):
        # Without a validation part the training pictures choose, which favours the largest C.
        held = problem.rows("train")
        notes.append("there is no validation part: the choice was made on training pictures")
    columns = problem.columns(held)
    n = 2 * len(PENALTIES) + 1 + (len(SEARCH) if search else 0)
    best: tuple[float, Candidate] | None = None
    softmax: tuple[float, float] | None = None
    table = []
    with progress("train", n) as bar:
        for one in candidates(problem, seed=seed, search=search, bar=bar):
            loss = one.cross_entropy(held, columns) if one.weight is not None else float("inf")
            right = rate(one.right(held, columns), problem.group[held])
            table.append(
                {
                    "classifier": one.name,
                    "parameters": one.parameters,
                    "accuracy": str(right),
                    "value": right.value,
                    "cross_entropy": loss if np.isfinite(loss) else None,
                    "curve": [point._asdict() for point in one.curve],
                }
            )
            if one.weight is not None and (best is None or loss < best[0]):
                best = loss, one
            if one.name == "softmax" and (softmax is None or loss < softmax[0]):
                softmax = loss, float(one.parameters.removeprefix("C="))
    assert best is not None and softmax is not None, "the softmax layer is always tried"
    chosen = best[1]
    assert chosen.weight is not None and chosen.bias is not None
    gain = None if said is None else gain_of_reviews(problem, before, said, softmax[1], seed)
    if gain is not None:
        notes.append(gain.sentence)
    elif said is not None:
        notes.append("every held-out picture was reviewed: what the reviews changed is unknown")
    warm = temperature(chosen.scores[held], columns)
    classes = [problem.names[c] for c in problem.known]
    card: dict[str, Any] = {
        "classes": classes,
        "unseen": sorted(problem.names[c] for c in problem.unseen),
        "backbone": problem.backbone,
        "layer": problem.layer,
        "maker": problem.maker,
        "classifier": f"{chosen.name}, {chosen.parameters}",
        "temperature": warm,
        "made_from": problem.fingerprint,
        "trained_at": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "validation": [{k: v for k, v in row.items() if k != "curve"} for row in table],
        "reviews": None if gain is None else asdict(gain),
        "test_opened": int(gain is not None and gain.part == "test"),
    }
    save_model(opened, ClassModel(name, card, chosen.weight, chosen.bias))
    write_json(opened.folder("reports") / f"classify-{name}-curves.json", table)
    sizes = {part: len(problem.rows(part)) for part in ("train", "validation", "test")}
    return Trained(name, str(card["classifier"]), tuple(table), tuple(classes), sizes, tuple(notes))


@changes_study("classify")
def draw_map(
    study: Study | str | os.PathLike[str], *, layer: str | None = None, output: Path | None = None
) -> tuple[Path, str]:
    """Lay every labelled picture out on a plane, write the page, say how far it can be trusted.

    Raises:
        MissingTableError, DataError: labels or features are missing or unfit.
    """
    opened = Study.open(study)
    problem = load_problem(opened, layer)
    seed = opened.config.study.seed
    path = output or opened.folder("reports") / "map.html"
    features = problem.features[0]
    with progress("map", 4) as bar:
        components = principal_components(lambda: iter(np.array_split(features, 16)))
        points = components.transform(features)
        bar.advance()
        places = lay_out(points, seed=seed, jobs=len(os.sched_getaffinity(0)))
        bar.advance()
        trust = quality(points, places, seed=seed)
        bar.advance()
        number = {str(picture): at for at, picture in enumerate(problem.picture_id)}
        pictures = (
            (number[picture], rgb) for picture, rgb in decoded(opened, dict.fromkeys(number, 64))
        )
        labels = [problem.names[c] for c in problem.label]
        title = f"{opened.config.study.name}: a map of {len(number)} pictures"
        write_map(path, title, list(number), places, labels, pictures, trust)
        bar.advance()
    said = (
        f"{components.axes.shape[1]} components hold {components.held:.0%} of the variance, the "
        f"first two {components.held_in_two:.0%}. "
    )
    return path, said + (trust.sentence if trust else "Too few pictures to judge the map.")
