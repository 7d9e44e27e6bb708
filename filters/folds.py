"""Cross-validation folds and the held-out part, by author.

All pictures of an author stand in one fold and on one side of the split: otherwise a model that
recognises the author is rewarded for it. Authors are dealt like cards, in the order of their share
of good pictures and of their size, to and fro over the folds, so that folds agree in both. The
answer depends on the set of authors and the seed alone: not on the order of rows, nor on how many
partitions held them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from likewise.errors import DataError

__all__ = ["Assignment", "assign"]

SHARES = 8
"""Strata of the share of good pictures between none and all."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """``fold`` (n,) int32 and ``test`` (n,) bool, one entry an author, in the order given."""

    fold: NDArray[np.int32]
    test: NDArray[np.bool_]


def assign(
    keys: NDArray[np.int64],
    sizes: NDArray[np.int64],
    positives: NDArray[np.int64],
    *,
    folds: int,
    test_fraction: float,
    seed: int,
) -> Assignment:
    """Deal authors over ``folds`` and hold out ``test_fraction`` of them.

    Args:
        keys: One distinct integer an author (n,).
        sizes: Pictures of each author (n,).
        positives: Good pictures of each author (n,).
        folds: Number of folds; they are balanced within the train and within the test part.
        test_fraction: Share of the authors to hold out.
        seed: Another seed deals authors of equal size and share otherwise.

    Raises:
        DataError: either side of the split would have fewer authors than one a fold.
    """
    order = _stratified_order(keys, sizes, positives, seed)
    test = np.zeros(keys.size, np.bool_)
    test[order] = _every_nth(keys.size, test_fraction, seed)
    fold = np.empty(keys.size, np.int32)
    for side in (False, True):
        members = order[test[order] == side]
        if members.size < folds and not (side and members.size):
            raise DataError(
                f"{keys.size} authors cannot fill {folds} folds and a test part of "
                f"{test_fraction:.0%}",
                hint="collect more authors, or lower [label] folds and test_fraction",
            )
        fold[members] = _to_and_fro(members.size, folds, start=seed)
    return Assignment(fold, test)


def _stratified_order(
    keys: NDArray[np.int64], sizes: NDArray[np.int64], positives: NDArray[np.int64], seed: int
) -> NDArray[np.int64]:
    share = np.ceil(positives / np.maximum(sizes, 1) * SHARES).astype(np.int64)
    share += positives == sizes
    return np.lexsort((keys, _mixed(keys, seed), -sizes, share))


def _mixed(keys: NDArray[np.int64], seed: int) -> NDArray[np.uint64]:
    """SplitMix64's finaliser (Steele et al., OOPSLA 2014) of key and seed: even and repeatable."""
    x = keys.astype(np.int64).view(np.uint64) + np.uint64((seed + 1) * 0x9E3779B97F4A7C15 % 2**64)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _every_nth(n: int, fraction: float, seed: int) -> NDArray[np.bool_]:
    """Systematic sampling: ``fraction`` of ``n`` places, evenly spread, from a seeded start."""
    start = np.random.default_rng(seed).random()
    places = np.floor(np.arange(n + 1) * fraction + start)
    chosen: NDArray[np.bool_] = np.diff(places) > 0
    return chosen


def _to_and_fro(n: int, folds: int, *, start: int) -> NDArray[np.int32]:
    """0, 1, ..., k-1, k-1, ..., 1, 0, 0, 1, ...: neighbours in size fall on different folds."""
    place = np.arange(n) % (2 * folds)
    fold = np.minimum(place, 2 * folds - 1 - place)
    return ((fold + start) % folds).astype(np.int32)
