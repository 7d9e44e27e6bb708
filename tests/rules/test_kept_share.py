"""The threshold that a kept share means, by brute force and on real accounts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters.kept_share import threshold_keeping
from filters.outliers import Scale, bounds

counts = st.lists(st.integers(1, 10**9), min_size=3, max_size=100)


@given(counts, st.floats(0.01, 1), st.sampled_from(["raw", "log1p"]))
def test_the_share_is_kept_and_no_smaller_threshold_keeps_it(
    values: list[int], share: float, scale: Scale
) -> None:
    found = threshold_keeping(values, share=share, scale=scale)
    assert bounds(values, threshold=found, scale=scale).kept >= share * len(values) - 1e-9
    if found > 1e-4:
        less = bounds(values, threshold=found * (1 - 1e-6), scale=scale)
        assert less.kept < share * len(values) or less.spread == "none"


@given(counts, st.integers(2, 9))
def test_repeated_values_count_as_often_as_they_stand(values: list[int], times: int) -> None:
    once = threshold_keeping(np.repeat(values, times), share=0.6)
    counted = threshold_keeping(values, np.full(len(values), times), share=0.6)
    assert once == pytest.approx(counted)


def test_real_accounts_need_a_small_z_on_the_raw_scale(shared: Path) -> None:
    """The paper kept 60 % of its pictures; the customary 3.5 keeps 82 % of these accounts."""
    accounts = pd.read_csv(shared / "engagement" / "swiss_accounts.csv")
    followers = accounts["followers"].to_numpy()
    followers = followers[followers > 0]
    found = threshold_keeping(followers, share=0.6, scale="raw")
    rule = bounds(followers, threshold=found, scale="raw")
    assert rule.kept / rule.n == pytest.approx(0.6, abs=0.01)
    assert 0.3 < found < 1.5
