"""One saved classifier of k classes judged on the test part, as ``compare`` judges its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from likewise.errors import DataError, UsageError
from likewise.study import Study
from likewise.whole import write_json
from training.classification.reading import tuned_matrix
from training.comparison.class_judge import ClassJudge, data_of, nearness_of
from training.comparison.class_results import ClassComparison
from training.comparison.class_words import answer, outside, per_class_text, promised
from training.comparison.class_words import opened as opened_words
from training.comparison.looks import look, looks
from training.data.matrix import borrowed_matrix, load_labels
from training.data.question import must_ask_classes
from training.models.saved import load_classes, own_network
from training.statistics.classes import mcnemar

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from training.data.matrix import Labels, Matrix
    from training.models.classes import ClassScorer

__all__ = ["Evaluation", "check_promise", "judge_model", "matrix_read_by", "share_of_rest"]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What ``evaluate`` found on the test part; ``content`` is the JSON of the report.

    ``found`` holds the same as a comparison of one classifier, ``share`` (n - n_train, k) the
    probabilities of all pictures that trained nothing, ``page`` what was written of them.
    """

    model: str
    content: Mapping[str, Any]
    found: ClassComparison = field(repr=False)
    share: NDArray[np.float64] = field(repr=False)
    page: Path | None = None

    def text(self) -> str:
        """The figures as people read them."""
        c, best = self.content, self.found.best_result
        before = c["opened_before"]
        lines = [
            f"{before} earlier look{'' if before == 1 else 's'} at the test part"
            if before
            else "first look at the test part",
            f"right at top-1: {c['top_1_text']}",
            # Of two classes the first of one is all there is to say.
            *([f"right at top-{c['k']}: {c['top_k_text']}"] if c["k"] > 1 else []),
            "",
            per_class_text(best.per_class),
            "",
            *c["sentences"],
        ]
        return "\n".join([*lines, *([] if self.page is None else [str(self.page)])])


def judge_model(
    study: Study, *, model: str | None, accuracy: float, confidence: float, against: str | None
) -> Evaluation:
    """``training.classify.evaluate`` without its page; arguments and errors are the same."""
    check_promise(accuracy, confidence)
    must_ask_classes(study)
    scorer = load_classes(study, model)
    labels = load_labels(study)
    judge = ClassJudge(labels)
    with matrix_read_by(study, scorer, labels) as matrix:
        share = share_of_rest(scorer, matrix)
        world = judge.open_world(share, lambda: nearness_of(labels, matrix)[1])
    abstention = judge.abstention(share, accuracy, confidence)
    sentences = [promised(abstention), *([] if world is None else [opened_words(world)])]
    if against is not None:
        other = load_classes(study, against)
        with matrix_read_by(study, other, labels) as matrix:
            theirs = judge.right(share_of_rest(other, matrix))
        paired = mcnemar(judge.right(share), theirs, judge.group)
        sentences.append(f"{scorer.name} and {against}: {paired.sentence(scorer.name, against)}.")
    sentences += [f"{words}." for words in outside(labels.dropped)]
    before = looks(study).runs
    print_of = f"evaluate-{scorer.card['sha256'][:16]}-{study.require('labels').fingerprint}"
    seen = look(study, "evaluate", print_of, 1)
    card = scorer.card
    result = replace(
        judge.judged(share),
        layer=scorer.layer,
        set=str(card.get("set", "")),
        classifier=str(card.get("classifier", card["kind"])),
        model=scorer.name,
        temperature=float(card.get("temperature", 1.0)),
    )
    found = ClassComparison(
        study=study.config.study.name,
        fingerprint=print_of,
        backbone=scorer.backbone,
        data=data_of(study, labels),
        classes=labels.known,
        unseen=labels.unseen,
        k=judge.k,
        chance=1 / len(labels.known),
        majority_class=labels.known[judge.majority],
        majority=judge.rate(judge.majority_right),
        best=scorer.name,
        results=[result],
        against=judge.against(share, {}),
        abstention=abstention,
        open_world=world,
        difficult=judge.difficult(share),
        looks=seen,
    )
    found = replace(found, answer=answer(found))
    content: dict[str, Any] = {
        "model": scorer.name,
        "opened_before": before,
        "k": judge.k,
        "top_1": asdict(result.top_1),
        "top_k": asdict(result.top_k),
        "top_1_text": str(result.top_1),
        "top_k_text": str(result.top_k),
        "cross_entropy": result.cross_entropy,
        "classes": list(scorer.classes),
        "per_class": [asdict(row) for row in result.per_class],
        "confusion": result.confusion,
        "abstention": asdict(abstention),
        "open_world": None if world is None else asdict(world),
        "difficult": [asdict(one) for one in found.difficult],
        "sentences": sentences,
    }
    write_json(study.folder("reports") / f"classify-{scorer.name}.json", content)
    return Evaluation(scorer.name, content, found, share)


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
