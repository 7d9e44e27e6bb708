"""Bounds on followers against SciPy, hand computation and the properties of the MAD."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import median_abs_deviation

from filters.outliers import bounds, log10_histogram
from filters.quantiles import quantile
from likewise.errors import DataError

counts = st.lists(st.integers(1, 10**9), min_size=3, max_size=200)


@given(counts, st.sampled_from(["raw", "log1p"]))
def test_median_and_mad_are_those_of_scipy(values: list[int], scale: str) -> None:
    x = np.log1p(values) if scale == "log1p" else np.asarray(values, float)
    rule = bounds(values, scale=scale)
    assert rule.median == pytest.approx(np.median(x))
    mad = median_abs_deviation(x)
    if mad > 1e-9:
        assert rule.spread == "mad"
        assert rule.deviation == pytest.approx(mad, rel=1e-9, abs=1e-12)


@given(counts)
def test_every_author_is_kept_or_cut(values: list[int]) -> None:
    rule = bounds(values)
    inside = rule.inside(values)
    assert (rule.kept, rule.n) == (int(inside.sum()), len(values))
    assert rule.kept + rule.cut_low + rule.cut_high == rule.n
    assert rule.kept >= len(values) / 2
    assert inside.sum() == sum(rule.lower <= value <= rule.upper for value in values)


@given(counts, st.integers(2, 50))
def test_repeated_values_count_as_often_as_they_stand(values: list[int], times: int) -> None:
    once = bounds(np.repeat(values, times))
    counted = bounds(values, np.full(len(values), times))
    assert once.to_dict() == pytest.approx(counted.to_dict())


@given(counts, st.randoms())
def test_order_does_not_matter(values: list[int], random: object) -> None:
    shuffled = list(values)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert bounds(values).to_dict() == pytest.approx(bounds(shuffled).to_dict())


@given(counts, st.integers(2, 1000), st.integers(1, 10**6))
def test_raw_bounds_follow_scale_and_shift(values: list[int], factor: int, shift: int) -> None:
    rule = bounds(values, scale="raw")
    moved = bounds([factor * value + shift for value in values], scale="raw")
    if rule.spread != "none":
        assert moved.lower == pytest.approx(factor * rule.lower + shift, rel=1e-9, abs=1e-3)
        assert moved.upper == pytest.approx(factor * rule.upper + shift, rel=1e-9, abs=1e-3)
        assert moved.kept == rule.kept


def test_a_hand_computed_case() -> None:
    # median 3, absolute deviations 2 1 0 1 97, MAD 1: reach is 3.5 / 0.6745.
    rule = bounds([1, 2, 3, 4, 100], scale="raw")
    assert (rule.median, rule.deviation, rule.spread) == (3, 1, "mad")
    assert rule.upper == pytest.approx(3 + 3.5 / 0.6745)
    assert (rule.kept, rule.cut_low, rule.cut_high) == (4, 0, 1)
    assert rule.z([100])[0] == pytest.approx(0.6745 * 97)


def test_mad_of_zero_falls_back_to_the_mean_deviation() -> None:
    rule = bounds([7] * 9 + [1000], scale="raw")
    assert rule.spread == "mean-ad"
    assert rule.deviation == pytest.approx(99.3)
    assert rule.upper == pytest.approx(7 + 3.5 * 1.253314 * 99.3)
    assert rule.cut_high == 1


def test_equal_counts_are_all_kept() -> None:
    rule = bounds([123_457] * 5)
    assert (rule.spread, rule.kept) == ("none", 5)
    assert rule.z([123_457])[0] == 0


@pytest.mark.parametrize("values", [[], [-1.0, 5.0], [np.nan], [np.inf]])
def test_values_that_are_no_counts_are_refused(values: list[float]) -> None:
    with pytest.raises(DataError):
        bounds(values)


@given(
    st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60),
    st.floats(0, 1),
)
def test_quantiles_are_those_of_numpy(values: list[float], probability: float) -> None:
    ones = np.ones(len(values), np.int64)
    found = quantile(np.asarray(values), ones, probability)
    assert found == pytest.approx(np.quantile(values, probability), rel=1e-9, abs=1e-6)


def test_histogram_has_ten_bins_a_decade() -> None:
    found = log10_histogram([1, 9, 10, 11, 1000], [1, 2, 3, 4, 5])
    assert sum(found["counts"]) == 15
    assert found["counts"][10] == 7  # 10 and 11 followers
    assert found["edges"][:3] == [0.0, 0.1, 0.2] and len(found["edges"]) == 32


def test_real_accounts(shared: Path) -> None:
    """975 Swiss accounts: the raw rule keeps every small one; log1p can cut both ends."""
    accounts = pd.read_csv(shared / "engagement" / "swiss_accounts.csv")
    followers = accounts["followers"].to_numpy()
    known = followers[followers > 0]
    raw = bounds(known, scale="raw")
    assert raw.lower < 0 and raw.cut_low == 0 and raw.cut_high > 0.1 * raw.n
    tight = bounds(known, threshold=1.5)
    assert tight.cut_low > 0 and tight.cut_high > 0
    x = np.log1p(known)
    z = 0.6745 * (x - np.median(x)) / median_abs_deviation(x)
    for threshold in (1.5, 2.0, 3.5):
        expected = int((np.abs(z) <= threshold).sum())
        assert bounds(known, threshold=threshold).kept == expected
