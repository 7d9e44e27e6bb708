"""Bootstrap over authors."""

from __future__ import annotations

import numpy as np
import pytest

from training.statistics.bootstrap import author_weights, interval


def test_pictures_of_an_author_are_drawn_together() -> None:
    author = np.array([5, 9, 5, 2, 9, 9])
    weights = author_weights(author, 200, seed=1)
    np.testing.assert_array_equal(weights[:, 0], weights[:, 2])
    np.testing.assert_array_equal(weights[:, 1], weights[:, 5])
    authors_drawn = weights[:, 0] + weights[:, 1] + weights[:, 3]
    assert (authors_drawn == 3).all()
    assert weights.mean(axis=0) == pytest.approx(np.ones(6), abs=0.2)


def test_interval_covers_a_mean_as_often_as_it_says() -> None:
    covered = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        author = np.repeat(np.arange(60), 3)
        value = rng.normal(size=60)[author] + rng.normal(size=180)
        weights = author_weights(author, 400, seed=seed)
        low, high = interval(weights @ value / weights.sum(axis=1))
        covered += low <= 0 <= high
    assert 0.88 <= covered / 200 <= 0.985


def test_interval_leaves_out_what_does_not_exist() -> None:
    assert interval(np.array([1.0, np.nan, 1.0])) == (1.0, 1.0)
    assert np.isnan(interval(np.array([np.nan]))).all()
