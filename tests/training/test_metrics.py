"""Scores against hand computation and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as oracle

from training.statistics.metrics import Evaluation, average_precision, roc_auc


@pytest.mark.parametrize(
    ("label", "scores", "expected"),
    [
        # Falling scores: good at ranks 1 and 3 of 4: (1/1 + 2/3) / 2.
        ([1, 0, 1, 0], [4, 3, 2, 1], 5 / 6),
        # All tied: one threshold, precision is the share of good.
        ([1, 0, 1, 0], [7, 7, 7, 7], 1 / 2),
        # A tie of one good and one bad on top, then a good one: 1/2 * 1/2 + 1/2 * 2/3.
        ([1, 0, 1], [5, 5, 1], 1 / 4 + 1 / 3),
        # The worst order: good ones last, 1/2 * 1/3 + 1/2 * 2/4.
        ([0, 0, 1, 1], [4, 3, 2, 1], 1 / 6 + 1 / 4),
        ([1], [0], 1.0),
    ],
)
def test_average_precision_by_hand(label: list[int], scores: list[float], expected: float) -> None:
    answer = average_precision(np.array(label), np.array(scores, float))
    assert float(answer) == pytest.approx(expected, abs=1e-12)


rows = st.lists(
    st.tuples(st.integers(0, 1), st.integers(-3, 3), st.integers(0, 4)), min_size=2, max_size=40
).filter(lambda rows: {label for label, _, weight in rows if weight} == {0, 1})


@given(rows)
def test_weighted_scores_agree_with_scikit_learn(rows: list[tuple[int, int, int]]) -> None:
    label, scores, weight = (np.array(column) for column in zip(*rows, strict=True))
    scores, weight = scores.astype(float), weight.astype(float)
    expected = oracle.average_precision_score(label, scores, sample_weight=weight)
    assert float(average_precision(label, scores, weight)) == pytest.approx(expected)
    expected = oracle.roc_auc_score(label, scores, sample_weight=weight)
    assert float(roc_auc(label, scores, weight)) == pytest.approx(expected)


def test_many_weightings_at_once_are_each_their_own() -> None:
    rng = np.random.default_rng(3)
    label, scores = rng.integers(0, 2, 50), rng.integers(0, 9, 50).astype(float)
    weights = rng.integers(0, 3, (6, 50)).astype(float)
    together = average_precision(label, scores, weights)
    assert together == pytest.approx([float(average_precision(label, scores, w)) for w in weights])


def test_labels_may_be_many_too() -> None:
    rng = np.random.default_rng(4)
    scores = rng.normal(size=30)
    labels = rng.integers(0, 2, (5, 30))
    expected = [oracle.average_precision_score(label, scores) for label in labels]
    assert average_precision(labels, scores) == pytest.approx(expected)


def test_one_class_has_no_score() -> None:
    scores = np.arange(4.0)
    assert np.isnan(average_precision(np.zeros(4, int), scores))
    assert np.isnan(roc_auc(np.ones(4, int), scores))


def test_evaluation_agrees_with_scikit_learn() -> None:
    rng = np.random.default_rng(5)
    label, probability = rng.integers(0, 2, 80), rng.random(80)
    weight = rng.integers(1, 4, 80).astype(float)
    found = Evaluation(label, probability, probability).metrics(weight)
    said = probability >= 0.5
    expected = {
        "average_precision": oracle.average_precision_score(
            label, probability, sample_weight=weight
        ),
        "roc_auc": oracle.roc_auc_score(label, probability, sample_weight=weight),
        "accuracy": oracle.accuracy_score(label, said, sample_weight=weight),
        "brier": oracle.brier_score_loss(label, probability, sample_weight=weight),
    }
    assert {name: float(value) for name, value in found.items()} == pytest.approx(expected)


def test_precision_recall_are_scikit_learn_s() -> None:
    rng = np.random.default_rng(6)
    label, scores = rng.integers(0, 2, 60), rng.integers(0, 20, 60).astype(float)
    found = Evaluation(label, scores, scores).precision_recall()
    precision, recall, _ = oracle.precision_recall_curve(label, scores)
    assert found["precision"] == pytest.approx(precision[-2::-1])
    assert found["recall"] == pytest.approx(recall[-2::-1])
