"""Principal components against scikit-learn; maps that do not hang on threads; honest quality."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from sklearn.decomposition import PCA

from training.maps.projection import lay_out, principal_components, quality


def _batches(features: np.ndarray, size: int) -> Callable[[], Iterator[np.ndarray]]:
    return lambda: (features[i : i + size] for i in range(0, len(features), size))


@pytest.mark.parametrize("size", [1, 7, 300])
@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_components_are_scikit_learns_whatever_the_batches(size: int, offset: float) -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(300, 12)) * np.geomspace(3, 0.1, 12) + offset
    features = features.astype(np.float32)
    ours = principal_components(_batches(features, size), 0.8)
    theirs = PCA(n_components=0.8, svd_solver="full").fit(features.astype(np.float64))
    assert ours.axes.shape[1] == theirs.n_components_
    assert ours.held == pytest.approx(theirs.explained_variance_ratio_.sum(), abs=1e-6)
    assert ours.held_in_two == pytest.approx(theirs.explained_variance_ratio_[:2].sum(), abs=1e-6)
    found, expected = ours.transform(features), theirs.transform(features.astype(np.float64))
    np.testing.assert_allclose(np.abs(found), np.abs(expected), atol=1e-2 if offset else 1e-4)


def test_equal_pictures_and_too_few_are_no_bug() -> None:
    same = np.ones((5, 3), np.float32)
    components = principal_components(_batches(same, 2))
    np.testing.assert_allclose(components.transform(same), 0)
    with pytest.raises(ValueError, match="at least two pictures"):
        principal_components(_batches(same[:1], 1))
    assert lay_out(same[:3, :2], seed=0).shape == (3, 2)
    assert quality(same[:3], lay_out(same[:3], seed=0), seed=0) is None


def _groups(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    label = np.repeat(np.arange(5), 40)
    return (rng.normal(size=(5, 20))[label] * 3 + rng.normal(size=(200, 20))).astype("f"), label


def test_the_map_hangs_on_the_seed_and_not_on_threads() -> None:
    points, label = _groups()
    one, two = lay_out(points, seed=3, jobs=1), lay_out(points, seed=3, jobs=2)
    np.testing.assert_array_equal(one, two)
    # Planted groups stay together: the nearest place belongs to the same group.
    distance = np.linalg.norm(one[:, None] - one[None], axis=2) + np.diag(np.full(200, np.inf))
    assert (label[distance.argmin(axis=1)] == label).mean() > 0.97


def test_a_map_of_groups_is_trusted_and_one_of_noise_is_not() -> None:
    points, _ = _groups()
    good = quality(points, points[:, :2], seed=0)
    assert good is not None
    assert good.preserved > 2 * good.chance
    itself = quality(points[:, :2], points[:, :2], seed=0)
    assert itself is not None
    assert (itself.preserved, itself.trustworthiness, itself.trusted) == (1.0, 1.0, True)
    strewn = np.random.default_rng(1).normal(size=(200, 2)).astype("f")
    bad = quality(points, strewn, seed=0)
    assert bad is not None
    assert bad.preserved == pytest.approx(bad.chance, abs=0.04)
    assert bad.sentence.startswith("Do not trust this map")
