"""Exact quantiles of a DataFrame column, of any size, the same for any partitioning."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from spark_jobs.frames import collect_arrow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from pyspark.sql import DataFrame

__all__ = ["value_counts"]

SMALL = 200_000
"""Rows up to which all distinct values come to the driver."""

ACCURACY = 10_000


def value_counts(
    frame: DataFrame, column: str, probabilities: Sequence[float], *, rows: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Values and their counts from which the quantiles at ``probabilities`` are exact.

    ``percentile_approx`` gives an interval around each quantile; all values inside come to the
    driver, those outside are only counted. Two passes over one column, whatever its size.
    """
    if rows <= SMALL:
        return _collected(frame.groupBy(column).count(), column)
    slack = 3 / ACCURACY
    while True:
        intervals = _intervals(frame, column, probabilities, slack)
        values, counts, inside = _counted(frame, column, intervals)
        if _covered(counts, inside, probabilities):
            return values, counts
        slack *= 8


def _collected(grouped: DataFrame, column: str) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    found = collect_arrow(grouped)
    values = found[column].to_numpy().astype(np.float64)
    return values, found["count"].to_numpy().astype(np.int64)


def _intervals(
    frame: DataFrame, column: str, probabilities: Sequence[float], slack: float
) -> list[tuple[float, float]]:
    """Closed intervals, disjoint and in order, that should hold the quantiles."""
    from pyspark.sql import functions as F  # noqa: N812

    asked = [p for q in sorted(set(probabilities)) for p in (max(q - slack, 0), min(q + slack, 1))]
    answer = frame.agg(F.percentile_approx(column, asked, ACCURACY)).first()
    assert answer is not None
    merged: list[tuple[float, float]] = []
    for low, high in zip(answer[0][::2], answer[0][1::2], strict=True):
        if merged and low <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
        else:
            merged.append((low, high))
    return merged


def _counted(
    frame: DataFrame, column: str, intervals: list[tuple[float, float]]
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.bool_]]:
    """Values inside the intervals, and one stand-in for all values of each gap between them."""
    from pyspark.sql import functions as F  # noqa: N812

    value = F.col(column)
    inside = F.lit(False)
    for low, high in intervals:
        inside |= value.between(low, high)
    edges = [-np.inf, *(high for _, high in intervals)]
    gap = sum(((value > high).cast("int") for _, high in intervals), start=F.lit(0))
    key = [F.when(inside, value).alias("value"), F.when(~inside, gap).alias("gap")]
    found = collect_arrow(frame.groupBy(*key).count())
    gaps = found["gap"].to_numpy()
    within = np.isnan(gaps.astype(np.float64))
    # A gap's stand-in lies just above the interval before it, so that the order stays right.
    after = np.nextafter(np.asarray(edges), np.inf)[np.where(within, 0, gaps).astype(int)]
    values = np.where(within, found["value"].to_numpy().astype(np.float64), after)
    order = np.argsort(values, kind="stable")
    return values[order], found["count"].to_numpy().astype(np.int64)[order], within[order]


def _covered(
    counts: NDArray[np.int64], inside: NDArray[np.bool_], probabilities: Sequence[float]
) -> bool:
    """True when both neighbours of every quantile are values and not stand-ins."""
    ends = np.cumsum(counts)
    last = int(ends[-1]) - 1
    below = np.floor(np.asarray(probabilities) * last).astype(np.int64)
    ranks = np.concatenate([below, np.minimum(below + 1, last)])
    return bool(inside[np.searchsorted(ends, ranks, side="right")].all())
