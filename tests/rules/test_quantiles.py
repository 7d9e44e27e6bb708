"""Exact quantiles of chunks that are never all in memory, against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters.quantiles import quantile, value_counts

numbers = st.floats(-1e300, 1e300) | st.integers(-3, 3).map(float)


@given(st.lists(numbers, min_size=1, max_size=80), st.integers(1, 5), st.floats(0, 1))
def test_quantiles_are_those_of_all_values(values: list[float], parts: int, q: float) -> None:
    chunks = np.array_split(np.array(values), parts)
    found, counts = value_counts(lambda: chunks, [q])
    assert counts.sum() == len(values)
    assert quantile(found, counts, q) == quantile(np.array(values), np.ones(len(values), int), q)


@pytest.mark.parametrize("kind", ["distinct", "tied"])
def test_most_values_are_only_counted(kind: str) -> None:
    rng = np.random.default_rng(8)
    values = rng.lognormal(0, 2, 200_000)
    if kind == "tied":
        values = np.where(rng.random(values.size) < 0.55, 0.0, np.round(values, 1))
    asked = [0.3, 0.5, 0.7]
    found, counts = value_counts(lambda: np.array_split(values, 7), asked)
    assert counts.sum() == values.size
    assert found.size < values.size / 20
    for q in asked:
        assert quantile(found, counts, q) == np.quantile(values, q)
    # Something stands above the largest quantile whenever a value does.
    top = np.quantile(values, 0.7)
    assert counts[found > top].sum() == (values > top).sum()


def test_no_values_give_no_counts() -> None:
    assert [x.size for x in value_counts(list, [0.5])] == [0, 0]
