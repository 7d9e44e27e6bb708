"""How far reviewers agree, and how many labels are wrong: with intervals.

Sources: Cohen, "A coefficient of agreement for nominal scales" (1960); its large-sample variance by
Fleiss, Cohen and Everitt (1969), equation 13; Wilson (1927) for shares.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import sqrt

from training.scoring.intervals import wilson
from web.reviews.opinions import OPINIONS, Outcome, Review, by_picture, independent_pairs, live

__all__ = ["ErrorRate", "Kappa", "agreement", "cohen", "error_rate"]

Z = 1.959963984540054


@dataclass(frozen=True, slots=True)
class Kappa:
    """Cohen's kappa of two reviewers over ``pictures`` that both judged unseen by the other.

    ``kappa`` is None where it is not defined: both gave one and the same answer throughout, so
    that chance alone would agree. The interval is the large-sample one, 95 %, cut to -1 ... 1.
    """

    first: str
    second: str
    pictures: int
    agreed: int
    kappa: float | None
    low: float | None
    high: float | None

    @property
    def sentence(self) -> str:
        """What may be said of it."""
        same = f"{self.first} and {self.second} agree on {self.agreed} of {self.pictures} pictures"
        if self.kappa is None or self.low is None or self.high is None:
            return f"{same}; kappa is not defined where all answers are the same"
        return f"{same}: kappa {self.kappa:.2f} ({self.low:.2f} to {self.high:.2f})"


def cohen(pairs: Sequence[tuple[str, str]]) -> tuple[float, float, float] | None:
    """Kappa of answer pairs with its 95 % interval; None where chance alone always agrees."""
    n = len(pairs)
    names = sorted({name for pair in pairs for name in pair})
    share = {(a, b): 0.0 for a in names for b in names}
    for pair in pairs:
        share[pair] += 1 / n
    row = {a: sum(share[a, b] for b in names) for a in names}
    column = {b: sum(share[a, b] for a in names) for b in names}
    observed = sum(share[a, a] for a in names)
    chance = sum(row[a] * column[a] for a in names)
    if not n or 1 - chance < 1e-12:
        return None
    kappa = (observed - chance) / (1 - chance)
    on = sum(
        share[a, a] * ((1 - chance) - (row[a] + column[a]) * (1 - observed)) ** 2 for a in names
    )
    off = (1 - observed) ** 2 * sum(
        share[a, b] * (column[a] + row[b]) ** 2 for a in names for b in names if a != b
    )
    inner = on + off - (observed * chance - 2 * chance + observed) ** 2
    half = Z * sqrt(max(inner, 0.0) / n) / (1 - chance) ** 2
    return kappa, max(-1.0, kappa - half), min(1.0, kappa + half)


def agreement(lines: Iterable[Review]) -> list[Kappa]:
    """Kappa of every two reviewers with a picture in common, by their names."""
    pairs: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for _, history in by_picture(lines):
        for a, b in independent_pairs(history):
            pairs.setdefault((a.reviewer, b.reviewer), []).append((_answer(a), _answer(b)))
    return [_kappa(*names, answers) for names, answers in sorted(pairs.items())]


def _kappa(first: str, second: str, answers: list[tuple[str, str]]) -> Kappa:
    agreed = sum(a == b for a, b in answers)
    found = cohen(answers)
    kappa, low, high = found if found is not None else (None, None, None)
    return Kappa(first, second, len(answers), agreed, kappa, low, high)


def _answer(review: Review) -> str:
    # A rejection is an answer like any class; the prefix keeps it apart from a class of that name.
    return "rejected" if review.new_label is None else f"={review.new_label}"


@dataclass(frozen=True, slots=True)
class ErrorRate:
    """Share of wrong labels among pictures drawn at random, with Wilson's 95 % interval.

    ``skipped`` pictures were drawn and left without an answer: where they are many the share speaks
    of the easier pictures only. ``conflicts`` are drawn pictures whose reviewers disagree.
    """

    reviewed: int
    wrong: int
    share: float | None
    low: float | None
    high: float | None
    skipped: int
    conflicts: int

    @property
    def sentence(self) -> str:
        """What may be said of it."""
        if self.share is None or self.low is None or self.high is None:
            return "no picture of the random queue has been judged: the error rate is unknown"
        text = (
            f"{self.wrong} of {self.reviewed} labels drawn at random were wrong: {self.share:.1%} "
            f"({self.low:.1%} to {self.high:.1%})"
        )
        left = [(self.skipped, "skipped"), (self.conflicts, "in conflict")]
        out = ", ".join(f"{count} {word}" for count, word in left if count)
        return f"{text}; left out: {out}" if out else text


def error_rate(lines: Iterable[Review]) -> ErrorRate:
    """From the pictures that somebody judged in the random queue, by what stands of them there.

    Opinions from other queues do not count: those pictures were chosen because they looked wrong.
    """
    judged = wrong = skipped = conflicts = 0
    for picture_id, history in by_picture(lines):
        drawn = [line for line in live(history) if line.mode == "random"]
        opinions = [line for line in drawn if line.action in OPINIONS]
        if not opinions:
            skipped += bool(drawn)
            continue
        last = {one.reviewer: one for one in opinions}
        found = Outcome(picture_id, tuple(last.values()))
        if found.conflict:
            conflicts += 1
            continue
        judged += 1
        wrong += found.last.new_label != found.last.old_label
    if not judged:
        return ErrorRate(0, 0, None, None, None, skipped, conflicts)
    low, high = wilson(wrong, judged)
    return ErrorRate(judged, wrong, wrong / judged, low, high, skipped, conflicts)
