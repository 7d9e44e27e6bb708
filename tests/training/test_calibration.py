"""Platt's sigmoid against scikit-learn's and against itself under scaling."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit
from sklearn.calibration import _SigmoidCalibration

from training.statistics.calibration import platt


@pytest.fixture
def scored() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(7)
    scores = rng.normal(3, 5, size=400)
    return scores, (rng.random(400) < expit(0.4 * scores - 1)).astype(int)


def test_agrees_with_scikit_learn(scored: tuple[np.ndarray, np.ndarray]) -> None:
    scores, label = scored
    slope, intercept = platt(scores, label)
    oracle = _SigmoidCalibration().fit(scores, label)
    assert expit(slope * scores + intercept) == pytest.approx(oracle.predict(scores), abs=1e-4)


def test_probabilities_do_not_depend_on_the_unit_of_the_scores(
    scored: tuple[np.ndarray, np.ndarray],
) -> None:
    scores, label = scored
    slope, intercept = platt(scores, label)
    scaled, shifted = platt(1e-6 * scores + 4, label)
    expected = expit(slope * scores + intercept)
    assert expit(scaled * (1e-6 * scores + 4) + shifted) == pytest.approx(expected, abs=1e-6)


def test_separable_scores_stay_finite() -> None:
    scores = np.array([-2.0, -1.0, 1.0, 2.0])
    slope, intercept = platt(scores, (scores > 0).astype(int))
    assert np.isfinite([slope, intercept]).all()
    assert slope > 0


def test_equal_scores_give_the_share_of_good() -> None:
    slope, intercept = platt(np.zeros(10), np.array([1] * 7 + [0] * 3))
    assert (slope, expit(intercept)) == (0.0, pytest.approx(8 / 12))
