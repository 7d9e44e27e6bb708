"""What may be claimed: the rule by hand, and how often it claims what is not there."""

from __future__ import annotations

import numpy as np
import pytest

from training.comparison.judge import Judge, verdict
from training.comparison.results import Verdict
from training.statistics.metrics import Evaluation


@pytest.mark.parametrize(
    ("low", "high", "p", "expected"),
    [
        (0.01, 0.10, 0.010, "above"),
        (0.01, 0.10, 0.026, "open"),
        (0.01, 0.10, None, "open"),
        (0.00, 0.10, 0.001, "open"),
        (-0.1, -0.01, 0.99, "below"),
        (-0.1, -0.01, 0.50, "open"),
        (-0.1, -0.01, None, "open"),
        (-0.019, 0.019, 0.5, "alike"),
        (0.001, 0.019, 0.001, "alike"),
        (0.001, 0.021, 0.001, "above"),
        (-0.020, 0.019, 0.5, "open"),
        (-0.30, 0.30, 0.5, "open"),
        (float("nan"), float("nan"), 0.5, "open"),
    ],
)
def test_a_claim_needs_interval_and_test(
    low: float, high: float, p: float | None, expected: Verdict
) -> None:
    assert verdict(low, high, p, 0.02) == expected


def judge(authors: int, seed: int, permutations: int = 99) -> tuple[Judge, np.random.Generator]:
    rng = np.random.default_rng(seed)
    author = np.repeat(np.arange(authors), 2)
    label = rng.integers(0, 2, 2 * authors)
    return Judge(label, author, permutations=permutations, margin=0.02, seed=seed), rng


def held(judged: Judge, scores: np.ndarray) -> object:
    return judged.held(Evaluation(judged.label, scores, np.full(len(scores), 0.5)))


def test_noise_at_twenty_authors_is_not_said_to_beat_chance() -> None:
    """The percentile bootstrap said so in 13 of 100 such worlds; nominal are 2.5."""
    claims = covered = 0
    for seed in range(400):
        judged, rng = judge(20, seed)
        found = judged.against_chance(held(judged, rng.normal(size=40)))
        claims += found.verdict == "above"
        covered += found.low <= 0 <= found.high
    assert claims / 400 <= 0.035
    assert 0.92 <= covered / 400 <= 0.98


def test_a_signal_is_claimed() -> None:
    judged, rng = judge(100, 1)
    found = judged.against_chance(held(judged, judged.label + rng.normal(size=200)))
    assert found.verdict == "above"
    assert found.p == pytest.approx(1 / 100)


def test_a_small_lead_over_chance_is_a_lead() -> None:
    """The margin is one between models: what is surely above chance is, however little."""
    assert verdict(0.001, 0.015, 0.001, 0.0) == "above"
    judged, rng = judge(4000, 1)
    found = judged.against_chance(held(judged, judged.label + 10 * rng.normal(size=8000)))
    assert found.value < 0.08 and found.verdict == "above"


def test_without_permutations_nothing_is_claimed() -> None:
    judged, _ = judge(100, 1, permutations=0)
    perfect = held(judged, judged.label * 1.0)
    assert judged.against_chance(perfect).low > 0
    assert judged.against_chance(perfect).verdict == "open"
    assert judged.difference(perfect, held(judged, -1.0 * judged.label)).verdict == "open"


def test_a_difference_is_minus_the_other_way_round() -> None:
    judged, rng = judge(60, 2)
    good = held(judged, judged.label + rng.normal(size=120))
    bad = held(judged, rng.normal(size=120))
    there, back = judged.difference(good, bad), judged.difference(bad, good)
    assert (there.value, there.low) == (pytest.approx(-back.value), pytest.approx(-back.high))
    assert (there.verdict, back.verdict) == ("above", "below")


def test_equal_models_are_alike() -> None:
    judged, rng = judge(60, 3)
    one = held(judged, judged.label + rng.normal(size=120))
    assert judged.difference(one, one).verdict == "alike"


def test_confusion_counts_every_picture_once() -> None:
    label, probability = np.array([1, 1, 0, 0, 0]), np.array([0.9, 0.2, 0.7, 0.1, 0.4])
    judged = Judge(label, np.arange(5), permutations=0, margin=0.02, seed=0)
    found = judged.confusion(judged.held(Evaluation(label, probability, probability)))
    assert found.classes == ("bad", "good")
    assert found.counts == [[2, 1], [1, 1]]
