"""Cross-validation folds and the held-out part, by author.

All pictures of an author stand in one fold and on one side of the split: otherwise a model that
recognises the author is rewarded for it. The largest authors are placed one by one, each where it
keeps the parts most alike in good and in bad pictures (as scikit-learn's StratifiedGroupKFold
does); the many small ones are dealt like cards, in the order of their share of good pictures and of
their size. The answer depends on the set of authors and the seed alone: not on the order of rows,
nor on how many partitions held them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import xxhash
from numpy.typing import NDArray

from likewise.errors import DataError

__all__ = ["Assignment", "assign", "author_keys"]

ONE_BY_ONE = 20_000
"""Largest authors that are placed one by one; the others are many and small."""

STRATA = 8
"""Strata of the share of good pictures, none and all apart."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """``fold`` (n,) int32 and ``test`` (n,) bool, one entry an author, in the order given."""

    fold: NDArray[np.int32]
    test: NDArray[np.bool_]


def author_keys(authors: Iterable[tuple[str, ...]]) -> NDArray[np.int64]:
    """One integer of 64 bits a text key, the same on every machine and for ever; shape (n,).

    XXH64 chained over the parts from the seed 42, as Spark's ``xxhash64`` does: studies that were
    dealt by that expression keep their folds.
    """
    answer = []
    for parts in authors:
        state = 42
        for part in parts:
            state = xxhash.xxh64_intdigest(part.encode(), state)
        answer.append(state)
    return np.array(answer, np.uint64).view(np.int64)


def assign(
    keys: NDArray[np.int64],
    sizes: NDArray[np.int64],
    positives: NDArray[np.int64],
    *,
    folds: int,
    test_fraction: float,
    seed: int,
    kept: Assignment | None = None,
    what: str = "authors",
) -> Assignment:
    """Deal authors over ``folds`` and hold out ``test_fraction`` of them.

    Args:
        keys: One distinct integer an author (n,).
        sizes: Pictures of each author (n,).
        positives: Good pictures of each author (n,).
        folds: Number of folds; they are balanced within the train and within the test part.
        test_fraction: Share of the pictures to hold out, as whole authors.
        seed: Another seed deals authors of equal size and share otherwise.
        kept: Places that were drawn before; authors without one have fold -1. Nobody moves: those
            without a place go where they mend the balance.
        what: What is dealt in the place of authors, for the error.

    An author with more pictures than a fold should have counts as a full fold. Otherwise a single
    one with most of the pictures would stand alone against all others on the test side.

    Raises:
        DataError: either side of the split would have fewer authors than one a fold.
    """
    full = _full(sizes, (1 - test_fraction) / folds)
    positives = np.where(sizes > full, positives * full // np.maximum(sizes, 1), positives)
    sizes = np.minimum(sizes, full)
    order = _falling_size(keys, sizes, positives, seed)
    share = np.array([1 - test_fraction, test_fraction])
    none = np.full(keys.size, -1, np.int32)
    drawn = none if kept is None else kept.fold
    at = none if kept is None else np.where(drawn < 0, -1, kept.test).astype(np.int32)
    side = _placed(order, at, sizes, positives, share, seed)
    fold = np.empty(keys.size, np.int32)
    for number in (0, 1):
        members = order[side[order] == number]
        if members.size < (folds, 1)[number]:
            raise DataError(
                f"{keys.size} {what} cannot fill {folds} folds and a test part of "
                f"{test_fraction:.0%}",
                hint=f"more {what} are needed, or lower [label] folds and test_fraction",
            )
        even = np.full(folds, 1 / folds)
        fold[members] = _placed(members, drawn, sizes, positives, even, seed)[members]
    return Assignment(fold, side == 1)


def _full(sizes: NDArray[np.int64], share: float) -> int:
    """Pictures that are ``share`` of all when no author counts with more than that."""
    full = int(sizes.sum())
    while (lower := max(1, int(share * np.minimum(sizes, full).sum()))) < full:
        full = lower
    return max(1, full)


def _falling_size(
    keys: NDArray[np.int64], sizes: NDArray[np.int64], positives: NDArray[np.int64], seed: int
) -> NDArray[np.int64]:
    return np.lexsort((keys, _mixed(keys, seed), -np.maximum(positives, sizes - positives)))


def _placed(
    order: NDArray[np.int64],
    drawn: NDArray[np.int32],
    sizes: NDArray[np.int64],
    positives: NDArray[np.int64],
    shares: NDArray[np.float64],
    seed: int,
) -> NDArray[np.int32]:
    """Part of each author of ``order``, the parts taking ``shares`` of the pictures.

    ``drawn`` are the parts of all authors that have one, else -1; these stay.
    """
    part = drawn.copy()
    there, order = order[part[order] >= 0], order[part[order] < 0]
    bad = sizes - positives
    filled: list[NDArray[np.float64]] = [
        np.bincount(part[there], counts[there], shares.size).astype(np.float64)
        for counts in (positives, bad)
    ]
    head, tail = order[:ONE_BY_ONE], order[ONE_BY_ONE:]
    part[head] = _one_by_one(positives[head], bad[head], filled, shares, seed)
    part[_by_share(tail, sizes, positives)] = _dealt(tail.size, shares)
    return part


def _one_by_one(
    good: NDArray[np.int64],
    bad: NDArray[np.int64],
    before: list[NDArray[np.float64]],
    shares: NDArray[np.float64],
    seed: int,
) -> list[int]:
    """Each goes where it raises the sum of (pictures in part)^2 / share least, good and bad alike.

    That sum is smallest when all parts have their share. ``before`` are the good and the bad
    pictures that the parts hold already.
    """
    parts = range(shares.size)
    weight = [1 / share for share in shares.tolist()]
    total = [
        max(1, int(new.sum() + old.sum())) for new, old in zip((good, bad), before, strict=True)
    ]
    filled = [(old / of).tolist() for old, of in zip(before, total, strict=True)]
    answer = []
    for counts in zip(good.tolist(), bad.tolist(), strict=True):
        more = [counts[0] / total[0], counts[1] / total[1]]
        cost = [
            sum(d * (2 * have[j] + d) for d, have in zip(more, filled, strict=True)) * weight[j]
            for j in parts
        ]
        best = min(parts, key=lambda j: (cost[j], (j - seed) % shares.size))
        for d, have in zip(more, filled, strict=True):
            have[best] += d
        answer.append(best)
    return answer


def _by_share(
    authors: NDArray[np.int64], sizes: NDArray[np.int64], positives: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Authors in the order of their share of good pictures; among equals the order stays."""
    n, good = sizes[authors], positives[authors]
    stratum = np.ceil(good / np.maximum(n, 1) * STRATA).astype(np.int64) + (good == n)
    return authors[np.argsort(stratum, kind="stable")]


def _dealt(n: int, shares: NDArray[np.float64]) -> NDArray[np.int32]:
    """``n`` cards to parts of ``shares``, each part's cards evenly spread over the pack."""
    counts = np.diff(np.round(np.concatenate([[0], np.cumsum(shares)]) * n)).astype(np.int64)
    places = [(np.arange(count) + 0.5) / max(count, 1) for count in counts]
    part = np.repeat(np.arange(shares.size, dtype=np.int32), counts)
    return part[np.argsort(np.concatenate(places), kind="stable")]


def _mixed(keys: NDArray[np.int64], seed: int) -> NDArray[np.uint64]:
    """SplitMix64's finaliser (Steele et al., OOPSLA 2014) of key and seed: even and repeatable."""
    x = keys.astype(np.int64).view(np.uint64) + np.uint64((seed + 1) * 0x9E3779B97F4A7C15 % 2**64)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
