"""What a comparison says in words. Every sentence about a comparison is made here, once.

Rules: a claim stands only where its verdict does (interval and permutation test together); "about
as well" needs the whole interval inside the margin of equivalence; whatever is neither is open.
"""

from __future__ import annotations

from collections.abc import Sequence

from training.comparison.results import (
    ByPicture,
    ByTime,
    Comparison,
    Difference,
    Looks,
    Result,
    ReviewChange,
    Score,
    Verdict,
    Worth,
)
from training.data.unit import Unit

__all__ = ["answer", "listed", "looked", "of_result", "of_reviews", "score", "signed"]

MINUS = "\u2212"


def answer(found: Comparison) -> list[str]:
    """The answer in the order in which it is to be read: gain, evidence, how many, what limits it.

    The first sentence says what a picture adds to what is known without it; the next whether the
    picture alone says anything. Where blocks of time were dealt, whom it speaks about goes between.
    """
    best, sure = found.best_result, _credible(found)
    words = [_worth(found.worth, found.margin)] if found.worth is not None else []
    if found.unit.scope:
        words.append(found.unit.scope)
    words.append(_alone(found))
    if "author-history" in best.against:
        words.append(_beside(best.against["author-history"], found.margin, sure))
    if "picture-properties" in best.against:
        words.append(_plain(best.against["picture-properties"], found.margin, sure))
    if found.by_time is not None:
        words.append(_later(found.by_time, found.unit, sure))
    data, many = found.data, found.unit.many
    if found.reviews is not None:
        words.append(of_reviews(found.reviews, many, found.margin))
    words.append(
        f"Measured on {data.held_out_pictures:,} pictures of {data.held_out_authors:,} {many} "
        f"that no model had seen, with intervals over {many}. The best in cross-validation is "
        f"{best.classifier} on {best.layer} of {found.backbone}."
    )
    if found.looks is not None:
        words.append(looked(found.looks, f"held-out {many}"))
    words += [_leaks(one, found.unit.one) for one in found.by_picture]
    return words


def _credible(found: Comparison) -> bool:
    """Whether pictures may be said to beat anything: they add to what is known without them.

    A picture can show how large its author's audience is. Where followers decide, such a picture
    ranks better than chance and knows nothing of its own.
    """
    return found.worth is None or found.worth.gain.verdict == "above"


def _said(against: Difference, sure: bool) -> Verdict:
    return "open" if against.verdict == "above" and not sure else against.verdict


def _later(found: ByTime, unit: Unit, sure: bool) -> str:
    """The split by time, as an answer of its own."""
    whose = "held-out later ones" if unit.in_time else f"other {unit.many}' later ones"
    start = (
        f"Trained on posts before {found.cut} and tested on {whose} "
        f"({found.held_out_pictures:,} pictures of {found.held_out_authors:,} {unit.many}), the "
        f"average precision is {score(found.average_precision)}"
    )
    chance = f"{found.chance.average_precision:.2f} ({_size(found.against_chance, 2)})"
    if _said(found.against_chance, sure) == "above":
        return f"{start}, above chance, {chance}."
    if found.against_chance.verdict == "above":
        return f"{start}; scores in random order get {chance}."
    return f"{start}; that this is above chance, {chance}, is not shown."


def looked(looks: Looks, what: str) -> str:
    """How often the held-out part has been looked at."""
    times = "once" if looks.runs == 1 else f"{looks.runs} times"
    return (
        f"The {what} have been looked at {times}, by {looks.models} "
        f"model{'' if looks.models == 1 else 's'} in all; the best of many looks is a little too "
        "good."
    )


def _leaks(found: ByPicture, one: str) -> str:
    return (
        f"Leaking, for comparison only: with folds by picture {found.classifier} on {found.layer} "
        f"({found.set}) has a cross-validated average precision of {found.by_picture:.3f}, with "
        f"folds by {one} {found.by_author:.3f}."
    )


def of_result(row: Result, found: Comparison) -> str:
    """The verdict on one classifier of the comparison."""
    name = f"{row.classifier} on {row.layer} ({row.set})"
    best = ", the best in cross-validation," if row.model == found.best else ""
    words = [f"{name}{best} has an average precision of {score(row.average_precision, 3)}."]
    sure, against = _credible(found), row.against["chance"]
    chance = f"{found.chance.average_precision:.3f} ({_size(against)})"
    if against.verdict != "above":
        words.append(f"That it beats chance, {chance}, is not shown.")
    elif sure:
        words.append(f"It beats chance, {chance}.")
    else:
        words.append(f"Scores in random order get {chance}; {_unsure(found)}.")
    if "author-history" in row.against:
        words.append(_history(row.against["author-history"], found.margin, sure))
    if not row.calibrated:
        words.append(
            "It gives no probabilities: in cross-validation its higher scores did not mean "
            "better liked pictures."
        )
    return " ".join(words)


def _unsure(found: Comparison) -> str:
    knows = listed(found.worth.knows) if found.worth is not None else "what is known without it"
    return f"nothing shows that it says more than {knows} do"


