"""Rankings of doubtful labels: against cleanlab, against planted faults, and against chance."""

from __future__ import annotations

import numpy as np
import pytest
from cleanlab.rank import get_label_quality_scores
from hypothesis import given
from hypothesis import strategies as st
from sklearn.neighbors import NearestNeighbors

from training.noise.cleaning import does_it_help, out_of_fold
from training.noise.rankings import (
    BOTH,
    RANKINGS,
    expected_precision,
    neighbour_agreement,
    normalised_margin,
    rankings,
    self_confidence,
)


def _shares(n: int, k: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.dirichlet(np.full(k, 0.5), n), rng.integers(0, k, n)


@given(st.integers(1, 40), st.integers(2, 8), st.integers(0, 1000))
def test_scores_are_cleanlabs(n: int, k: int, seed: int) -> None:
    share, label = _shares(n, k, seed)
    theirs = get_label_quality_scores(label, share, method="self_confidence")
    np.testing.assert_allclose(self_confidence(share, label), theirs, atol=1e-12)
    theirs = get_label_quality_scores(label, share, method="normalized_margin")
    np.testing.assert_allclose(normalised_margin(share, label), theirs, atol=1e-12)


def test_neighbours_are_scikit_learns() -> None:
    rng = np.random.default_rng(2)
    features = rng.normal(size=(120, 16)).astype(np.float32)
    label = rng.integers(0, 3, 120)
    around = features - features.mean(axis=0)
    found = NearestNeighbors(n_neighbors=11, metric="cosine").fit(around)
    distance, near = found.kneighbors(around)
    weight = np.maximum(1 - distance[:, 1:], 0) + 1e-6
    expected = (weight * (label[near[:, 1:]] == label[:, None])).sum(1) / weight.sum(1)
    np.testing.assert_allclose(
        neighbour_agreement(features, label, np.arange(120)), expected, atol=1e-4
    )


def _planted(share_wrong: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ten well separated classes, some labels wrong: features, given labels, which are wrong."""
    rng = np.random.default_rng(seed)
    centre = rng.normal(size=(10, 60))
    true = rng.integers(0, 10, 500)
    features = (centre[true] + rng.normal(size=(500, 60))).astype(np.float32)
    wrong = rng.random(500) < share_wrong
    given_label = np.where(wrong, (true + rng.integers(1, 10, 500)) % 10, true)
    return features, given_label, wrong


def _precision(score: np.ndarray, wrong: np.ndarray, recall: float = 0.8) -> float:
    found = np.cumsum(wrong[np.argsort(score, kind="stable")])
    at = int(np.searchsorted(found, np.ceil(recall * wrong.sum())))
    return float(found[at]) / (at + 1)


def test_planted_wrong_labels_are_found_and_paper_fours_deviation_finds_none() -> None:
    features, label, wrong = _planted(0.2)
    share = out_of_fold(features, label, np.arange(500), seed=0, c=0.01)
    assert _precision(self_confidence(share, label), wrong) >= 0.95
    assert _precision(normalised_margin(share, label), wrong) >= 0.95
    scores = rankings(share, label, features, np.arange(500))
    assert _precision(scores["neighbours"], wrong) >= 0.95
    assert _precision(scores[BOTH], wrong) >= 0.95
    _, low, high = expected_precision(int(wrong.sum()), 500, 0.8)
    deviation = RANKINGS["output deviation (paper 4)"](share, label)
    assert low - 0.05 <= _precision(deviation, wrong) <= high + 0.05


def test_crops_of_a_wrong_picture_do_not_bear_each_other_out() -> None:
    """Four crops an original, all with its label: without groups a wrong one looks confirmed."""
    originals, label, wrong = _planted(0.15)
    rng = np.random.default_rng(1)
    crops = np.repeat(originals[:150], 4, axis=0) + 0.2 * rng.normal(size=(600, 60))
    group, given_label = np.repeat(np.arange(150), 4), np.repeat(label[:150], 4)
    crops, alone = crops.astype(np.float32), np.arange(600)
    agree = neighbour_agreement(crops, given_label, group)
    assert _precision(agree, np.repeat(wrong[:150], 4)) >= 0.9
    deceived = neighbour_agreement(crops, given_label, alone)
    assert (
        deceived[np.repeat(wrong[:150], 4)].mean() > agree[np.repeat(wrong[:150], 4)].mean() + 0.2
    )


def test_chance_is_what_random_orders_reach() -> None:
    rng = np.random.default_rng(4)
    wrong = np.arange(400) < 60
    reached = [_precision(rng.random(400), wrong) for _ in range(500)]
    mean, low, high = expected_precision(60, 400, 0.8)
    assert np.mean(reached) == pytest.approx(mean, abs=0.01)
    assert np.mean([(low <= x <= high) for x in reached]) >= 0.9


def test_a_group_is_never_judged_by_a_model_that_saw_it() -> None:
    """Pairs of equal features with unlike labels: whoever sees one of a pair learns the other."""
    rng = np.random.default_rng(3)
    half = rng.normal(size=(80, 40)).astype(np.float32)
    features, group = np.concatenate([half, half]), np.tile(np.arange(80), 2)
    label = np.concatenate([np.zeros(80, int), np.ones(80, int)])
    share = out_of_fold(features, label, group, seed=1, c=100.0)
    leaked = out_of_fold(features, label, np.arange(160), seed=1, c=100.0)
    assert self_confidence(share, label).mean() > self_confidence(leaked, label).mean() + 0.05


@pytest.mark.slow
def test_cleaning_helps_where_labels_are_wrong() -> None:
    features, label, _ = _planted(0.3)
    gains = does_it_help(features, label, np.arange(500), alphas=[0.2], seeds=6)
    by_name = {gain.ranking: gain for gain in gains}
    assert by_name["self-confidence"].mean > 0.02
    assert by_name["self-confidence"].mean > by_name["output deviation (paper 4)"].mean
    assert "helps" in by_name["self-confidence"].sentence


def test_cleaning_is_said_not_to_help_where_labels_are_right() -> None:
    features, label, _ = _planted(0.0)
    for gain in does_it_help(features, label, np.arange(500), alphas=[0.05], seeds=5):
        assert not gain.helps
        assert " helps" not in gain.sentence


def test_one_split_carries_no_claim() -> None:
    features, label, _ = _planted(0.3)
    (gain, *_) = does_it_help(features, label, np.arange(500), alphas=[0.2], seeds=1)
    assert not gain.helps
