"""What "liked" means: the cut, the corrections and the author's part."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters.labels import (
    AGE_EDGES,
    Correction,
    author_facts,
    correction,
    cut,
    hours,
    log10_histogram,
    log10_tenths,
    ratios,
)
from likewise.errors import DataError

some_ratios = st.lists(st.integers(0, 50), min_size=2, max_size=200).filter(
    lambda v: len(set(v)) > 1
)


@given(some_ratios)
def test_good_is_strictly_above_the_median(values: list[int]) -> None:
    x = np.asarray(values, float)
    if (x > np.median(x)).any():
        label = cut(x).labels(x)
        assert (label == (x > np.median(x))).all()
        assert label.sum() <= len(x) / 2
    else:
        with pytest.raises(DataError, match="no good picture"):
            cut(x)


@given(st.lists(st.floats(1e-6, 1), min_size=10, max_size=200, unique=True))
def test_without_ties_the_halves_are_equal(values: list[float]) -> None:
    x = np.asarray(values)
    label = cut(x).labels(x)
    assert abs(int((label == 1).sum()) - int((label == 0).sum())) <= 1


@given(
    st.lists(st.floats(1e-3, 1), min_size=20, max_size=200, unique=True),
    st.floats(0.01, 0.4),
)
def test_a_margin_leaves_out_the_middle(values: list[float], margin: float) -> None:
    x = np.asarray(values)
    label = cut(x, margin=margin).labels(x)
    out = np.sort(x[label == -1])
    assert (x[label == 0].max(initial=0) <= out.min(initial=1)) if out.size else True
    assert (x[label == 1].min(initial=1) >= out.max(initial=0)) if out.size else True
    assert abs(out.size - 2 * margin * (len(x) - 1)) <= 2
    middle = np.median(x)
    assert (x[label == 1] > middle).all() and (x[label == 0] < middle).all()


def test_all_equal_ratios_have_no_good_half() -> None:
    with pytest.raises(DataError, match="no good picture"):
        cut(np.full(10, 0.25))


def test_mostly_zeros_still_give_two_classes() -> None:
    x = np.array([0.0] * 8 + [0.1, 0.2])
    assert cut(x).labels(x).tolist() == [0] * 8 + [1, 1]


def test_planted_growth_with_age_is_removed() -> None:
    rng = np.random.default_rng(5)
    age = rng.uniform(30, 1000, 20_000)
    growth = 1 + np.digitize(age, AGE_EDGES) * 0.2
    ratio = rng.lognormal(-3, 0.3, age.size) * growth
    hour = rng.integers(0, 24, age.size)
    found = correction(ratio, age, hour, by_age=True, by_hour=False)
    fixed = found.apply(ratio, age, hour)
    before = np.corrcoef(np.log(ratio), growth)[0, 1]
    after = np.corrcoef(np.log(fixed), growth)[0, 1]
    assert before > 0.4 and abs(after) < 0.03
    assert np.median(fixed) == pytest.approx(np.median(ratio), rel=0.05)
    assert set(found.hour) == {1.0}


def test_an_unknown_hour_is_not_corrected() -> None:
    """Its ratio is corrected for the age alone, at every target."""
    rows = pa.RecordBatch.from_pydict(
        {
            "likes": [6, 6],
            "followers": [3, 3],
            "age_days": [31.0, 31.0],
            "created_at": pa.array([23 * 3_600_000_000, None], pa.timestamp("us", tz="UTC")),
        }
    )
    factors = Correction((1.0, 4.0, *[1.0] * 7), (*[1.0] * 23, 2.0))
    assert hours(rows["created_at"]).tolist() == [23, -1]
    assert ratios(rows, "likes/followers", factors).tolist() == [0.25, 0.5]
    assert ratios(rows, "likes", factors).tolist() == [0.75, 1.5]


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


def test_the_histogram_is_that_of_numpy() -> None:
    rng = np.random.default_rng(6)
    ratio = np.where(rng.random(5000) < 0.1, 0.0, rng.lognormal(-3, 2, 5000))
    label = (ratio > 0.05).astype(np.int8)
    halves = log10_tenths(ratio[:2000], label[:2000]) + log10_tenths(ratio[2000:], label[2000:])
    found = log10_histogram(halves)
    assert found["zeros"] == (ratio == 0).sum() > 0
    for name, number in (("good", 1), ("bad", 0)):
        logs = np.log10(ratio[(label == number) & (ratio > 0)])
        assert found[name] == np.histogram(logs, found["log10_ratio_edges"])[0].tolist()
    assert log10_histogram(log10_tenths(np.zeros(3), np.zeros(3, np.int8))) == {
        "log10_ratio_edges": [0.0],
        "good": [],
        "bad": [],
        "zeros": 3,
    }
