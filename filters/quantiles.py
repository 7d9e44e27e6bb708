"""Exact quantiles: of values that stand several times each, and from order statistics."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from likewise.errors import DataError

__all__ = ["between", "fraction_of_rank", "quantile", "ranks"]


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
    at = np.searchsorted(ends, ranks(total, probability), side="right")
    low, high = (float(value) for value in values[order][at])
    return between(low, high, total, probability)


def ranks(total: int, probability: float) -> tuple[int, int]:
    """Ranks, from 0, of the two values that a quantile of ``total`` values lies between."""
    below = int(probability * (total - 1))
    return below, min(below + 1, total - 1)


def between(low: float, high: float, total: int, probability: float) -> float:
    """The quantile that lies between the values at ``ranks``."""
    position = probability * (total - 1)
    return low + (high - low) * (position - int(position))


def fraction_of_rank(rank: int, total: int) -> float:
    """What SQL's ``percentile_disc`` has to be asked for to give the value at ``rank``.

    It gives the first value whose share of values up to it reaches the fraction; the middle of the
    rank's own step leaves room for rounding on both sides.
    """
    return (rank + 0.5) / total