def _history(against: Difference, margin: float, sure: bool) -> str:
    what = "the author's own history"
    return {
        "above": f"It beats {what} ({_size(against)}).",
        "below": f"It is worse than {what} ({_size(against)}).",
        "alike": f"It does about as well as {what} ({_size(against)}, within {margin:g}).",
        "open": f"Whether it says more than {what} is open ({_size(against)}).",
    }[_said(against, sure)]


def of_reviews(change: ReviewChange, many: str, margin: float, model: str = "LinearSVC") -> str:
    """What people's corrections did, on pictures that none of them has touched."""
    start = (
        f"Reviews changed {change.changed:,} training labels, rejected {change.rejected:,} and "
        f"confirmed {change.confirmed:,}; on the {change.pictures:,} held-out pictures of "
        f"{change.authors:,} {many} that nobody reviewed, {model} reaches an average precision "
        f"of {score(change.reviewed)} with them and {score(change.without)} without"
    )
    size = _size(change.gain)
    return {
        "above": f"{start}: they help ({size}).",
        "below": f"{start}: they do harm ({size}).",
        "alike": f"{start}: no difference beyond {margin:g} ({size}).",
        "open": f"{start}: whether they help is open ({size}).",
    }[change.gain.verdict]


def _worth(worth: Worth, margin: float) -> str:
    reach = "reaches" if len(worth.knows) == 1 and worth.knows[0] != "followers" else "reach"
    known = f"{listed(worth.knows)} alone {reach} an average precision of {score(worth.known)}"
    start = (
        f"{known[0].upper()}{known[1:]}, the picture alone {score(worth.picture)}, "
        f"both together {score(worth.both)}"
    )
    size = _size(worth.gain, 2)
    return {
        "above": f"{start}: the picture adds {size} to what is known without it.",
        "below": f"{start}: with the picture the forecast is worse ({size}).",
        "alike": f"{start}: the picture adds nothing beyond {margin:g} ({size}).",
        "open": f"{start}: whether the picture adds anything to what is known without it is open "
        f"({size}).",
    }[worth.gain.verdict]


def _alone(found: Comparison) -> str:
    best = found.best_result
    against, auc = best.against["chance"], best.metrics["roc_auc"]
    chance = f"where chance gives {found.chance.average_precision:.2f} ({_size(against, 2)})"
    if against.verdict != "above" or auc.value is None or auc.low is None or auc.high is None:
        return (
            "On these pictures, nothing shows that the picture alone tells the better liked half "
            f"from the other: average precision {score(best.average_precision)}, {chance}."
        )
    if not _credible(found):
        return (
            f"The picture alone has an average precision of {score(best.average_precision)}, "
            f"{chance}; {_unsure(found)}: it may show no more than who posts."
        )
    return (
        "From the picture alone, a better liked picture is told from a less liked one "
        f"{100 * auc.value:.0f} times out of 100 (95 % interval {100 * auc.low:.0f} to "
        f"{100 * auc.high:.0f}; chance: 50)."
    )


def _beside(against: Difference, margin: float, sure: bool) -> str:
    what = "knowing how the author's earlier pictures did"
    size = _size(against, 2)
    return {
        "above": f"The picture alone beats {what} ({size}).",
        "below": f"{what[0].upper()}{what[1:]} says more than the picture alone ({size}): who "
        "posts matters more than what is seen.",
        "alike": f"The picture alone does about as well as {what} ({size}, within {margin:g}).",
        "open": f"Whether the picture alone says more than {what} is open ({size}).",
    }[_said(against, sure)]


def _plain(against: Difference, margin: float, sure: bool) -> str:
    what = "plain properties of the picture, such as its brightness and colours"
    size = _size(against, 2)
    return {
        "above": f"The network sees more than {what} ({size}).",
        "below": f"{what[0].upper()}{what[1:]}, do better than the network ({size}).",
        "alike": f"{what[0].upper()}{what[1:]}, do about as well as the network ({size}, within "
        f"{margin:g}).",
        "open": f"Whether the network sees more than {what}, is open ({size}).",
    }[_said(against, sure)]


def listed(words: Sequence[str]) -> str:
    """'a', 'a and b', 'a, b and c'."""
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last


def score(found: Score, places: int = 2) -> str:
    """'0.62 (0.58 to 0.66)'."""
    ends = f"{_number(found.low, places)} to {_number(found.high, places)}"
    return f"{_number(found.value, places)} ({ends})"


def signed(value: float | None, places: int = 3) -> str:
    """'+0.031' or '\u22120.031'; a dash for what does not exist."""
    return "–" if value is None else f"{value:+.{places}f}".replace("-", MINUS)


def _number(value: float | None, places: int) -> str:
    return "–" if value is None else f"{value:.{places}f}"


def _size(d: Difference, places: int = 3) -> str:
    """'+0.031, +0.010 to +0.052'."""
    ends = f"{signed(d.low, places)} to {signed(d.high, places)}"
    return f"{signed(d.value, places)}, {ends}"
