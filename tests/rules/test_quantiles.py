"""Quantiles from order statistics, against NumPy and DuckDB."""

from __future__ import annotations

import duckdb
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters.quantiles import between, fraction_of_rank, quantile, ranks
from likewise.errors import DataError

numbers = st.floats(-1e6, 1e6) | st.integers(-3, 3).map(float)


@given(st.lists(numbers, min_size=1, max_size=80), st.floats(0, 1))
def test_two_order_statistics_give_the_quantile_of_numpy(values: list[float], q: float) -> None:
    ordered = sorted(values)
    low, high = (ordered[rank] for rank in ranks(len(values), q))
    found = between(low, high, len(values), q)
    assert found == pytest.approx(np.quantile(values, q), rel=1e-9, abs=1e-6)
    assert low <= np.nextafter(found, np.inf) and found <= np.nextafter(high, np.inf)


@pytest.mark.parametrize("total", [1, 2, 3, 10, 11, 64, 997, 4_578_412])
def test_percentile_disc_gives_the_value_at_a_rank(total: int) -> None:
    wanted = sorted({0, 1 % total, total // 3, total // 2, max(0, total - 2), total - 1})
    fractions = [fraction_of_rank(rank, total) for rank in wanted]
    sql = f"SELECT percentile_disc({fractions}) WITHIN GROUP (ORDER BY x) FROM range({total}) t(x)"
    assert duckdb.sql(sql).fetchall() == [(wanted,)]


def test_the_quantile_of_no_values_is_refused() -> None:
    for values, counts in (([], []), ([3.0], [0])):
        with pytest.raises(DataError, match="no values"):
            quantile(np.array(values), np.array(counts, np.int64), 0.5)
