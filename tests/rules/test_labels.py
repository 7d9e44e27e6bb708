"""What "liked" means: the cut, the corrections and the author's part."""

from __future__ import annotations

from collections import Counter

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from filters.labels import (
    AGE_EDGES,
    Correction,
    Cut,
    author_facts,
    correction,
    cut,
    log10_histogram,
    ratio,
)
from likewise.errors import DataError

some_ratios = st.lists(st.integers(0, 50), min_size=2, max_size=200).filter(
    lambda v: len(set(v)) > 1
)


def cut_of(values: NDArray[np.float64], margin: float = 0.0) -> Cut:
    ordered = np.sort(values)
    return cut(lambda ranks: [float(ordered[rank]) for rank in ranks], ordered.size, margin=margin)


@given(some_ratios)
def test_the_cut_is_the_median_when_something_lies_above_it(values: list[int]) -> None:
    x = np.asarray(values, float)
    if (x > np.median(x)).any():
        found = cut_of(x)
        assert found.low == found.median == found.high == np.median(x)
    else:
        with pytest.raises(DataError, match="no good picture"):
            cut_of(x)


@given(
    st.lists(st.floats(1e-3, 1), min_size=20, max_size=200, unique=True),
    st.floats(0.01, 0.4),
)
def test_a_margin_leaves_out_the_middle(values: list[float], margin: float) -> None:
    x = np.asarray(values)
    found = cut_of(x, margin)
    out = (x > found.low) & (x <= found.high)
    assert abs(out.sum() - 2 * margin * (x.size - 1)) <= 2
    assert found.low <= np.median(x) <= found.high
    assert [found.low, found.high] == pytest.approx(np.quantile(x, [0.5 - margin, 0.5 + margin]))


def test_all_equal_ratios_have_no_good_half() -> None:
    with pytest.raises(DataError, match=r"up to the largest, 0.25, .*no good picture"):
        cut_of(np.full(10, 0.25))


def test_mostly_zeros_still_give_two_classes() -> None:
    assert cut_of(np.array([0.0] * 8 + [0.1, 0.2])) == Cut(0.0, 0.0, 0.0, 0.0)


def corrected(rows: dict[str, object], target: str, factors: Correction) -> NDArray[np.float64]:
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'; SET threads TO 1")
        connection.register("rows", pa.table(rows))
        found = connection.sql(f"SELECT {ratio(target, factors)} AS r FROM rows")
        return found.to_arrow_table()["r"].to_numpy()


def moments(hours: NDArray[np.int64]) -> pa.Array:
    return pa.array(hours * 3_600_000_000, pa.timestamp("us", tz="UTC"))


def test_planted_growth_with_age_is_removed() -> None:
    rng = np.random.default_rng(5)
    age = rng.uniform(30, 1000, 20_000)
    growth = 1 + np.digitize(age, AGE_EDGES) * 0.2
    likes = (1e6 * rng.lognormal(-3, 0.3, age.size) * growth).astype(np.int64)
    hour = rng.integers(0, 24, age.size)
    found = correction(likes / 1.0, age, hour, by_age=True, by_hour=False)
    rows = {"likes": likes, "age_days": age, "created_at": moments(hour)}
    fixed = corrected(rows, "likes", found)
    before = np.corrcoef(np.log(likes), growth)[0, 1]
    after = np.corrcoef(np.log(fixed), growth)[0, 1]
    assert before > 0.4 and abs(after) < 0.03
    assert np.median(fixed) == pytest.approx(np.median(likes), rel=0.05)
    assert set(found.hour) == {1.0}


