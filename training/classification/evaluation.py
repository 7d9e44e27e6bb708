"""A classifier of k classes judged on pictures that neither trained nor chose it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from likewise.errors import DataError, UsageError
from likewise.study import Study
from likewise.whole import write_json
from training.classification.model import ClassModel, load_model, save_model
from training.classification.problem import ClassProblem, load_problem
from training.statistics.abstention import Promise, coverage_curve, promised_threshold
from training.statistics.classes import in_top, mcnemar, open_world, per_class, rate

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Evaluation", "check_maker", "check_promise", "evaluate"]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What ``evaluate`` found on the test part; ``content`` is the JSON of the report."""

    model: str
    content: Mapping[str, Any]

    def text(self) -> str:
        """The figures as people read them."""
        c = self.content
        lines = [
            f"{c['opened_before']} earlier looks at the test part"
            if c["opened_before"]
            else "first look at the test part",
            f"right at top-1: {c['top1']}",
            f"right at top-{c['k']}: {c['topk']}",
            "",
            f"{'class':<28}{'found':<42}{'right when said':<42}taken for",
        ]
        lines += [
            f"{row['name']:<28}{row['recall']:<42}{row['precision']:<42}{row['taken_for'] or ''}"
            for row in c["per_class"]
        ]
        lines += ["", c["promise"]["sentence"]]
        if c["open_world"] is not None:
            lines.append(c["open_world"]["sentence"])
        if c["against"] is not None:
            lines.append(c["against"]["sentence"])
        return "\n".join(lines)


def evaluate(
    study: Study | str | os.PathLike[str],
    *,
    model: str | None = None,
    accuracy: float = 0.99,
    confidence: float = 0.95,
    against: str | None = None,
) -> Evaluation:
    """Judge a model on the test part; every look at that part is counted in its card.

    Args:
        study: the study that the model was trained in.
        model: its name; the default is the one trained last.
        accuracy, confidence: of the threshold to promise, chosen on validation.
        against: another model, compared on the same pictures (McNemar).

    Raises:
        MissingTableError: there is no such model.
        DataError: the model was trained on other features, or no picture is in the test part.
        UsageError: accuracy or confidence is not between 0 and 1.
    """
    opened = Study.open(study)
    check_promise(accuracy, confidence)
    found = load_model(opened, model)
    problem = load_problem(opened, str(found.card["layer"]))
    check_maker(found, problem)
    test, held = problem.rows("test"), problem.rows("validation")
    if not len(test):
        raise DataError(
            "the test part holds no picture of a known class",
            hint="raise the last share of [question] split, then: likewise label",
        )
    share = found.probabilities(problem.features)
    columns = problem.columns(np.arange(len(problem.label)))
    right = in_top(share, columns)
    certainty = share.max(axis=1)
    promise = promised_threshold(certainty[held], right[held], accuracy, confidence)
    k = min(5, max(2, len(found.classes) // 2)) if len(found.classes) > 2 else 1
    table, counts = per_class(share[test].argmax(axis=1), columns[test], found.classes)
    thresholds, coverage, kept = coverage_curve(certainty[test], right[test])
    hidden = problem.rows("test", unseen=True)
    opened_before = int(found.card.get("test_opened", 0))
    content: dict[str, Any] = {
        "model": found.name,
        "opened_before": opened_before,
        "top1": str(rate(right[test], problem.group[test])),
        "top1_value": float(right[test].mean()),
        "k": k,
        "topk": str(rate(in_top(share[test], columns[test], k), problem.group[test])),
        "per_class": [
            {**asdict(row), "recall": str(row.recall), "precision": str(row.precision)}
            for row in table
        ],
        "confusion": counts.tolist(),
        "classes": list(found.classes),
        "promise": _promised(promise, certainty, right, test, hidden),
        "curve": {
            "threshold": thresholds.tolist(),
            "coverage": coverage.tolist(),
            "accuracy": kept.tolist(),
        },
        "open_world": _open(certainty, test, hidden, sorted(found.card["unseen"])),
        "difficult": _difficult(problem, share, columns, test),
        "against": None,
    }
    if against is not None:
        other = load_model(opened, against)
        if other.classes != found.classes:
            raise DataError(f"{against} and {found.name} tell other classes apart")
        theirs = in_top(other.probabilities(problem.features), columns)
        paired = mcnemar(right[test], theirs[test])
        content["against"] = {**asdict(paired), "sentence": f"{found.name} and {against}: "
                              f"{paired.sentence}"}  # fmt: skip
    write_json(opened.folder("reports") / f"classify-{found.name}.json", content)
    save_model(opened, replace(found, card={**found.card, "test_opened": opened_before + 1}))
    return Evaluation(found.name, content)


def check_promise(accuracy: float, confidence: float) -> None:
    if not (0 < accuracy < 1 and 0 < confidence < 1):
        raise UsageError(
            f"accuracy {accuracy} and confidence {confidence} must lie between 0 and 1",
            hint="for example: --accuracy .99 --confidence .95",
        )


def check_maker(model: ClassModel, problem: ClassProblem) -> None:
    if model.card["maker"] != problem.maker:
        raise DataError(
            f"model {model.name} was trained on features of other weights than the study's",
            hint=f"train it anew: likewise classify train --name {model.name}",
        )


def _promised(
    promise: Promise,
    certainty: NDArray[np.float64],
    right: NDArray[np.bool_],
    test: NDArray[np.int64],
    hidden: NDArray[np.int64],
) -> dict[str, Any]:
    above = test[certainty[test] >= promise.threshold]
    if not np.isfinite(promise.threshold):
        sentence = (
            f"no threshold can promise {promise.accuracy:.1%} at {promise.confidence:.0%} "
            f"confidence: that needs at least {promise.needed} validation pictures without an "
            f"error among the most certain, and there are {promise.of} in all"
        )
    else:
        sentence = (
            f"answers above {promise.threshold:.4f} are promised to be right "
            f"{promise.accuracy:.1%} of the time ({promise.confidence:.0%} confidence): "
            f"{promise.coverage:.0%} of the validation pictures; on the test part "
            f"{rate(right[above])} of {len(above) / len(test):.0%} answered"
        )
        if len(hidden):
            passed = float((certainty[hidden] >= promise.threshold).mean())
            sentence += f"; of unseen classes {passed:.0%} pass it"
    return {**asdict(promise), "sentence": sentence}


def _open(
    certainty: NDArray[np.float64],
    test: NDArray[np.int64],
    hidden: NDArray[np.int64],
    unseen: Sequence[str],
) -> dict[str, Any] | None:
    if not len(hidden):
        return None
    area, passing = open_world(certainty[test], certainty[hidden])
    sentence = (
        f"{len(hidden)} pictures of {len(unseen)} unseen classes: AUROC {area:.3f}; {passing:.0%} "
        "of them pass where 95 % of the known ones do"
    )
    return {"auroc": area, "passing_at_95": passing, "unseen": list(unseen), "sentence": sentence}


def _difficult(
    problem: ClassProblem,
    share: NDArray[np.float64],
    columns: NDArray[np.int64],
    test: NDArray[np.int64],
) -> list[dict[str, Any]]:
    """The test pictures whose true class got the least probability, the worst first."""
    true = share[test, columns[test]]
    known = [problem.names[c] for c in problem.known]
    return [
        {
            "picture_id": str(problem.picture_id[row]),
            "true": known[columns[row]],
            "said": known[int(share[row].argmax())],
            "probability": float(share[row, columns[row]]),
        }
        for row in test[np.argsort(true, kind="stable")[:24]].tolist()
    ]
