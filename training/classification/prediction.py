"""Classes of a person's own picture files, and silence where the model is not sure enough."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from backbones.folder import find_pictures
from backbones.inference import embed
from likewise.errors import UsageError
from likewise.progress import progress
from likewise.study import Study
from training.classification.evaluation import check_promise, matrix_read_by, share_of_rest
from training.classification.reading import plan_of
from training.comparison.class_judge import ClassJudge, nearness_of
from training.comparison.class_words import promised
from training.data.matrix import load_labels
from training.models.saved import load_classes

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Prediction", "predict"]


@dataclass(frozen=True, slots=True)
class Prediction:
    """One file: its class with the probability, or why there is none."""

    file: str
    said: str | None
    probability: float | None
    answered: bool
    far: bool
    """It lies further from every class than ``known`` allows."""
    error: str | None
    shares: Mapping[str, float]


def predict(
    study: Study | str | os.PathLike[str],
    files: Sequence[str | os.PathLike[str]],
    *,
    model: str | None = None,
    threshold: float | None = None,
    accuracy: float | None = None,
    confidence: float = 0.95,
    known: float | None = None,
) -> tuple[list[Prediction], list[str]]:
    """Classes of picture files or of folders of them; below the threshold nothing is said.

    Args:
        study: the study that holds the model.
        files: picture files and folders.
        model: its name; the default is the best on the held pictures.
        threshold: least probability; a number by itself promises nothing, which a note says.
        accuracy: promise this accuracy instead, by the study's validation pictures.
        confidence: of the promise.
        known: say nothing of pictures that lie further from the classes than this share of the
            study's validation pictures does (of its test pictures, where there is no validation).

    Returns:
        One prediction a file, in the order of the files, and notes for the person.

    Raises:
        UsageError: no picture, or both threshold and accuracy.
        MissingTableError, DataError: there is no model, or it does not fit.
    """
    opened = Study.open(study)
    if threshold is not None and accuracy is not None:
        raise UsageError("give a threshold or an accuracy to promise, not both")
    found = load_classes(opened, model)
    plan = plan_of(opened, found)
    notes: list[str] = []
    least, limit, measure = 0.0, -np.inf, None
    if known is not None and not 0 < known < 1:
        raise UsageError(f"known {known} must lie between 0 and 1", hint="for example: --known .95")
    if accuracy is not None:
        check_promise(accuracy, confidence)
    if accuracy is not None or known is not None:
        labels = load_labels(opened)
        with matrix_read_by(opened, found, labels) as matrix:
            judge = ClassJudge(labels)
            if known is not None:
                measure, near = nearness_of(labels, matrix)
                limit = judge.limit(near, known)
                notes.append(
                    "Nothing is said of pictures that lie further from every class than "
                    f"{known:.1%} of the study's own held-out pictures do."
                )
            if accuracy is not None:
                share = share_of_rest(found, matrix)
                promise = judge.abstention(share, accuracy, confidence)
                least = np.inf if promise.threshold is None else promise.threshold
                notes.append(promised(promise))
    if threshold is not None:
        least = threshold
        notes.append(
            f"-t {threshold:.15g} promises nothing by itself: a model may be that sure of pictures "
            "of classes it has never seen. --accuracy .99 chooses a threshold that promises "
            "something."
        )
    paths = [path for file in files for path in find_pictures(Path(file))]
    answer: list[Prediction] = []
    with progress("predict", len(paths)) as bar:
        for batch in embed(((str(path), path.read_bytes()) for path in paths), plan):
            features = batch.features[found.layer].reshape(-1, found.card["dim"])
            shares = iter(found.probabilities(found.scores(features)))
            away = measure(features) < limit if measure else np.zeros(len(features), bool)
            far = iter(away)
            for name, error in zip(batch.ids, batch.errors, strict=True):
                answer.append(_prediction(name, error, shares, far, found.classes, least))
            bar.advance(len(batch.ids))
    return answer, notes


def _prediction(
    name: str,
    error: str | None,
    shares: Iterator[NDArray[np.float64]],
    far: Iterator[np.bool_],
    classes: tuple[str, ...],
    least: float,
) -> Prediction:
    if error is not None:
        return Prediction(name, None, None, False, False, error, {})
    share, away = next(shares), bool(next(far))
    best = int(share.argmax())
    probability = float(share[best])
    answered = probability >= least and not away
    return Prediction(
        name,
        classes[best] if answered else None,
        probability,
        answered,
        away,
        None,
        dict(zip(classes, share.tolist(), strict=True)),
    )