def test_every_hour_and_age_takes_its_own_factor() -> None:
    rng = np.random.default_rng(7)
    factors = Correction(tuple(rng.uniform(0.5, 2, 9)), tuple(rng.uniform(0.5, 2, 24)))
    age = np.repeat([0.0, *AGE_EDGES, 45.1, 729.99, 5000.0], 24)
    hour = np.tile(np.arange(24), age.size // 24)
    rows = {"likes": np.full(age.size, 7), "audience": np.full(age.size, 3), "age_days": age}
    fixed = corrected({**rows, "created_at": moments(hour)}, "likes/followers", factors)
    factor = np.take(factors.age, np.digitize(age, AGE_EDGES)) * np.take(factors.hour, hour)
    assert (fixed == 7 / 3 / factor).all()


def test_an_unknown_hour_is_not_corrected() -> None:
    """Its ratio is corrected for the age alone, at every target."""
    rows = {
        "likes": [6, 6],
        "audience": [3, 3],
        "age_days": [31.0, 31.0],
        "created_at": pa.array([23 * 3_600_000_000, None], pa.timestamp("us", tz="UTC")),
    }
    factors = Correction((1.0, 4.0, *[1.0] * 7), (*[1.0] * 23, 2.0))
    assert corrected(rows, "likes/views", factors).tolist() == [0.25, 0.5]
    assert corrected(rows, "likes", factors).tolist() == [0.75, 1.5]
    assert corrected(rows, "likes", Correction()).tolist() == [6.0, 6.0]


def test_small_bins_are_left_alone() -> None:
    ratio = np.array([0.1] * 100 + [50.0] * 49)
    age = np.array([31.0] * 100 + [800.0] * 49)
    found = correction(ratio, age, np.zeros(149, int), by_age=True, by_hour=True)
    assert found.age[-1] == 1.0


def test_author_facts_find_a_planted_author_effect() -> None:
    rng = np.random.default_rng(2)
    author = np.repeat(np.arange(500), 10)
    log = rng.normal(0, 2, 500)[author] + rng.normal(0, 1, 5000)
    ratio = np.exp(log)
    label = (ratio > np.median(ratio)).astype(np.int8)
    facts = author_facts(ratio, label, author)
    assert facts["variance_between"] > facts["variance_between_adjusted"]
    assert facts["variance_between_adjusted"] == pytest.approx(0.8, abs=0.04)
    assert facts["author_ap"] > 0.9 and facts["chance_ap"] == pytest.approx(0.5)


def test_author_facts_of_unrelated_ratios_are_chance() -> None:
    rng = np.random.default_rng(3)
    ratio = rng.lognormal(0, 1, 4000)
    label = (ratio > np.median(ratio)).astype(np.int8)
    facts = author_facts(ratio, label, np.repeat(np.arange(1000), 4))
    assert facts["variance_between_adjusted"] == pytest.approx(0, abs=0.05)
    assert facts["author_ap"] == pytest.approx(0.5, abs=0.04)


def test_a_histogram_has_every_tenth_between_the_ends() -> None:
    found = log10_histogram(Counter({(-13, 1): 4, (-13, 0): 1, (-11, 0): 2, (None, 0): 3}))
    assert found == {
        "log10_ratio_edges": [-1.3, -1.2, -1.1, -1.0],
        "good": [4, 0, 0],
        "bad": [1, 0, 2],
        "zeros": 3,
    }
    assert log10_histogram(Counter({(None, 0): 3})) == {
        "log10_ratio_edges": [0.0],
        "good": [],
        "bad": [],
        "zeros": 3,
    }


# -- by hand ---------------------------------------------------------------------------------


def test_the_margin_cuts_between_the_right_ranks() -> None:
    """Of 0 ... 10 the quantiles 0.3, 0.5 and 0.7 are 3, 5 and 7; 0.35 lies between two."""
    found = cut_of(np.arange(11.0), 0.2)
    assert (found.low, found.median, found.high, found.margin) == (3.0, 5.0, 7.0, 0.2)
    found = cut_of(np.arange(11.0), 0.15)
    assert (found.low, found.high) == (pytest.approx(3.5), pytest.approx(6.5))
    assert found.to_dict() == {"low": found.low, "median": 5.0, "high": found.high, "margin": 0.15}


@pytest.mark.parametrize(("n", "expected"), [(49, 1.0), (50, 5.0)])
def test_a_bin_of_fifty_is_enough(n: int, expected: float) -> None:
    ratio = np.array([2.0] * 200 + [10.0] * n)
    age = np.array([31.0] * 200 + [800.0] * n)
    found = correction(ratio, age, np.zeros(ratio.size, int), by_age=True, by_hour=False)
    assert found.age[-1] == expected and found.age[1] == 1.0
    assert found.to_dict()["age_edges"] == [30.0, 45.0, 60.0, 90.0, 120.0, 180.0, 365.0, 730.0]


def test_hours_are_corrected_after_the_age() -> None:
    """Old posts, all of them at night, have four times the ratio for their age alone."""
    age = np.repeat([31.0, 800.0], 300)
    hour = np.repeat([12, 3], 300)
    ratio = np.repeat([1.0, 4.0], 300) * np.tile([0.5, 1.0, 2.0], 200)
    both = correction(ratio, age, hour, by_age=True, by_hour=True)
    assert both.age[1] * 4 == pytest.approx(both.age[-1])
    assert both.hour[12] == both.hour[3] == pytest.approx(1.0)
    alone = correction(ratio, age, hour, by_age=False, by_hour=True)
    assert alone.age == (1.0,) * 9 and alone.hour[3] == pytest.approx(4 * alone.hour[12])


def test_nothing_is_corrected_by_a_median_of_zero() -> None:
    zeros = np.zeros(200)
    age, hour = np.repeat([31.0, 800.0], 100), np.zeros(200, int)
    assert correction(zeros, age, hour, by_age=True, by_hour=True) == Correction()
    some = np.repeat([0.0, 3.0], [90, 110])
    by_age = correction(some, np.repeat([31.0, 800.0], [90, 110]), hour, by_age=True, by_hour=False)
    assert by_age.age[1] == 1.0  # the young ones' median is zero
    assert by_age.age[-1] == 1.0  # and the old ones' is that of all


def test_author_facts_by_hand() -> None:
    """Two authors of two pictures: log ratios 0, 2 and 4, 6 about 3."""
    ratio = np.exp([0.0, 2.0, 4.0, 6.0])
    facts = author_facts(ratio, np.array([0, 1, 0, 1], np.int8), np.array([7, 7, 9, 9]))
    assert (facts["pictures"], facts["authors"]) == (4, 2)
    assert facts["variance_between"] == pytest.approx(1 - 4 / 20)
    assert facts["variance_between_adjusted"] == pytest.approx(1 - (4 / 2) / (20 / 3))
    # Each picture is judged by the author's other one: 2, 0, 6, 4. Ranked: bad, good, bad, good.
    assert facts["author_ap"] == pytest.approx((1 / 2 + 2 / 4) / 2)
    assert facts["chance_ap"] == 0.5


def test_author_facts_of_zeros_and_of_lonely_pictures() -> None:
    """A zero counts as half of the smallest; an author of one picture is judged by all."""
    ratio, label = np.array([0.0, 1.0, 1.0, 4.0]), np.array([0, 0, 1, 1], np.int8)
    facts = author_facts(ratio, label, np.array([1, 1, 2, 3]))
    log = np.log([0.5, 1, 1, 4])
    within = ((log[:2] - log[:2].mean()) ** 2).sum()
    total = ((log - log.mean()) ** 2).sum()
    assert facts["variance_between"] == pytest.approx(1 - within / total)
    assert author_facts(np.zeros(3), label[:3], np.arange(3)) == {"pictures": 3}
    assert author_facts(np.ones(1), label[:1], np.arange(1)) == {"pictures": 1}
    alone = author_facts(np.array([1.0, 2.0]), np.array([0, 1], np.int8), np.arange(2))
    assert "variance_between_adjusted" not in alone and alone["variance_between"] == 1.0
    assert "author_ap" not in author_facts(ratio, np.ones(4, np.int8), np.arange(4))


def test_each_picture_is_judged_by_the_others_of_its_author() -> None:
    """Authors of three, two and one picture; the lonely one by all. Average precision by hand."""
    log = np.array([0.0, 3.0, 3.0, 1.0, 4.0, 9.0])
    author, label = np.array([1, 1, 1, 2, 2, 3]), np.array([1, 0, 0, 0, 1, 1], np.int8)
    # Scores: 3, 1.5, 1.5 | 4, 1 | mean of all, 20 / 6. Ranked: bad, good, good, two bad, good.
    facts = author_facts(np.exp(log), label, author)
    assert facts["author_ap"] == pytest.approx((1 / 2 + 2 / 3 + 3 / 6) / 3)
    assert "author_ap" not in author_facts(np.exp(log), np.zeros(6, np.int8), author)
