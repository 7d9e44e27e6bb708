"""What "liked" means: likes / audience against a median, and how much of it is the author.

Stated rules:

* a picture is good (1) when its ratio lies above the cut, bad (0) otherwise; a ratio that equals
  the median is bad, so that ties can never be split by chance;
* a ratio of zero is an ordinary small ratio;
* with a margin m the cut is an interval between the quantiles 0.5 - m and 0.5 + m; ratios above
  its lower and up to its upper end are left out;
* quantiles interpolate linearly;
* an author's own level at that time is the median of the posts around a post, itself left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from filters.quantiles import between, ranks
from filters.rules import double
from likewise.errors import DataError

__all__ = [
    "AGE_EDGES",
    "Correction",
    "Cut",
    "author_facts",
    "correction",
    "cut",
    "log10_histogram",
    "own_level",
    "ratio",
]

AGE_EDGES = (30.0, 45.0, 60.0, 90.0, 120.0, 180.0, 365.0, 730.0)
"""Ages in days between which a post's growth is taken as even."""

LEAST_IN_BIN = 50
"""Posts below which a bin's median says too little to correct by."""


@dataclass(frozen=True, slots=True)
class Cut:
    """Ratios up to ``low`` are bad, above ``high`` good, between them left out."""

    low: float
    median: float
    high: float
    margin: float

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return asdict(self)


def cut(at: Callable[[Sequence[int]], Sequence[float]], total: int, *, margin: float) -> Cut:
    """The cut at the median of ``total`` ratios; ``at`` gives their values at ranks, from 0.

    Raises:
        DataError: no value lies above the cut, so there is one class only.
    """
    asked = [0.5 - margin, 0.5, 0.5 + margin]
    *found, largest = at([*(rank for q in asked for rank in ranks(total, q)), total - 1])
    low, middle, high = (
        between(found[2 * n], found[2 * n + 1], total, q) for n, q in enumerate(asked)
    )
    if largest <= high:
        raise DataError(
            f"every ratio up to the largest, {largest:g}, lies at or below the cut: "
            "there is no good picture",
            hint="likes are hidden or nearly all equal here; collect more, or lower [label] margin",
        )
    return Cut(low, middle, high, margin)


LEAST_AROUND = 4
"""Other posts of an author without which there is no level to compare with."""

AT_ONCE = 4_000_000
"""Ratios that are sorted at the same time (32 MB)."""


