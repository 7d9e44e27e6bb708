"""Bootstrap over authors and permutation of whole authors."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from training.statistics.bootstrap import author_weights, interval, permutation_p, permuted_labels


def test_pictures_of_an_author_are_drawn_together() -> None:
    author = np.array([5, 9, 5, 2, 9, 9])
    weights = author_weights(author, 200, seed=1)
    np.testing.assert_array_equal(weights[:, 0], weights[:, 2])
    np.testing.assert_array_equal(weights[:, 1], weights[:, 5])
    authors_drawn = weights[:, 0] + weights[:, 1] + weights[:, 3]
    assert (authors_drawn == 3).all()
    assert weights.mean(axis=0) == pytest.approx(np.ones(6), abs=0.2)


def test_interval_is_wider_when_authors_are_alike() -> None:
    """Ten pictures of one author are worth little more than one when they are all alike."""
    rng = np.random.default_rng(0)
    author = np.repeat(np.arange(50), 10)
    value = rng.normal(size=50)[author]
    by_author = author_weights(author, 500, seed=1) @ value / len(value)
    by_picture = author_weights(np.arange(500), 500, seed=1) @ value / len(value)
    low, high = interval(by_author)
    narrow_low, narrow_high = interval(by_picture)
    assert (high - low) > 2 * (narrow_high - narrow_low)


def test_interval_covers_the_truth_as_often_as_it_says() -> None:
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


def test_permutations_keep_authors_whole() -> None:
    author = np.array([0, 0, 1, 1, 2, 3, 4, 4, 4])
    label = np.array([1, 0, 1, 1, 0, 1, 0, 0, 1])
    permuted = permuted_labels(label, author, 300, seed=2)
    assert permuted is not None
    pairs = {(1, 0), (1, 1)}
    assert {tuple(row[:2]) for row in permuted} == pairs
    assert (permuted[:, :4].sum(axis=1) == 3).all()
    assert set(permuted[:, 4]) == {0, 1}
    assert (permuted[:, 4] + permuted[:, 5] == 1).all()
    assert (permuted[:, 6:] == [0, 0, 1]).all()


def test_no_two_authors_of_one_size_cannot_be_permuted() -> None:
    assert permuted_labels(np.array([0, 1, 1]), np.array([0, 1, 1]), 10, seed=0) is None


def test_p_is_uniform_without_signal_although_authors_are_alike() -> None:
    found = []
    for seed in range(120):
        rng = np.random.default_rng(seed)
        author = np.repeat(np.arange(40), 4)
        label = (rng.normal(size=40)[author] + 0.5 * rng.normal(size=160) > 0).astype(int)
        scores = rng.normal(size=40)[author] + 0.5 * rng.normal(size=160)
        permuted = permuted_labels(label, author, 199, seed=seed)
        assert permuted is not None
        found.append(permutation_p(label, scores, permuted))
    assert stats.kstest(found, "uniform").pvalue > 0.01


def test_p_is_least_when_the_scores_know_everything() -> None:
    label = np.arange(60) % 2
    permuted = permuted_labels(label, np.arange(60), 99, seed=0)
    assert permuted is not None
    assert permutation_p(label, label.astype(float), permuted) == pytest.approx(1 / 100)
