"""Tests by exchange of whole authors, held against scikit-learn, by hand and against worlds."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import average_precision_score

from training.statistics.metrics import average_precision, precision_of_rows
from training.statistics.permutation import (
    null_precisions,
    permutation_p,
    permuted_labels,
    swap_p,
)


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
        observed = float(average_precision(label, scores))
        found.append(permutation_p(observed, null_precisions(scores, permuted)))
    assert stats.kstest(found, "uniform").pvalue > 0.01


def test_p_is_least_when_the_scores_know_everything() -> None:
    label = np.arange(60) % 2
    permuted = permuted_labels(label, np.arange(60), 99, seed=0)
    assert permuted is not None
    null = null_precisions(label.astype(float), permuted)
    assert permutation_p(1.0, null) == pytest.approx(1 / 100)


def test_precision_of_many_scores_is_scikit_learns_ties_included() -> None:
    rng = np.random.default_rng(3)
    label = (rng.random(60) < 0.4).astype(int)
    scores = rng.integers(0, 12, (20, 60)).astype(float)
    expected = [average_precision_score(label, row) for row in scores]
    assert precision_of_rows(label, scores) == pytest.approx(expected)


def test_swapping_two_equally_good_models_gives_uniform_p() -> None:
    found = []
    for seed in range(120):
        rng = np.random.default_rng(seed)
        author = np.repeat(np.arange(40), 3)
        label = (rng.normal(size=40)[author] + rng.normal(size=120) > 0).astype(int)
        left, right = label + 2 * rng.normal(size=(2, 120))
        found.append(swap_p(label, left, 10 * right - 3, author, 199, seed))
    assert stats.kstest(found, "uniform").pvalue > 0.01


def test_swapping_finds_the_better_model_whatever_its_unit() -> None:
    rng = np.random.default_rng(1)
    author = np.repeat(np.arange(50), 2)
    label = rng.integers(0, 2, 100)
    good, bad = label + 0.3 * rng.normal(size=100), rng.normal(size=100) * 1000
    assert swap_p(label, good, bad, author, 199, 0) == pytest.approx(1 / 200)
    assert swap_p(label, bad, good, author, 199, 0) > 0.99


def test_a_model_does_not_beat_itself() -> None:
    label = np.arange(20) % 2
    assert swap_p(label, label * 1.0, label * 1.0, np.arange(20), 99, 0) == 1