def own_level(
    author: NDArray[np.int64],
    created: NDArray[np.float64],
    ratio: NDArray[np.float64],
    *,
    around: int,
    margin: float = 0.0,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What an author's posts got at the time of each post, the post itself left out.

    An account grows and falls; against one median for all its years, early pictures would be bad
    and late ones good whatever they show. The level is taken from the ``around`` posts nearest in
    order, half of them before and half after; at both ends of the account from those that exist.

    Args:
        author: (n,) an integer for each author, one row a post.
        created: (n,) time of the post, in any unit.
        ratio: (n,) likes, or likes by audience.
        around: other posts that make the level.
        margin: as in ``cut``.

    Returns:
        (n,) quantiles 0.5 - margin and 0.5 + margin of the posts around; NaN where an author has
        fewer than five posts. Posts of the same moment keep the order in which they are given.
    """
    half = max(1, around // 2)
    offsets = np.concatenate([np.arange(-half, 0), np.arange(1, half + 1)])
    order = np.lexsort((created, author))
    who, value = author[order], ratio[order]
    low, high = np.full(len(order), np.nan), np.full(len(order), np.nan)
    step = max(1, AT_ONCE // len(offsets))
    for start in range(0, len(order), step):
        rows = np.arange(start, min(start + step, len(order)))
        beside = rows[:, None] + offsets
        there = np.clip(beside, 0, len(order) - 1)
        own = (beside == there) & (who[there] == who[rows, None])
        found = np.sort(np.where(own, value[there], np.inf), axis=1)
        count = own.sum(axis=1)
        enough = count >= LEAST_AROUND
        for q, into in ((0.5 - margin, low), (0.5 + margin, high)):
            place = q * (count[enough] - 1)
            below = np.floor(place).astype(np.int64)
            above = np.minimum(below + 1, count[enough] - 1)
            row = np.flatnonzero(enough)
            part = place - below
            into[order[rows[enough]]] = found[row, below] * (1 - part) + found[row, above] * part
    return low, high


@dataclass(frozen=True, slots=True)
class Correction:
    """Factors that a ratio is divided by: one for each bin of age, one for each hour (UTC)."""

    age: tuple[float, ...] = (1.0,) * (len(AGE_EDGES) + 1)
    hour: tuple[float, ...] = (1.0,) * 24

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {"age_edges": list(AGE_EDGES), "age": list(self.age), "hour": list(self.hour)}

    def factor(self) -> str:
        """SQL expression for the factor of a row with ``age_days`` and ``created_at``."""
        ages = " ".join(
            f"WHEN age_days < {edge} THEN {double(factor)}"
            for edge, factor in zip(AGE_EDGES, self.age, strict=False)
        )
        hours = " ".join(f"WHEN {hour} THEN {double(x)}" for hour, x in enumerate(self.hour))
        age = f"CASE {ages} ELSE {double(self.age[-1])} END"
        return f"({age} * CASE hour(created_at) {hours} ELSE {double(1.0)} END)"


def ratio(target: str, factors: Correction) -> str:
    """SQL expression for the corrected ratio of a row with ``likes`` and ``audience``."""
    likes = "CAST(likes AS DOUBLE)"
    plain = likes if target == "likes" else f"{likes} / CAST(audience AS DOUBLE)"
    return plain if factors == Correction() else f"{plain} / {factors.factor()}"


def log10_histogram(found: Counter[tuple[int | None, int]]) -> dict[str, Any]:
    """Good and bad pictures in tenths of log10(ratio); ratios of zero, None, stand apart."""
    tenths = [tenth for tenth, _ in found if tenth is not None]
    bins = range(min(tenths), max(tenths) + 1) if tenths else range(0)
    return {
        "log10_ratio_edges": [tenth / 10 for tenth in (*bins, bins.stop)],
        "good": [found[tenth, 1] for tenth in bins],
        "bad": [found[tenth, 0] for tenth in bins],
        "zeros": found[None, 0] + found[None, 1],
    }


def age_bin(age_days: NDArray[np.float64]) -> NDArray[np.int64]:
    """Number of ``AGE_EDGES`` at or below each age."""
    return np.searchsorted(AGE_EDGES, age_days, side="right")


def correction(
    ratio: NDArray[np.float64],
    age_days: NDArray[np.float64],
    hour: NDArray[np.int64],
    *,
    by_age: bool,
    by_hour: bool,
) -> Correction:
    """Estimate the factors: a bin's median ratio over the median of all, age first.

    Likes still grow with age, and more people look at some hours; both act on all posts alike, so
    the medians of large bins show them. Bins of fewer than 50 posts, or of median zero, keep 1.
    """
    age = hours = None
    if by_age:
        bins = age_bin(age_days)
        age = _factors(ratio, bins, len(AGE_EDGES) + 1)
        ratio = ratio / np.take(age, bins)
    if by_hour:
        hours = _factors(ratio, hour, 24)
    neutral = Correction()
    return Correction(age or neutral.age, hours or neutral.hour)


def _factors(ratio: NDArray[np.float64], bins: NDArray[np.int64], n: int) -> tuple[float, ...]:
    overall = float(np.median(ratio)) if ratio.size else 0.0
    factors = [1.0] * n
    if overall <= 0:
        return tuple(factors)
    for number in range(n):
        inside = ratio[bins == number]
        if inside.size >= LEAST_IN_BIN and (middle := float(np.median(inside))) > 0:
            factors[number] = middle / overall
    return tuple(factors)


def author_facts(
    ratio: NDArray[np.float64], label: NDArray[np.int8], author: NDArray[np.int64]
) -> dict[str, float | int]:
    """How far the author alone explains the ratio: what every result has to be seen beside.

    Args:
        ratio: Ratios (n,); those of zero count as half of the smallest positive one.
        label: 1 good, 0 bad (n,).
        author: An integer for each author (n,).

    Returns:
        ``variance_between`` and ``variance_between_adjusted``: share of the variance of log(ratio)
        that lies between authors (eta squared, and epsilon squared, which is not raised by small
        groups). ``author_ap``: average precision of a score that knows only the author, the mean
        log(ratio) of the author's other pictures; ``chance_ap``: that of a random order.
    """
    facts: dict[str, float | int] = {"pictures": int(ratio.size)}
    positive = ratio[ratio > 0]
    if positive.size == 0 or ratio.size < 2:
        return facts
    log = np.log(np.where(ratio > 0, ratio, positive.min() / 2))
    _, group, sizes = np.unique(author, return_inverse=True, return_counts=True)
    sums = np.bincount(group, weights=log)
    facts |= {
        "authors": int(sizes.size),
        **_variance_between(log, sums[group] / sizes[group], sizes),
    }
    others = sizes[group] - 1
    score = np.where(others > 0, (sums[group] - log) / np.maximum(others, 1), log.mean())
    # Small counts repeat: authors alike must tie, in whatever order their logarithms were added.
    score = score.round(9)
    return facts | _precision_of(score, label)


def _variance_between(
    log: NDArray[np.float64], author_mean: NDArray[np.float64], sizes: NDArray[np.int64]
) -> dict[str, float]:
    total = float(((log - log.mean()) ** 2).sum())
    within = float(((log - author_mean) ** 2).sum())
    if total == 0:
        return {}
    n, k = log.size, sizes.size
    adjusted = 1 - (within / (n - k)) / (total / (n - 1)) if n > k else float("nan")
    shares = {"variance_between": 1 - within / total}
    return shares | ({"variance_between_adjusted": adjusted} if n > k else {})


def _precision_of(score: NDArray[np.float64], label: NDArray[np.int8]) -> dict[str, float]:
    from sklearn.metrics import average_precision_score

    good = float(label.mean())
    if good in (0.0, 1.0):
        return {}
    return {"author_ap": float(average_precision_score(label, score)), "chance_ap": good}
