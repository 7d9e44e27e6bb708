"""One saved classifier of k classes judged on the test part, as ``compare`` judges its own."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from likewise.errors import DataError, UsageError
from likewise.study import Study
from likewise.whole import write_json
from training.classification.reading import tuned_matrix
from training.comparison.class_judge import ClassJudge, nearness_of
from training.comparison.class_words import opened as opened_words
from training.comparison.class_words import per_class_text, promised
from training.comparison.looks import look, looks
from training.data.matrix import borrowed_matrix, load_labels
from training.data.question import must_ask_classes
from training.models.saved import load_classes, own_network
from training.statistics.classes import mcnemar

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from training.data.matrix import Labels, Matrix
    from training.models.classes import ClassScorer

__all__ = ["Evaluation", "check_promise", "evaluate", "matrix_read_by", "share_of_rest"]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What ``evaluate`` found on the test part; ``content`` is the JSON of the report."""

    model: str
    content: Mapping[str, Any]
    table: str

    def text(self) -> str:
        """The figures as people read them."""
        c = self.content
        before = c["opened_before"]
        lines = [
            f"{before} earlier look{'' if before == 1 else 's'} at the test part"
            if before
            else "first look at the test part",
            f"right at top-1: {c['top_1_text']}",
            # Of two classes the first of one is all there is to say.
            *([f"right at top-{c['k']}: {c['top_k_text']}"] if c["k"] > 1 else []),
            "",
            self.table,
            "",
            *c["sentences"],
        ]
        return "\n".join(lines)


def evaluate(
    study: Study | str | os.PathLike[str],
    *,
    model: str | None = None,
    accuracy: float = 0.99,
    confidence: float = 0.95,
    against: str | None = None,
) -> Evaluation:
    """Judge a model on the test part; the look is counted, once for the same model and labels.

    Args:
        study: the study that the model was trained in.
        model: its name; the default is the best on the held pictures.
        accuracy, confidence: of the threshold to promise, chosen on validation.
        against: another model, compared on the same pictures (McNemar).

    Raises:
        MissingTableError: there is no such model.
        DataError: the model was trained on other features, or no picture is in the test part.
        UsageError: accuracy or confidence is not between 0 and 1.
    """
    opened = Study.open(study)
    check_promise(accuracy, confidence)
    must_ask_classes(opened)
    found = load_classes(opened, model)
    labels = load_labels(opened)
    judge = ClassJudge(labels)
    with matrix_read_by(opened, found, labels) as matrix:
        share = share_of_rest(found, matrix)
        world = judge.open_world(share, lambda: nearness_of(labels, matrix)[1])
    result = judge.judged(share)
    abstention = judge.abstention(share, accuracy, confidence)
    sentences = [promised(abstention), *([] if world is None else [opened_words(world)])]
    if against is not None:
        other = load_classes(opened, against)
        with matrix_read_by(opened, other, labels) as matrix:
            theirs = judge.right(share_of_rest(other, matrix))
        paired = mcnemar(judge.right(share), theirs, judge.group)
        sentences.append(f"{found.name} and {against}: {paired.sentence(found.name, against)}.")
    before = looks(opened).runs
    print_of = f"evaluate-{found.card['sha256'][:16]}-{opened.require('labels').fingerprint}"
    look(opened, "evaluate", print_of, 1)
    content: dict[str, Any] = {
        "model": found.name,
        "opened_before": before,
        "k": judge.k,
        "top_1": asdict(result.top_1),
        "top_k": asdict(result.top_k),
        "top_1_text": str(result.top_1),
        "top_k_text": str(result.top_k),
        "cross_entropy": result.cross_entropy,
        "classes": list(found.classes),
        "per_class": [asdict(row) for row in result.per_class],
        "confusion": result.confusion,
        "abstention": asdict(abstention),
        "open_world": None if world is None else asdict(world),
        "difficult": [asdict(one) for one in judge.difficult(share)],
        "sentences": sentences,
    }
    write_json(opened.folder("reports") / f"classify-{found.name}.json", content)
    return Evaluation(found.name, content, per_class_text(result.per_class))


@contextmanager
def matrix_read_by(study: Study, model: ClassScorer, labels: Labels) -> Iterator[Matrix]:
    """Features of all labelled pictures as a model reads them, for a while.

    A fine-tuned network reads the pictures themselves, once: what it read is kept in the cache.

    Raises:
        DataError: features of other weights, a model of other classes, or a damaged picture.
    """
    if model.classes != labels.known:
        raise DataError(
            f"model {model.name} tells {len(model.classes)} classes apart, the labels have "
            f"{len(labels.known)}; first difference: "
            + ", ".join(sorted(set(model.classes) ^ set(labels.known))[:3]),
            hint="train it anew: likewise compare, or likewise classify train",
        )
    if own_network(study, model) is not None:  # the study's features are not what it reads
        yield tuned_matrix(study, model, labels)
        return
    with borrowed_matrix(study, labels, model.layer) as matrix:
        if model.card["maker"] != matrix.maker:
            raise DataError(
                f"model {model.name} was trained on features of other weights than the study's",
                hint="train it anew: likewise compare, or likewise classify train",
            )
        yield matrix


def share_of_rest(model: ClassScorer, matrix: Matrix) -> NDArray[np.float64]:
    """(n - n_train, k) probabilities of all pictures that trained nothing, views averaged."""
    return model.probabilities(matrix.mean_views(model.scores(matrix.test)))


def check_promise(accuracy: float, confidence: float) -> None:
    """Raises UsageError unless both lie between 0 and 1."""
    if not (0 < accuracy < 1 and 0 < confidence < 1):
        raise UsageError(
            f"accuracy {accuracy} and confidence {confidence} must lie between 0 and 1",
            hint="for example: --accuracy .99 --confidence .95",
        )
