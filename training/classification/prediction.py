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
from backbones.planning import make_plan
from likewise.errors import UsageError
from likewise.progress import progress
from likewise.study import Study
from training.classification.evaluation import check_maker, check_promise
from training.classification.model import ClassModel, load_model
from training.classification.problem import load_problem
from training.statistics.abstention import Promise, promised_threshold
from training.statistics.classes import in_top

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
) -> tuple[list[Prediction], list[str]]:
    """Classes of picture files or of folders of them; below the threshold nothing is said.

    Args:
        study: the study that holds the model.
        files: picture files and folders.
        model: its name; the default is the one trained last.
        threshold: least probability; a number by itself promises nothing, which a note says.
        accuracy: promise this accuracy instead, by the study's validation pictures.
        confidence: of the promise.

    Returns:
        One prediction a file, in the order of the files, and notes for the person.

    Raises:
        UsageError: no picture, or both threshold and accuracy.
        MissingTableError, DataError: there is no model, or it does not fit.
    """
    opened = Study.open(study)
    if threshold is not None and accuracy is not None:
        raise UsageError("give a threshold or an accuracy to promise, not both")
    found = load_model(opened, model)
    notes: list[str] = []
    least = 0.0
    if accuracy is not None:
        check_promise(accuracy, confidence)
        promise = _promise_of(opened, found, accuracy, confidence)
        least = promise.threshold
        notes.append(_promised_note(promise))
    elif threshold is not None:
        least = threshold
        notes.append(
            f"-t {threshold:g} promises nothing by itself: a model may be that sure of pictures of "
            "classes it has never seen. --accuracy .99 chooses a threshold that promises something."
        )
    paths = [path for file in files for path in find_pictures(Path(file))]
    plan = make_plan(str(found.card["backbone"]), [str(found.card["layer"])], flip=False)
    answer: list[Prediction] = []
    with progress("predict", len(paths)) as bar:
        for batch in embed(((str(path), path.read_bytes()) for path in paths), plan):
            shares = iter(found.probabilities(batch.features[str(found.card["layer"])]))
            for name, error in zip(batch.ids, batch.errors, strict=True):
                answer.append(_prediction(name, error, shares, found.classes, least))
            bar.advance(len(batch.ids))
    return answer, notes


def _prediction(
    name: str,
    error: str | None,
    shares: Iterator[NDArray[np.float64]],
    classes: tuple[str, ...],
    least: float,
) -> Prediction:
    if error is not None:
        return Prediction(name, None, None, False, error, {})
    share = next(shares)
    best = int(share.argmax())
    probability = float(share[best])
    answered = probability >= least
    return Prediction(
        name,
        classes[best] if answered else None,
        probability,
        answered,
        None,
        dict(zip(classes, share.tolist(), strict=True)),
    )


def _promise_of(study: Study, model: ClassModel, accuracy: float, confidence: float) -> Promise:
    problem = load_problem(study, str(model.card["layer"]))
    check_maker(model, problem)
    held = problem.rows("validation")
    share = model.probabilities(problem.features[:, held])
    right = in_top(share, problem.columns(held))
    return promised_threshold(share.max(axis=1), right, accuracy, confidence)


def _promised_note(promise: Promise) -> str:
    if not np.isfinite(promise.threshold):
        return (
            f"no threshold can promise {promise.accuracy:.1%}: at least {promise.needed} "
            f"validation pictures are needed, there are {promise.of}; nothing is answered"
        )
    return (
        f"answers above {promise.threshold:.4f} are right at least {promise.accuracy:.1%} of the "
        f"time ({promise.confidence:.0%} confidence), on pictures like those of validation"
    )
