"""LinearSVC in little memory: the same weights as scikit-learn alone, whatever it is handed."""

from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import psutil
import pytest
from scipy import sparse
from sklearn.svm import LinearSVC

from training.classifiers import liblinear
from training.data.mapped import create, let_go, open_rows


def made_up(path: Path, *, rectified: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    rows = create(path, (700, 30))
    rows[:] = rng.normal(size=rows.shape) - (0.8 if rectified else 0)
    if rectified:
        np.maximum(rows, 0, out=rows)
    sign = np.where(rows @ rng.normal(size=30) + rng.normal(size=700) > -3, 1, -1)
    return rows, sign.astype(np.float32), rng.integers(1, 4, 700).astype(float)


@pytest.mark.parametrize("rectified", [True, False])
@pytest.mark.parametrize("whole", [True, False])
def test_the_weights_are_those_of_scikit_learn_alone(
    tmp_path: Path, rectified: bool, whole: bool
) -> None:
    rows, sign, weight = made_up(tmp_path / "rows.npy", rectified=rectified)
    keep = None if whole else np.arange(700) % 5 != 0
    chosen = slice(None) if keep is None else keep
    alone = LinearSVC(C=0.1, dual="auto", max_iter=10_000, random_state=3)
    alone.fit(np.array(rows[chosen]), sign[chosen], sample_weight=weight[chosen])
    found = liblinear.fit(rows, sign, weight, 0.1, 3, keep=keep)
    np.testing.assert_array_equal(found.weight, alone.coef_[0])
    assert found.bias == alone.intercept_[0]
    assert found.converged


def test_what_is_mostly_zero_is_handed_over_sparse(tmp_path: Path) -> None:
    everyone = np.arange(700)
    rectified = made_up(tmp_path / "a.npy", rectified=True)[0]
    design = liblinear._design(rectified, everyone)
    assert sparse.issparse(design) and design.dtype == np.float64
    np.testing.assert_array_equal(design.toarray(), rectified)
    plain = made_up(tmp_path / "b.npy", rectified=False)[0]
    np.testing.assert_array_equal(liblinear._design(plain, everyone), plain.astype(float))


def test_bytes_needed_by_hand() -> None:
    rows = np.zeros((4, 6), np.float32)
    rows[1, :3] = 1
    assert liblinear.bytes_needed(rows) == 3 * (16 + 12)
    assert liblinear.bytes_needed(np.ones((4, 6), np.float32)) == 24 * (16 + 8)


def test_a_fit_that_is_cut_short_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, sign, weight = made_up(tmp_path / "rows.npy", rectified=True)
    monkeypatch.setattr(liblinear, "MOST_STEPS", 1)
    assert not liblinear.fit(rows, sign, weight, 100.0, 0).converged


def test_memory_that_is_let_go_comes_back_with_its_values(tmp_path: Path) -> None:
    rows = create(tmp_path / "rows.npy", (1024, 8192))
    rows[:] = np.arange(1024, dtype=np.float32)[:, None]
    before = psutil.Process().memory_info().rss
    let_go(rows[5:])
    assert psutil.Process().memory_info().rss < before - 0.9 * rows.nbytes
    np.testing.assert_array_equal(rows[:, 8191], np.arange(1024))
    np.testing.assert_array_equal(open_rows(tmp_path / "rows.npy")[:, 0], np.arange(1024))
    let_go(np.ones(3))  # not mapped: nothing to do


def test_a_full_disk_is_an_error_and_no_crash(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"MiB needed.*rows\.npy") as caught:
        create(tmp_path / "rows.npy", (2**30, 2**20))
    assert caught.value.errno == errno.ENOSPC
    assert not (tmp_path / "rows.npy").exists()
