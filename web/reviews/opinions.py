"""Which reviews stand, and what they say together: pure rules over one picture's history.

A review that was written by somebody who had seen an earlier one takes its place. Two reviews whose
authors had not seen each other's are independent: they agree, or they are a conflict that a third
look settles by seeing both.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Literal, get_args

__all__ = [
    "ACTIONS", "OPINIONS", "Action", "Outcome", "Review", "independent_pairs", "live", "outcome",
    "outcomes", "standing", "tally",
]  # fmt: skip

Action = Literal["accept", "correct", "reject", "skip", "undo"]
ACTIONS: tuple[Action, ...] = get_args(Action)
OPINIONS = frozenset({"accept", "correct", "reject"})
"""Actions that say something of the label; ``skip`` and ``undo`` do not."""


@dataclass(frozen=True, slots=True)
class Review:
    """One line of the book; nothing in it is ever changed.

    ``version`` counts the lines of the picture from 1. ``seen`` is the version that its author had
    before the eyes (0: none): lines up to it were known. ``score`` is the belief in ``old_label``
    then, 0 ... 1, and ``model`` whose belief it was. ``new_label`` is None where the picture was
    rejected, skipped, or the line undoes line ``undoes``. ``at_us`` is UTC, microseconds.
    """

    id: int
    picture_id: str
    version: int
    seen: int
    reviewer: str
    at_us: int
    action: Action
    old_label: str | None = None
    new_label: str | None = None
    model: str | None = None
    score: float | None = None
    reason: str | None = None
    mode: str = ""
    batch: str | None = None
    undoes: int | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the standing reviews of a picture say: ``decided`` holds when there is one answer."""

    picture_id: str
    reviews: tuple[Review, ...]

    @property
    def labels(self) -> frozenset[str | None]:
        """Every answer that stands; None is a rejection."""
        return frozenset(review.new_label for review in self.reviews)

    @property
    def decided(self) -> bool:
        """Whether exactly one answer stands."""
        return len(self.labels) == 1

    @property
    def conflict(self) -> bool:
        """Whether independent reviewers gave different answers and nobody has settled it."""
        return len(self.labels) > 1

    @property
    def last(self) -> Review:
        """The newest review that stands."""
        return self.reviews[-1]


def live(history: Iterable[Review]) -> list[Review]:
    """Lines that nobody has taken back, undo lines left out, in the order of their versions."""
    lines = sorted(history, key=lambda review: review.version)
    undone = {line.undoes for line in lines if line.action == "undo"}
    return [line for line in lines if line.action != "undo" and line.id not in undone]


def standing(history: Iterable[Review]) -> list[Review]:
    """Opinions of one picture that no later one has replaced, oldest first.

    A later opinion replaces those of the same reviewer and those that its author had seen.
    """
    opinions = [line for line in live(history) if line.action in OPINIONS]
    return [
        one
        for place, one in enumerate(opinions)
        if not any(
            later.reviewer == one.reviewer or later.seen >= one.version
            for later in opinions[place + 1 :]
        )
    ]


def outcome(picture_id: str, history: Iterable[Review]) -> Outcome | None:
    """What stands of a picture; None where nobody's opinion does."""
    found = standing(history)
    return Outcome(picture_id, tuple(found)) if found else None


def outcomes(lines: Iterable[Review]) -> dict[str, Outcome]:
    """What stands of every picture of which somebody's opinion does."""
    return {
        picture_id: found
        for picture_id, history in by_picture(lines)
        if (found := outcome(picture_id, history)) is not None
    }


def tally(found: Iterable[Outcome]) -> tuple[int, int, int]:
    """Labels accepted, corrected and rejected, of the pictures with one answer."""
    decided = [one.last for one in found if one.decided]
    rejected = sum(one.new_label is None for one in decided)
    accepted = sum(one.new_label is not None and one.new_label == one.old_label for one in decided)
    return accepted, len(decided) - accepted - rejected, rejected


def independent_pairs(history: Sequence[Review]) -> Iterator[tuple[Review, Review]]:
    """Opinions of two reviewers who had not seen each other's, once a pair of reviewers.

    A conflict that was settled later counts as the disagreement that it was: of each reviewer the
    last opinion that is independent of the other's is taken. The first of a pair is the reviewer
    whose name comes first.
    """
    opinions = [line for line in live(history) if line.action in OPINIONS]
    names = sorted({one.reviewer for one in opinions})
    for place, first in enumerate(names):
        for second in names[place + 1 :]:
            found = [
                (a, b)
                for a in opinions
                for b in opinions
                if (a.reviewer, b.reviewer) == (first, second)
                and a.seen < b.version
                and b.seen < a.version
            ]
            if found:
                yield max(found, key=lambda pair: (pair[0].version, pair[1].version))


def by_picture(lines: Iterable[Review]) -> Iterator[tuple[str, list[Review]]]:
    """Histories, one a picture, in the order of the pictures' ids."""
    ordered = sorted(lines, key=lambda line: (line.picture_id, line.version))
    for picture_id, history in groupby(ordered, key=lambda line: line.picture_id):
        yield picture_id, list(history)


def hidden(review: Review) -> Review:
    """A review as a blind reviewer may see it: that it is there, and nothing of what it says."""
    return replace(
        review, old_label=None, new_label=None, model=None, score=None, reason=None, reviewer=""
    )
