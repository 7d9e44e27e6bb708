"""The batched solver has LinearSVC's optimum: made-up and real features, all folds, all C."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score
from sklearn.svm import LinearSVC

from training.classifiers import solver

C_VALUES = [10.0**e for e in range(-6, 6)]


def made_up(n: int, d: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rectified features with a decaying spectrum, noisy signs, and five folds.

    1,000 more rows are in fold -1: no problem trains on them.
    """
    rng = np.random.default_rng(seed)
    n, trained = n + 1000, n
    rank = min(d, 32)
    spectrum = 1 / np.sqrt(1 + np.arange(rank))
    rows = rng.normal(size=(n, rank)) * spectrum @ rng.normal(size=(rank, d))
    rows = np.maximum(rows + 0.5 * rng.normal(size=(n, d)) - 0.5, 0).astype(np.float32)
    signal = rows @ rng.normal(size=d)
    signal = (signal - signal.mean()) / signal.std()
    sign = np.where(signal + 1.5 * rng.normal(size=n) > 0, 1, -1).astype(np.float32)
    return rows, sign, np.where(np.arange(n) < trained, rng.integers(0, 5, n), -1)


def shares(fold: np.ndarray) -> np.ndarray:
    train = fold >= 0
    return np.stack([*(train & (fold != k) for k in range(5)), train]).astype(np.float32)


def check_against_linear_svc(
    rows: np.ndarray, sign: np.ndarray, fold: np.ndarray, c_values: list[float]
) -> None:
    share, seen = shares(fold), fold >= 0
    for point in solver.Path(rows[seen], sign[seen], share[:, seen]).solve(c_values):
        for k in (0,):
            train, held = share[k] > 0, share[k] == 0
            model = LinearSVC(C=point.c, dual="auto", tol=1e-5, max_iter=20_000, random_state=0)
            model.fit(rows[train], sign[train])
            args = (rows[train], sign[train], np.ones(train.sum(), np.float32), point.c)
            reference = solver.objective(*args, model.coef_[0], float(model.intercept_[0]))
            weight, bias = point.weight[k].astype(float), float(point.bias[k])
            own = solver.objective(*args, weight, bias)
            assert own <= reference * (1 + 1e-3), (point.c, own / reference - 1)
            assert own == pytest.approx(point.objective[k], rel=1e-3)
            expected = average_precision_score(sign[held] > 0, rows[held] @ model.coef_[0])
            found = average_precision_score(sign[held] > 0, rows[held] @ weight)
            assert found == pytest.approx(expected, abs=0.002), point.c


def test_many_rows() -> None:
    check_against_linear_svc(*made_up(1500, 40), C_VALUES)


def test_more_columns_than_rows() -> None:
    check_against_linear_svc(*made_up(200, 300), C_VALUES)


@pytest.mark.slow
def test_separable_classes_where_conjugate_gradients_stall() -> None:
    check_against_linear_svc(*made_up(1100, 800), [1e-3, 1e-1, 10.0])


def test_sample_weights_count_like_repeated_rows() -> None:
    rows, sign = (part[:200] for part in made_up(200, 20)[:2])
    weight = np.random.default_rng(1).integers(0, 4, 200)
    weighted = solver.Path(rows, sign, weight[None].astype(np.float32)).step(0.1)
    again = np.repeat(np.arange(200), weight)
    repeated = solver.Path(rows[again], sign[again], np.ones((1, len(again)), np.float32)).step(0.1)
    assert weighted.objective == pytest.approx(repeated.objective, rel=1e-4)
    np.testing.assert_allclose(weighted.weight, repeated.weight, atol=2e-3)


def test_a_warm_start_gives_the_same_optimum() -> None:
    rows, sign, fold = made_up(400, 30)
    straight = list(solver.Path(rows, sign, shares(fold)).solve([0.01, 0.1, 1.0]))
    resumed = solver.Path(rows, sign, shares(fold))
    resumed.start(straight[1].weight, straight[1].bias)
    assert resumed.step(1.0).objective == pytest.approx(straight[2].objective, rel=1e-4)


def test_constant_and_empty_columns_do_no_harm() -> None:
    rows, sign, fold = made_up(300, 20)
    rows = np.concatenate([rows, np.zeros((1300, 3)), np.full((1300, 2), 7)], axis=1)
    check_against_linear_svc(rows.astype(np.float32), sign, fold, [1e-4, 1e-2, 1.0])


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(C_VALUES))
def test_the_gradient_vanishes_at_the_optimum(seed: int, c: float) -> None:
    rows, sign, fold = made_up(120, 12, seed)
    share = shares(fold)
    point = solver.Path(rows, sign, share, tolerance=1e-6).step(c)
    wide = np.concatenate([rows, np.ones((len(rows), 1))], axis=1).astype(float)
    at = np.concatenate([point.weight, point.bias[:, None]], axis=1).astype(float)
    slack = np.maximum(0, 1 - sign * (at @ wide.T)) * share
    gradient = at - 2 * c * (slack * sign) @ wide
    start = 2 * c * np.abs((share * sign) @ wide).max()
    assert np.abs(gradient).max() <= 2e-3 * start


@pytest.fixture(scope="module")
def real_features(shared: Path) -> tuple[np.ndarray, np.ndarray]:
    """EfficientNet-Lite0 features of Caltech-101 pictures; living things against the rest."""
    backbones = pytest.importorskip("backbones")
    folders = sorted(p for p in (shared / "images" / "caltech101").iterdir() if p.is_dir())
    files = [
        (path, k) for k, folder in enumerate(folders) for path in sorted(folder.iterdir())[:20]
    ]
    pictures = [path.read_bytes() for path, _ in files]
    features = np.asarray(
        backbones.extract(pictures, backbone="efficientnet-lite0", layers=["pooled"])["pooled"]
    )
    rng = np.random.default_rng(0)
    good = rng.permutation(len(folders))[: len(folders) // 2]
    label = np.isin([k for _, k in files], good)
    noise = rng.random(len(label)) < 0.25
    return features.astype(np.float32), np.where(label ^ noise, 1, -1).astype(np.float32)


@pytest.mark.slow
def test_real_features_have_the_optimum_of_linear_svc(
    real_features: tuple[np.ndarray, np.ndarray],
) -> None:
    rows, sign = real_features
    fold = np.random.default_rng(1).integers(0, 5, len(rows))
    check_against_linear_svc(rows, sign, fold, C_VALUES)
