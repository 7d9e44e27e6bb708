"""All pairs of 64-bit codes that differ in few bits, without comparing all with all.

Multi-index hashing (Norouzi, Punjani and Fleet, CVPR 2012): when two codes differ in at most r
bits and are cut into m bands, they differ in at most floor(r / m) bits in one of the bands. So
each band is a table, and only codes whose band lies that near are compared in full. The number of
bands is chosen by the expected work.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["near_pairs"]

BITS = 64

WIDEST = 22
"""Bits of a band: its table has two to this many entries."""

AT_ONCE = 4_000_000
"""Candidate pairs that are in memory at the same time (about 100 MB)."""

Pairs = tuple[NDArray[np.int64], NDArray[np.int64]]


@dataclass(frozen=True, slots=True)
class Banding:
    """How codes are cut: the width in bits of each band, and how far apart bands may be."""

    widths: tuple[int, ...]
    reach: int


def near_pairs(codes: NDArray[np.int64], radius: int) -> Pairs:
    """Pairs (i, j), i < j, of rows whose codes differ in at most ``radius`` bits.

    Args:
        codes: Shape (n,), 64-bit codes, all different (make them unique first: n equal codes
            have n² / 2 pairs).
        radius: Largest Hamming distance, 0-64. A million codes take seconds up to 8.

    Returns:
        Two arrays of the same length, sorted by (i, j).
    """
    n = len(codes)
    if radius == 0:  # different codes are never equal
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    bits = _dealt(codes)
    plan = choose_banding(n, radius)
    found = [np.zeros(0, np.int64)]
    shift = 0
    for width in plan.widths:
        band = (bits >> np.uint64(shift) & np.uint64((1 << width) - 1)).astype(np.int64)
        shift += width
        order = np.argsort(band, kind="stable")
        ordered = bits[order]
        for left, right in _candidates(band[order], width, plan.reach):
            near = np.bitwise_count(ordered[left] ^ ordered[right]) <= radius
            first, second = order[left[near]], order[right[near]]
            found.append(np.minimum(first, second) * n + np.maximum(first, second))
    pairs = np.unique(np.concatenate(found))
    return pairs // max(n, 1), pairs % max(n, 1)


def _dealt(codes: NDArray[np.int64]) -> NDArray[np.uint64]:
    """The codes with neighbouring bits dealt to different bands.

    In real hashes neighbours agree more often than chance has it; a band of neighbours would hold
    few different values and leave many pairs to compare. Distances stay what they are.
    """
    octets = np.ascontiguousarray(codes, np.int64).view(np.uint8).reshape(-1, 8)
    order = np.argsort(np.arange(BITS) % 3, kind="stable")
    dealt = np.packbits(np.unpackbits(octets, axis=1)[:, order], axis=1)
    return np.ascontiguousarray(dealt).view(np.uint64).ravel()


def choose_banding(n: int, radius: int) -> Banding:
    """The banding with the least expected work for ``n`` evenly spread codes."""
    if not 0 <= radius <= BITS:
        raise ValueError(f"radius is {radius}, expected 0 to {BITS} bits")
    bands = range(math.ceil(BITS / WIDEST), max(radius, 2) + 2)
    count = min(bands, key=lambda m: _work(n, math.ceil(BITS / m), radius // m, m))
    widths = tuple(len(part) for part in np.array_split(np.arange(BITS), min(count, BITS)))
    return Banding(widths, radius // len(widths))


def _work(n: int, width: int, reach: int, bands: int) -> float:
    """Rows looked up and pairs compared, and what a NumPy call costs in that unit."""
    probes = sum(math.comb(width, k) for k in range(reach + 1))
    return float(bands * probes * (20_000 + n + n * n / 2**width))


def _candidates(band: NDArray[np.int64], width: int, reach: int) -> Iterator[Pairs]:
    """Pairs of rows of a sorted band that differ in at most ``reach`` bits of it, each once."""
    starts = np.searchsorted(band, np.arange((1 << width) + 1))
    rows = np.arange(len(band))
    for flips in _masks(width, reach):
        partner = band ^ flips
        start, end = starts[partner], starts[partner + 1]
        if flips == 0:
            start = rows + 1
        counts = np.where(partner >= band, end - start, 0)
        yield from _expand(rows, start, counts)


def _masks(width: int, reach: int) -> Iterator[int]:
    for k in range(reach + 1):
        for bits in itertools.combinations(range(width), k):
            yield sum(1 << bit for bit in bits)


def _expand(
    rows: NDArray[np.int64], start: NDArray[np.int64], counts: NDArray[np.int64]
) -> Iterator[Pairs]:
    """Pairs of each row with its ``counts`` rows from ``start`` on, ``AT_ONCE`` at a time."""
    some = np.flatnonzero(counts)
    rows, start, counts = rows[some], start[some], counts[some]
    ends = np.cumsum(counts)
    low = 0
    while low < len(rows):
        before = ends[low] - counts[low]
        high = max(low + 1, int(np.searchsorted(ends, before + AT_ONCE, side="right")))
        part = slice(low, high)
        left = np.repeat(rows[part], counts[part])
        step = np.arange(len(left)) - np.repeat(ends[part] - counts[part] - before, counts[part])
        yield left, np.repeat(start[part], counts[part]) + step
        low = high
