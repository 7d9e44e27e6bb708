"""SVMWithSGD: the batched iteration, vectors in files and MLlib itself give the same weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from spark_jobs import train_svm
from training.classifiers.sgd import Scaling, batched_sgd

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@pytest.fixture(scope="module")
def data() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    rows = np.maximum(rng.normal(size=(300, 12)) + 0.5, 0).astype(np.float32)
    rows[:, 3] = 2.0
    good = rows @ rng.normal(size=12) + rng.normal(size=300) > 0
    return rows, good.astype(np.int64)


def test_scaling_centres_and_sets_the_mean_squared_norm(
    data: tuple[np.ndarray, np.ndarray],
) -> None:
    rows = np.delete(data[0], 3, axis=1)
    scaling = Scaling.standard(rows)
    scaled = (rows - scaling.mean) / scaling.scale
    np.testing.assert_allclose(scaled.mean(axis=0), 0, atol=1e-6)
    assert (scaled**2).sum(axis=1).mean() == pytest.approx(10, rel=1e-5)


def test_weights_fold_the_scaling_in(data: tuple[np.ndarray, np.ndarray]) -> None:
    rows = data[0]
    scaling = Scaling.standard(rows)
    assert scaling.constant == 1
    weight = np.random.default_rng(1).normal(size=(2, 12))
    plain, bias = scaling.fold_in(weight)
    expected = weight @ ((rows - scaling.mean) / scaling.scale).T
    np.testing.assert_allclose(plain @ rows.T + bias[:, None], expected, atol=1e-4)


def test_all_three_agree(
    data: tuple[np.ndarray, np.ndarray],
    spark: SparkSession,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """PySpark's own SVMWithSGD on LabeledPoint objects is the oracle."""
    from pyspark.mllib.classification import SVMWithSGD
    from pyspark.mllib.regression import LabeledPoint

    rows, label = data
    scaling = Scaling.standard(rows)
    scaled = (rows - scaling.mean) / scaling.scale
    points = spark.sparkContext.parallelize(
        [LabeledPoint(y, x) for x, y in zip(scaled, label, strict=True)], 2
    )
    oracle = SVMWithSGD.train(points, 8, 1.0, 0.01).weights.toArray()
    monkeypatch.setattr(train_svm, "ROWS_A_FILE", 70)
    train_svm.write_vectors(tmp_path / "vectors", rows, label, scaling.mean, scaling.scale)
    assert len(list((tmp_path / "vectors").iterdir())) == 5
    asked = {"reg_param": 0.01, "step_size": 1.0, "iterations": 8, "tolerance": 1e-3}
    cached, again = (train_svm.fit(spark, tmp_path / "vectors", **asked) for _ in range(2))
    sign = (2 * label - 1).astype(np.float32)
    share = np.ones((1, len(rows)), np.float32)
    batched = batched_sgd(rows, sign, share, scaling, np.array([0.01]), 1.0, 8)[0]
    np.testing.assert_allclose(cached, oracle, atol=1e-5)
    np.testing.assert_array_equal(cached, again)
    np.testing.assert_allclose(batched, oracle, atol=1e-4)


def test_folds_leave_their_rows_out(data: tuple[np.ndarray, np.ndarray]) -> None:
    rows, label = data
    sign, scaling = (2 * label - 1).astype(np.float32), Scaling.standard(rows)
    keep = np.arange(300) % 3 != 0
    share = np.stack([keep, np.ones(300)]).astype(np.float32)
    together = batched_sgd(rows, sign, share, scaling, np.array([0.01, 0.1]), 1.0, 30)
    alone = batched_sgd(
        rows[keep],
        sign[keep],
        np.ones((1, keep.sum()), np.float32),
        scaling,
        np.array([0.01]),
        1.0,
        30,
    )
    np.testing.assert_allclose(together[0], alone[0], atol=1e-4)


def test_a_step_that_diverges_ends_in_numbers_that_are_not_finite_or_huge(
    data: tuple[np.ndarray, np.ndarray],
) -> None:
    rows, label = data
    sign = (2 * label - 1).astype(np.float32)
    share = np.ones((1, 300), np.float32)
    with np.errstate(all="ignore"):
        weight = batched_sgd(rows, sign, share, Scaling.standard(rows), np.array([1e6]), 1e6, 60)
    assert not np.isfinite(weight).all() or np.abs(weight).max() > 1e30


def test_features_as_they_are_give_the_iteration_by_hand() -> None:
    """``none``: the documented steps on the rows themselves."""
    rng = np.random.default_rng(4)
    rows = rng.normal(1, 1, (30, 5)).astype(np.float32)
    sign = np.where(rows[:, 0] + rng.normal(size=30) > 1, 1, -1).astype(np.float32)
    share, none = np.ones((1, 30), np.float32), Scaling.none(5)
    found = batched_sgd(rows, sign, share, none, np.array([0.01]), 1.0, 20)[0]
    weight = np.zeros(5)
    for t in range(1, 21):
        inside = sign * (rows @ weight) < 1
        size = 1 / np.sqrt(t)
        weight = weight * (1 - size * 0.01) + size * (sign * inside) @ rows / 30
    assert found == pytest.approx(weight, rel=1e-4)
