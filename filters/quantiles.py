"""Exact quantiles of values that stand several times each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from likewise.errors import DataError

__all__ = ["quantile", "value_counts"]


def quantile(values: NDArray[np.float64], counts: NDArray[np.int64], probability: float) -> float:
    """Quantile of ``values`` (n,), each repeated ``counts`` (n,) times, by linear interpolation.

    This is type 7 of Hyndman and Fan (1996), the default of NumPy, pandas, DuckDB's
    ``quantile_cont`` and Spark's ``percentile``.

    Raises:
        DataError: there is no value.
    """
    total = int(counts.sum())
    if total == 0:
        raise DataError("the quantile of no values is not defined")
    order = np.argsort(values, kind="stable")
    ends = np.cumsum(counts[order])
    position = probability * (total - 1)
    below = int(np.floor(position))
    at = np.searchsorted(ends, [below, min(below + 1, total - 1)], side="right")
    low, high = (float(value) for value in values[order][at])
    return low + (high - low) * (position - below)


def value_counts(
    chunks: Callable[[], Iterable[NDArray[np.float64]]], probabilities: Sequence[float]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Values and their counts from which the quantiles at ``probabilities`` are exact.

    Two passes over the ``chunks``, finite numbers in any order. The first counts the leading 16
    bits of the values, which rise with them; the second keeps the values that share them with a
    quantile. For the others the smallest of their bits stands, with their count.
    """
    bins = np.zeros(1 << 16, np.int64)
    for chunk in chunks():
        bins += np.bincount(_leading(chunk), minlength=bins.size)
    if not bins.any():
        return np.empty(0), np.empty(0, np.int64)
    wanted = np.zeros(bins.size, np.bool_)
    ends = np.cumsum(bins)
    below = np.floor(np.asarray(probabilities) * (ends[-1] - 1)).astype(np.int64)
    ranks = np.concatenate([below, np.minimum(below + 1, ends[-1] - 1)])
    wanted[np.searchsorted(ends, ranks, side="right")] = True
    others = np.flatnonzero((bins > 0) & ~wanted)
    found = [(_smallest(others), bins[others])]
    found += [np.unique(chunk[wanted[_leading(chunk)]], return_counts=True) for chunk in chunks()]
    values, group = np.unique(np.concatenate([v for v, _ in found]), return_inverse=True)
    counts = np.bincount(group, weights=np.concatenate([n for _, n in found]))
    return values, counts.astype(np.int64)


_SIGN = np.uint64(1 << 63)


def _leading(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """First 16 bits of each number, mapped so that they rise with it."""
    bits = np.ascontiguousarray(values + 0.0).view(np.uint64)  # -0.0 becomes 0.0
    rising = np.where(bits & _SIGN, ~bits, bits | _SIGN)
    return (rising >> np.uint64(48)).astype(np.int64)


def _smallest(leading: NDArray[np.int64]) -> NDArray[np.float64]:
    """The smallest number of each leading 16 bits."""
    rising = leading.astype(np.uint64) << np.uint64(48)
    return np.where(rising & _SIGN, rising ^ _SIGN, ~rising).view(np.float64)
