"""Intervals that leave authors out: by hand, at the ends, and how often they hold the truth."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from scipy.special import expit, logit

from training.statistics.intervals import bounded, leave_out, plain
from training.statistics.metrics import average_precision, chance_precision


def test_the_jackknife_of_a_mean_is_students_interval() -> None:
    """Leaving one out of a mean gives its textbook standard error, so SciPy's interval."""
    x = np.random.default_rng(0).normal(size=25)
    groups = leave_out(np.arange(25), 0)
    without = groups.values(lambda w: {"mean": w @ x / w.sum(axis=1)})["mean"]
    expected = stats.t.interval(0.95, 24, x.mean(), x.std(ddof=1) / 5)
    assert plain(x.mean(), without) == pytest.approx(expected)


def test_a_share_has_its_interval_on_log_odds() -> None:
    """A proportion's delta-method error on log-odds is 1 / sqrt(n p (1 - p)), here with n - 1."""
    x = np.arange(40) < 28
    without = np.array([np.delete(x, i).mean() for i in range(40)])
    reach = stats.t.ppf(0.975, 39) / np.sqrt(39 * 0.7 * 0.3)
    expected = expit(logit(0.7) - reach), expit(logit(0.7) + reach)
    assert bounded(0.7, without) == pytest.approx(expected)


def test_pictures_of_an_author_go_together() -> None:
    groups = leave_out(np.array([5, 9, 5, 2, 9, 9]), 0)
    weights = np.concatenate(list(groups.weights()))
    assert groups.count == 3
    assert weights.sum(axis=1).tolist() == [5, 4, 3]
    np.testing.assert_array_equal(weights[:, 0], weights[:, 2])


def test_very_many_authors_are_left_out_in_even_groups() -> None:
    groups = leave_out(np.repeat(np.arange(1001), 2), 0)
    sizes = np.bincount(groups.group)
    assert groups.count == 200
    assert set(sizes) == {10, 12}


def test_intervals_are_wider_when_authors_are_alike() -> None:
    rng = np.random.default_rng(0)
    author = np.repeat(np.arange(50), 10)
    value = rng.normal(size=50)[author]

    def width(unit: np.ndarray) -> float:
        without = leave_out(unit, 0).values(lambda w: {"m": w @ value / w.sum(axis=1)})["m"]
        low, high = plain(float(value.mean()), without)
        return high - low

    assert width(author) > 2 * width(np.arange(500))


@pytest.mark.parametrize(("value", "expected"), [(1.0, (0.85, 1.0)), (0.0, (0.0, 0.15))])
def test_the_ends_have_the_rule_of_three(value: float, expected: tuple[float, float]) -> None:
    assert bounded(value, np.full(20, value)) == pytest.approx(expected)


def test_what_does_not_exist_has_no_interval() -> None:
    assert np.isnan(bounded(np.nan, np.full(5, np.nan))).all()
    assert np.isnan(bounded(0.5, np.full(5, np.nan))).all()


def test_chance_is_the_mean_of_random_orders() -> None:
    rng = np.random.default_rng(0)
    for good, n in ((20, 40), (1, 3), (7, 7), (1, 1)):
        label = (np.arange(n) < good).astype(int)
        drawn = [float(average_precision(label, rng.permutation(n) * 1.0)) for _ in range(4000)]
        error = 4 * np.std(drawn) / np.sqrt(4000) + 1e-9
        assert chance_precision(good, n) == pytest.approx(np.mean(drawn), abs=error)
    assert chance_precision(20, 40) - 0.5 == pytest.approx(0.042, abs=5e-4)
    with pytest.raises(ValueError, match="0 of 5"):
        chance_precision(0, 5)


@pytest.mark.parametrize("strength", [0.0, 1.0])
def test_intervals_hold_the_truth_as_often_as_they_say(strength: float) -> None:
    """At 20 authors, where percentile intervals hold it 88 times in 100."""
    truth, held = precision_of(100_000, strength, 99)[0], 0
    for seed in range(300):
        value, without = precision_of(20, strength, seed)
        low, high = bounded(value, without)
        held += low <= truth <= high
    assert 0.92 <= held / 300 <= 0.985


def precision_of(authors: int, strength: float, seed: int) -> tuple[float, np.ndarray]:
    """Average precision of two pictures an author, and its values without each of few authors."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 2, 2 * authors)
    scores = strength * label + rng.normal(size=2 * authors)
    value = float(average_precision(label, scores))
    if authors > 200:
        return value, np.zeros(0)
    groups = leave_out(np.repeat(np.arange(authors), 2), 0)
    return value, groups.values(lambda w: {"ap": average_precision(label, scores, w)})["ap"]
