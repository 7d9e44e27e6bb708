"""Platt's sigmoid against its own likelihood and under scaling; what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit

from training.statistics.calibration import Sigmoid, platt, probability


@pytest.fixture
def scored() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(7)
    scores = rng.normal(3, 5, size=400)
    return scores, (rng.random(400) < expit(0.4 * scores - 1)).astype(int)


def fitted(scores: np.ndarray, label: np.ndarray) -> Sigmoid:
    found = platt(scores, label)
    assert found is not None
    return found


def test_it_is_the_maximum_of_platts_likelihood(scored: tuple[np.ndarray, np.ndarray]) -> None:
    """Targets (N+ + 1)/(N+ + 2) and 1/(N- + 2) (Platt 1999), maximised by SciPy."""
    scores, label = scored
    good, bad = label.sum(), len(label) - label.sum()
    target = np.where(label == 1, (good + 1) / (good + 2), 1 / (bad + 2))

    def loss(fit: np.ndarray) -> float:
        logit = fit[0] * scores + fit[1]
        return float((np.logaddexp(0, logit) - target * logit).sum())

    best = minimize(loss, np.zeros(2), tol=1e-10).x
    found = fitted(scores, label)
    assert (found.slope, found.intercept) == (
        pytest.approx(best[0], abs=1e-3),
        pytest.approx(best[1], abs=5e-3),
    )


@pytest.mark.parametrize("unit", [1e-6, 1e6])
def test_probabilities_do_not_depend_on_the_unit_of_the_scores(
    scored: tuple[np.ndarray, np.ndarray], unit: float
) -> None:
    scores, label = scored
    plain, scaled = fitted(scores, label), fitted(unit * scores + 4, label)
    expected = probability(plain.to_dict(), scores)
    assert probability(scaled.to_dict(), unit * scores + 4) == pytest.approx(expected, abs=1e-6)


def test_separable_scores_stay_finite() -> None:
    scores = np.array([-2.0, -1.0, 1.0, 2.0])
    found = fitted(scores, (scores > 0).astype(int))
    assert np.isfinite([found.slope, found.intercept]).all()


def test_what_would_turn_the_ranking_over_is_refused(
    scored: tuple[np.ndarray, np.ndarray],
) -> None:
    scores, label = scored
    assert platt(-scores, label) is None
    assert platt(np.zeros(10), np.array([1] * 7 + [0] * 3)) is None
    assert np.isnan(probability(None, scores)).all()
