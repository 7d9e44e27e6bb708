"""Blocks of time: what is dealt over folds where authors are too few to be dealt.

A block holds an author's posts of some weeks in a row, counted from Monday 5 January 1970, so that
posts that come later never move a border. Blocks whose labels resemble those of the block before
them would tell each other's answers: then longer ones are taken.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["LENGTHS", "Alike", "alike", "block_of", "chosen_length", "first_day"]

LENGTHS = (7, 14, 28, 56, 112)
"""Days that a block may have where its length is not given."""

LEAST = 40
"""Blocks below which length is not raised: the interval would rest on too few held-out ones."""

MONDAY = 4
"""Days from 1 January 1970, a Thursday, to the first Monday."""

DRAWS = 999

SHOWN = 0.05
"""One-sided p from which on neighbouring blocks are called alike."""


@dataclass(frozen=True, slots=True)
class Alike:
    """How alike the labels of neighbouring blocks are.

    ``correlation`` is that of the mean label of a block with the next one's of the same author;
    ``p`` the share of random orders of an author's blocks in which it is at least as high. Both
    are None where fewer than three pairs of blocks are neighbours.
    """

    correlation: float | None
    p: float | None

    @property
    def shown(self) -> bool:
        """True where the labels say that neighbours are alike."""
        return self.p is not None and self.p <= SHOWN


def block_of(days: NDArray[np.float64], length: int) -> NDArray[np.int64]:
    """Number of the block of ``length`` days that holds each of (n,) days since 1970, UTC."""
    return np.floor((days - MONDAY) / length).astype(np.int64)


def first_day(block: NDArray[np.int64], length: int) -> NDArray[np.datetime64]:
    """Day on which each of (n,) blocks of ``length`` days begins."""
    return (block * length + MONDAY).astype("datetime64[D]")


def alike(
    author: NDArray[np.int64],
    block: NDArray[np.int64],
    label: NDArray[np.int64],
    seed: int,
) -> Alike:
    """Whether neighbouring blocks have like labels, tested by exchanging an author's blocks.

    Args:
        author: (n,) an integer for each author.
        block: (n,) block of each picture; neighbours differ by 1.
        label: (n,) 1 good, 0 bad.
        seed: of the orders that are drawn.
    """
    units, unit = np.unique(np.stack([author, block], axis=1), axis=0, return_inverse=True)
    size = np.bincount(unit.ravel())
    deviation = np.bincount(unit.ravel(), label - label.mean()) / size
    beside = (np.diff(units[:, 0]) == 0) & (np.diff(units[:, 1]) == 1)
    if beside.sum() < 3 or not np.ptp(deviation) > 0:
        return Alike(None, None)
    left = np.flatnonzero(beside)

    def products(values: NDArray[np.float64]) -> NDArray[np.float64]:
        found: NDArray[np.float64] = (values[..., left] * values[..., left + 1]).mean(axis=-1)
        return found

    rng = np.random.default_rng(seed)
    orders = np.tile(deviation, (DRAWS, 1))
    for number in np.unique(units[:, 0]):
        own = np.flatnonzero(units[:, 0] == number)
        orders[:, own] = rng.permuted(orders[:, own], axis=1)
    observed = float(products(deviation))
    p = (1 + int((products(orders) >= observed - 1e-12).sum())) / (1 + DRAWS)
    return Alike(observed / float(np.mean(deviation**2)), p)


def chosen_length(
    author: NDArray[np.int64], days: NDArray[np.float64], label: NDArray[np.int64], seed: int
) -> int:
    """Days of a block: a week, or as much longer as it takes for neighbours not to be alike.

    Never so long that fewer than ``LEAST`` blocks would be left.
    """
    length = LENGTHS[0]
    for longer in LENGTHS[1:]:
        if not alike(author, block_of(days, length), label, seed).shown:
            break
        units = np.unique(np.stack([author, block_of(days, longer)], axis=1), axis=0)
        if len(units) < LEAST:
            break
        length = longer
    return length
