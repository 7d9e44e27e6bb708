"""Promised accuracies: the bound against SciPy, the search against simulated worlds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from training.statistics.abstention import accuracy_bound, coverage_curve, promised_threshold


@given(st.integers(0, 60), st.integers(0, 60), st.sampled_from([0.9, 0.95, 0.99]))
def test_the_bound_is_scipys_exact_one(right: int, wrong: int, confidence: float) -> None:
    if right + wrong == 0:
        return
    ours = accuracy_bound(np.array([right]), np.array([right + wrong]), confidence)[0]
    test = binomtest(right, right + wrong, alternative="greater")
    assert ours == pytest.approx(test.proportion_ci(confidence, method="exact").low, abs=1e-12)


def test_299_pictures_without_an_error_are_needed_for_99_percent() -> None:
    # .99 ** 298 > .05 >= .99 ** 299, by hand.
    certainty = np.linspace(1, 0.5, 400)
    promise = promised_threshold(certainty[:298], np.ones(298, bool), 0.99)
    assert promise.needed == 299
    assert promise.threshold == np.inf
    promise = promised_threshold(certainty[:299], np.ones(299, bool), 0.99)
    assert promise.answered == 299
    assert promise.threshold == certainty[298]


def test_the_search_stops_at_the_first_threshold_that_fails() -> None:
    # 60 right answers pass .95; then wrong ones; then so many right ones that the bound would pass.
    right = np.concatenate([np.ones(60, bool), np.zeros(5, bool), np.ones(2000, bool)])
    promise = promised_threshold(np.linspace(1, 0.1, len(right)), right, 0.95)
    assert promise.answered == 60


def test_a_tie_is_answered_whole_or_not_at_all() -> None:
    certainty = np.repeat([0.9, 0.8], [100, 100])
    right = np.concatenate([np.ones(100, bool), np.zeros(100, bool)])
    promise = promised_threshold(certainty, right, 0.95)
    assert (promise.threshold, promise.answered, promise.right) == (0.9, 100, 100)
    thresholds, coverage, accuracy = coverage_curve(certainty, right)
    assert (thresholds.tolist(), coverage.tolist(), accuracy.tolist()) == (
        [0.9, 0.8],
        [0.5, 1.0],
        [1.0, 0.5],
    )


def test_nothing_to_judge_by_promises_nothing() -> None:
    empty = promised_threshold(np.array([]), np.array([], bool), 0.9)
    assert (empty.threshold, empty.coverage) == (np.inf, 0.0)


@pytest.mark.parametrize(("accuracy", "confidence"), [(1.0, 0.95), (0.0, 0.95), (0.9, 1.0)])
def test_impossible_promises_are_refused(accuracy: float, confidence: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        promised_threshold(np.array([0.5]), np.array([True]), accuracy, confidence)


@pytest.mark.parametrize(
    ("accuracy", "spread", "n"), [(0.9, 2, 2000), (0.9, 4, 500), (0.95, 4, 500)]
)
def test_a_promise_is_kept_in_95_of_100_worlds(accuracy: float, spread: float, n: int) -> None:
    """Worlds whose true accuracy above any threshold is known: P(right) is the certainty itself."""
    rng = np.random.default_rng(11)
    population = 1 / (1 + np.exp(-np.abs(rng.normal(0, spread, 200_000))))
    broken = answered = 0
    for _ in range(400):
        certainty = rng.choice(population, n, replace=False)
        promise = promised_threshold(certainty, rng.random(n) < certainty, accuracy)
        above = population[population >= promise.threshold]
        answered += len(above) > 0
        broken += len(above) > 0 and float(above.mean()) < accuracy
    assert answered > 300  # the test means something: most worlds get a threshold
    assert broken / 400 <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 400)
