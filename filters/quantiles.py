"""Exact quantiles of values that stand several times each."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from likewise.errors import DataError

__all__ = ["quantile"]


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
