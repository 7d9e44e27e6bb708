"""Bounds on followers against SciPy, hand computation and the properties of the MAD."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import median_abs_deviation

from filters.outliers import bounds, distinct_counts, log10_histogram
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


# -- by hand ---------------------------------------------------------------------------------


def test_raw_bounds_by_hand() -> None:
    """Median 3, MAD 1: 3 -+ 3.5 / 0.6745; the ends themselves stay."""
    rule = bounds([1, 2, 3, 4, 100], scale="raw", threshold=2.0)
    assert (rule.spread, rule.median, rule.deviation, rule.exact) == ("mad", 3.0, 1.0, True)
    assert rule.lower == pytest.approx(3 - 2 / 0.6745, rel=1e-12)
    assert rule.upper == pytest.approx(3 + 2 / 0.6745, rel=1e-12)
    assert (rule.n, rule.kept, rule.cut_low, rule.cut_high) == (5, 4, 0, 1)
    assert rule.z([3, 4, 1]) == pytest.approx([0, 0.6745, -2 * 0.6745])
    assert rule.inside([rule.lower, rule.upper]).all()
    assert not rule.inside([np.nextafter(rule.lower, -9), np.nextafter(rule.upper, 99)]).any()


def test_log_bounds_by_hand() -> None:
    x = np.log1p([9, 99, 999])
    rule = bounds([9, 99, 999], threshold=3.5)
    reach = 3.5 * np.median(np.abs(x - x[1])) / 0.6745
    assert rule.lower == pytest.approx(np.expm1(x[1] - reach))
    assert rule.upper == pytest.approx(np.expm1(x[1] + reach))
    assert rule.unit == pytest.approx(np.median(np.abs(x - x[1])) / 0.6745)


def test_when_most_agree_the_mean_deviation_takes_over() -> None:
    """Six tens and a twenty: MAD 0, mean deviation 10 / 7, times sqrt(pi / 2)."""
    rule = bounds([10], [6], scale="raw")
    assert (rule.spread, rule.deviation, rule.unit) == ("none", 0.0, 1.0)
    assert (rule.lower, rule.upper, rule.kept) == (9.5, 10.5, 6)
    rule = bounds([10, 20], [6, 1], scale="raw", threshold=3.0)
    assert rule.spread == "mean-ad" and rule.deviation == pytest.approx(10 / 7)
    assert rule.upper == pytest.approx(10 + 3 * 1.253314 * 10 / 7)
    assert (rule.n, rule.kept, rule.cut_high, rule.cut_low) == (7, 6, 1, 0)
    low = bounds([1, 20], [1, 6], scale="raw", threshold=0.5)
    assert (low.n, low.kept, low.cut_high, low.cut_low) == (7, 6, 0, 1)


@pytest.mark.parametrize(
    ("values", "counts", "words"),
    [
        ([], None, "no author has a known, positive"),
        ([5.0], [0], "no author has a known, positive"),
        ([1.0, -1.0], None, "finite and not negative"),
        ([1.0, np.inf], None, "finite and not negative"),
    ],
)
def test_what_bounds_cannot_be_made_of(values: object, counts: object, words: str) -> None:
    with pytest.raises(DataError, match=words):
        bounds(values, counts)
    assert bounds([0.0, 0.0, 5.0]).n == 3


def test_distinct_counts_are_rounded_to_four_digits_only_beyond_the_limit() -> None:
    values = np.array([np.nan, -3.0, 0.0, 7.0, 9999.0, 10_004.0, 10_005.0, 1_234_567.0])
    counts = np.arange(1, 9)
    same, times, exact = distinct_counts(values, counts, 8)
    assert exact and same is values and times is counts
    found, times, exact = distinct_counts(values, counts, 7)
    expected = {-3.0: 2, 0.0: 3, 7.0: 4, 9999.0: 5, 10_000.0: 6, 10_010.0: 7, 1_235_000.0: 8}
    known = ~np.isnan(found)
    assert not exact and dict(zip(found[known], times[known], strict=True)) == expected
    assert times[~known].tolist() == [1]


def test_the_histogram_ends_behind_its_last_author() -> None:
    found = log10_histogram([1000.0], [3])
    assert found["counts"] == [0] * 30 + [3] and found["edges"][-1] == 3.1
    assert log10_histogram([1.0], [1]) == {"edges": [0.0, 0.1], "counts": [1]}
