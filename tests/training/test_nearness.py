"""Nearness to known classes, against the covariances written out and inverted."""

import numpy as np
import pytest

from training.statistics import nearness as module
from training.statistics.nearness import SHRINKAGE, fit_nearness


def by_inverse(train: np.ndarray, label: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """The formula of the two papers, with d x d matrices."""
    train = train / np.linalg.norm(train, axis=1, keepdims=True)
    asked = asked / np.linalg.norm(asked, axis=1, keepdims=True)
    means = {one: train[label == one].mean(axis=0) for one in np.unique(label)}

    def inverse(offset: np.ndarray) -> np.ndarray:
        covariance = offset.T @ offset / len(offset)
        d = len(covariance)
        shrunk = (1 - SHRINKAGE) * covariance + SHRINKAGE * np.trace(covariance) / d * np.eye(d)
        return np.linalg.inv(shrunk)

    within = inverse(train - np.stack([means[one] for one in label]))
    whole = inverse(train - train.mean(axis=0))
    answer = []
    for x in asked:
        nearest = min((x - mean) @ within @ (x - mean) for mean in means.values())
        away = x - train.mean(axis=0)
        answer.append(away @ whole @ away - nearest)
    return np.array(answer)


@pytest.mark.parametrize(("n", "d"), [(12, 40), (200, 15)])
def test_it_is_the_papers_formula(n, d):
    rng = np.random.default_rng(n)
    label = rng.integers(0, 3, n)
    train = rng.normal(size=(n, d)) + 2 * rng.normal(size=(3, d))[label]
    asked = rng.normal(size=(9, d))
    found = fit_nearness(train.astype(np.float32), label)(asked.astype(np.float32))
    wanted = by_inverse(
        train.astype(np.float32).astype(float), label, asked.astype(np.float32).astype(float)
    )
    np.testing.assert_allclose(found, wanted, rtol=1e-8)


def test_pictures_of_an_unseen_class_lie_further_off():
    rng = np.random.default_rng(5)
    centres = rng.normal(size=(5, 64)) * 3
    label = rng.integers(0, 4, 400)
    near = fit_nearness(centres[label] + rng.normal(size=(400, 64)), label)
    known = near(centres[rng.integers(0, 4, 100)] + rng.normal(size=(100, 64)))
    unseen = near(centres[np.full(100, 4)] + rng.normal(size=(100, 64)))
    assert known.min() > unseen.max()


def test_directions_that_are_cut_share_their_mean(monkeypatch):
    # Two directions stand out and the others are alike: keeping three of them loses nothing.
    rng = np.random.default_rng(2)
    spread = np.r_[[3.0, 2.0], np.full(18, 0.5)]
    label = np.arange(6000) % 2
    train = rng.normal(size=(6000, 20)) * spread + 8 * np.eye(20)[label]
    asked = rng.normal(size=(50, 20)) * spread + 8 * np.eye(20)[0]
    exact = fit_nearness(train, label)(asked)
    monkeypatch.setattr(module, "RANK", 3)
    thin = fit_nearness(train, label)(asked)
    assert np.corrcoef(exact, thin)[0, 1] > 0.995


def test_pictures_without_activation_or_without_spread():
    near = fit_nearness(np.eye(4), np.array([0, 0, 1, 1]))
    assert np.isfinite(near(np.zeros((1, 4)))).all()
    with pytest.raises(ValueError, match="no spread"):
        fit_nearness(np.ones((3, 4)), np.zeros(3, int))


def test_a_class_without_training_pictures_is_left_out():
    rng = np.random.default_rng(3)
    train, label = rng.normal(size=(10, 6)), np.array([0, 3] * 5)
    np.testing.assert_array_equal(
        fit_nearness(train, label)(train), fit_nearness(train, label // 3)(train)
    )
