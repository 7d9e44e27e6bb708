"""What a comparison of k classes says, its rows and its text; claims stand where tests do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from training.comparison.class_judge import MAJORITY
from training.comparison.class_results import (
    Abstention,
    ClassComparison,
    ClassResult,
    OpenWorld,
)
from training.comparison.sentences import listed, looked
from training.comparison.tabulate import grid
from training.data.matrix import SAMPLED
from training.statistics.classes import ClassRow, Rate

__all__ = [
    "answer",
    "class_rows",
    "class_text",
    "confused",
    "opened",
    "outside",
    "per_class_text",
    "promised",
]


def answer(found: ClassComparison) -> list[str]:
    """The answer in the order in which it is to be read."""
    best, k = found.best_result, found.k
    words = [_first(found, best)]
    if k > 1:
        words.append(f"The right class is among the first {k} for {best.top_k}.")
    mistakes = confused(best, found.classes)
    if mistakes:
        true, said, n, of = mistakes[0]
        words.append(f"Most often {true} is taken for {said} ({n} of {of} test pictures).")
    words += _beside(best, found)
    words.append(promised(found.abstention))
    if found.open_world is not None:
        words.append(opened(found.open_world))
    if found.looks is not None:
        words.append(looked(found.looks, "test pictures"))
    return words


def _first(found: ClassComparison, best: ClassResult) -> str:
    against = next(one for one in found.against if one.other == MAJORITY).paired
    nothing = (
        f"always saying {found.majority_class}, the largest class, {found.majority}; "
        f"guessing {found.chance:.1%}"
    )
    what = f"best on {found.data.held_by}" if len(found.results) > 1 else "model"
    start = f"The {what} is {best.title} of {found.backbone}. "
    if against.better() == "first":
        return (
            f"{start}It names the right one of {len(found.classes)} classes for {best.top_1} test "
            f"pictures: more than {nothing}."
        )
    return (
        f"{start}Of the test pictures it gets {best.top_1} right. That it does better than knowing "
        f"nothing is not shown: {nothing}."
    )


def _beside(best: ClassResult, found: ClassComparison) -> list[str]:
    """Which of the other classifiers is better or worse, and of which nothing can be said."""
    titles = {row.model: row.title for row in found.results}
    left, words = [], []
    for one in found.against:
        if one.other == MAJORITY:
            continue
        if one.paired.better() == "open":
            left.append(titles[one.other])
        else:
            other = titles[one.other]
            words.append(f"Of {best.title} and {other}, {one.paired.sentence(best.title, other)}.")
    if left:
        words.append(
            f"Whether {best.title} is better or worse than {listed(left)} stays open (McNemar's "
            "test on the same pictures)."
        )
    return words


def confused(row: ClassResult, classes: Sequence[str]) -> list[tuple[str, str, int, int]]:
    """(true class, what was said, how often, of how many), the most frequent first."""
    found = [
        (classes[i], classes[j], n, sum(counts))
        for i, counts in enumerate(row.confusion)
        for j, n in enumerate(counts)
        if i != j and n
    ]
    return sorted(found, key=lambda one: (-one[2], one[3], one[:2]))


def promised(found: Abstention) -> str:
    """What may be promised, or why nothing may."""
    sure = f"{found.accuracy:.1%} at {found.confidence:.0%} confidence"
    if found.threshold is None and found.validation_pictures == 0:
        return (
            f"No threshold can promise {sure}: validation pictures choose it, at least "
            f"{found.needed} of them, and the split has no such part ([question] split)."
        )
    if found.threshold is None:
        return (
            f"No threshold can promise {sure}: that needs at least {found.needed} validation "
            "pictures without an error among the most certain, and there are "
            f"{found.validation_pictures} in all."
        )
    words = (
        f"Answers above {found.threshold:.4f} are promised to be right {found.accuracy:.1%} of the "
        f"time ({found.confidence:.0%} confidence), on pictures like those of validation: "
        f"{found.validation_answered} of {found.validation_pictures} validation pictures are "
        f"answered, and of the test pictures {found.test_answered}, {found.test_right} of them "
        "right"
    )
    if found.unseen_passing.of:
        words += f"; of pictures of unseen classes {found.unseen_passing} pass"
    return f"{words}."


def opened(found: OpenWorld) -> str:
    """How well the unknown is told from the known."""
    n, near, sure = len(found.classes), found.nearness, found.probability
    return (
        f"{found.pictures} pictures of {n} unseen class{'' if n == 1 else 'es'} are told from "
        f"known ones by their distance to the training pictures with AUROC {near.auroc:.3f} "
        f"({near.low:.3f} to {near.high:.3f}); {near.passing_at_95:.1%} of them pass where 95.0% "
        f"of the known ones do. By the largest probability: {sure.auroc:.3f} ({sure.low:.3f} to "
        f"{sure.high:.3f}), {sure.passing_at_95:.1%}."
    )


def outside(dropped: Mapping[str, int]) -> list[str]:
    """What ``[compare] most_pictures`` leaves out, of the reasons of ``Labels.dropped``."""
    return [
        f"{count:,} labelled pictures stand {reason} ([compare] most_pictures)"
        for reason, count in dropped.items()
        if reason.startswith(SAMPLED)
    ]


def class_rows(found: ClassComparison) -> list[dict[str, Any]]:
    """Rows of the table ``comparison``."""
    rows: list[dict[str, Any]] = []
    for result in found.results:
        place = {
            "layer": result.layer,
            "set": result.set,
            "classifier": result.classifier,
            "model": result.model,
        }
        rows += _grid_rows(place, result, "cv" if found.data.held_by != "validation" else "held")
        rows += _test_rows(place, result, found.k)
    rows += [
        {
            "classifier": f"baseline:{name}",
            "parameters": "",
            "part": "test",
            "metric": "top_1",
            "value": value,
            "low": low,
            "high": high,
            "made_by": "NumPy",
        }
        for name, value, low, high in (
            ("chance", found.chance, None, None),
            (MAJORITY, found.majority.value, found.majority.low, found.majority.high),
        )
    ]
    return rows


def _grid_rows(place: dict[str, str], result: ClassResult, part: str) -> Iterator[dict[str, Any]]:
    for point in result.curve:
        name = ", ".join(
            f"{key}={value if isinstance(value, str) else f'{value:g}'}"
            for key, value in point.parameters.items()
        )
        for metric in ("accuracy", "cross_entropy"):
            yield {
                **place,
                "parameters": name,
                "part": part,
                "metric": metric,
                "value": getattr(point, metric),
                "made_by": result.made_by["curve"],
            }


def _test_rows(place: dict[str, str], result: ClassResult, k: int) -> Iterator[dict[str, Any]]:
    rates = {"top_1": result.top_1, f"top_{k}": result.top_k}
    for row in result.per_class:
        rates |= {f"recall:{row.name}": row.recall, f"precision:{row.name}": row.precision}
    start = {**place, "parameters": "", "part": "test", "made_by": result.made_by["model"]}
    yield {**start, "metric": "cross_entropy", "value": result.cross_entropy}
    for metric, one in rates.items():
        value = one.value if one.of else None
        yield {**start, "metric": metric, "value": value, "low": one.low, "high": one.high}


def class_text(found: ClassComparison) -> str:
    """The comparison as people read it: what knowing nothing gets first."""
    # Of two classes top-1 is all there is to say.
    also = found.k > 1
    body = [
        ["guessing", f"{found.chance:.1%}", *[""] * (1 + also)],
        [f"always {found.majority_class}", _cell(found.majority), *[""] * (1 + also)],
    ]
    body += [
        [
            row.model,
            *(_cell(one) for one in (row.top_1, row.top_k)[: 1 + also]),
            f"{row.cross_entropy:.3f}",
        ]
        for row in found.results
    ]
    head = ["test pictures", "top-1", *([f"top-{found.k}"] if also else []), "cross-entropy"]
    best = found.best_result
    parts = [grid([head, *body]), per_class_text(best.per_class), "\n".join(found.answer)]
    parts += [f"note: {note}" for note in found.notes]
    return "\n\n".join(parts)


def per_class_text(rows: Sequence[ClassRow]) -> str:
    """The table of classes."""
    head = ["class", "found", "right when said", "taken for"]
    body = [[r.name, _cell(r.recall), _cell(r.precision), r.taken_for or ""] for r in rows]
    return grid([head, *body])


def _cell(one: Rate) -> str:
    if not one.of:
        return "-"
    return f"{one.value:.1%} [{one.low:.1%}, {one.high:.1%}] {one.right}/{one.of}"
