"""Folds by author against the properties they promise and scikit-learn's StratifiedGroupKFold."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedGroupKFold

from filters.folds import Assignment, assign
from likewise.errors import DataError


def world(n: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Authors with heavy-tailed sizes and their own share of good pictures."""
    rng = np.random.default_rng(seed)
    keys = rng.choice(2**62, n, replace=False) - 2**61
    sizes = np.ceil(rng.pareto(1.5, n) + 0.5).astype(np.int64)
    return keys, sizes, rng.binomial(sizes, rng.beta(0.8, 0.8, n))


def dealt(keys: np.ndarray, sizes: np.ndarray, good: np.ndarray, **other: object):
    return assign(keys, sizes, good, **({"folds": 5, "test_fraction": 0.25, "seed": 1} | other))


def spread(fold: np.ndarray, sizes: np.ndarray, good: np.ndarray) -> float:
    """Largest difference between folds in the share of good pictures."""
    n = np.bincount(fold, sizes)
    return float(np.ptp(np.bincount(fold, good) / n))


@settings(deadline=None)
@given(st.integers(60, 400), st.integers(0, 1000), st.integers(2, 8))
def test_every_fold_is_used_on_the_train_side(n: int, seed: int, folds: int) -> None:
    keys, sizes, good = world(n, seed)
    found = dealt(keys, sizes, good, folds=folds)
    assert set(found.fold[~found.test]) == set(range(folds))
    held = sizes[found.test].sum() / sizes.sum()
    assert abs(held - 0.25) <= max(0.05, sizes.max() / sizes.sum())


def test_many_small_authors_are_dealt_evenly() -> None:
    keys, sizes, good = world(100_000, 7)
    found = dealt(keys, sizes, good)
    train = ~found.test
    assert found.test.mean() == pytest.approx(0.25, abs=0.01)
    assert spread(found.fold[train], sizes[train], good[train]) < 0.005
    pictures = np.bincount(found.fold[train], sizes[train])
    assert np.ptp(pictures) / pictures.mean() < 0.01


def test_one_author_with_nearly_all_pictures_takes_one_fold() -> None:
    sizes = np.array([437, *[1] * 39])
    found = dealt(np.arange(40), sizes, sizes // 2)
    train = ~found.test
    assert train[0]
    assert found.test.sum() >= 10
    authors = np.bincount(found.fold[train], minlength=5)
    assert authors[found.fold[0]] == authors.min() >= 1


@settings(deadline=None)
@given(st.integers(40, 300), st.integers(0, 1000))
@example(40, 456)
def test_the_order_of_authors_does_not_matter(n: int, seed: int) -> None:
    keys, sizes, good = world(n, seed)
    order = np.random.default_rng(seed).permutation(n)
    found, shuffled = dealt(keys, sizes, good), dealt(keys[order], sizes[order], good[order])
    assert (found.fold[order] == shuffled.fold).all()
    assert (found.test[order] == shuffled.test).all()


def test_seeds_deal_otherwise() -> None:
    keys, sizes, good = world(500, 3)
    one, two = dealt(keys, sizes, good, seed=1), dealt(keys, sizes, good, seed=2)
    assert (one.fold != two.fold).mean() > 0.5
    assert (one.test != two.test).any()


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10_000))
def test_as_balanced_as_stratified_group_k_fold(seed: int) -> None:
    """Sizes and shares of good pictures differ between folds little more than scikit-learn's."""
    keys, sizes, good = world(600, seed)
    found = dealt(keys, sizes, good, test_fraction=0.001)
    train = ~found.test
    y = np.concatenate(
        [np.r_[np.ones(g), np.zeros(s - g)] for s, g in zip(sizes, good, strict=True)]
    )
    groups = np.repeat(np.arange(600), sizes)
    oracle = np.empty(600, int)
    folder = StratifiedGroupKFold(5, shuffle=True, random_state=seed)
    for number, (_, held) in enumerate(folder.split(y, y, groups)):
        oracle[groups[held]] = number

    ours = spread(found.fold[train], sizes[train], good[train])
    assert ours <= 2 * spread(oracle, sizes, good) + 0.01
    pictures = np.bincount(found.fold[train], sizes[train])
    theirs = np.bincount(oracle, sizes)
    assert np.ptp(pictures) <= 2 * np.ptp(theirs) + 5


def test_too_few_authors_are_refused() -> None:
    keys, sizes, good = world(4, 1)
    with pytest.raises(DataError, match="4 authors cannot fill 5 folds"):
        dealt(keys, sizes, good)


@settings(deadline=None, max_examples=30)
@given(st.integers(100, 400), st.integers(0, 1000), st.floats(0.02, 0.3))
def test_nobody_moves_when_authors_join_and_the_balance_stays(
    n: int, seed: int, share: float
) -> None:
    keys, sizes, good = world(n, seed)
    early = np.random.default_rng(seed).random(n) >= share
    first = dealt(keys[early], sizes[early], good[early])
    kept = Assignment(np.full(n, -1, np.int32), np.zeros(n, np.bool_))
    kept.fold[early], kept.test[early] = first.fold, first.test
    found = dealt(keys, sizes, good, kept=kept)
    assert np.array_equal(found.fold[early], first.fold)
    assert np.array_equal(found.test[early], first.test)
    assert set(found.fold[~found.test]) == set(range(5))
    anew = dealt(keys, sizes, good)
    held, fresh = (sizes[one.test].sum() / sizes.sum() for one in (found, anew))
    assert abs(held - 0.25) <= abs(fresh - 0.25) + max(0.02, sizes.max() / sizes.sum())


def test_places_are_the_same_with_and_without_an_empty_memory() -> None:
    keys, sizes, good = world(300, 3)
    nobody = Assignment(np.full(300, -1, np.int32), np.zeros(300, np.bool_))
    plain, remembered = dealt(keys, sizes, good), dealt(keys, sizes, good, kept=nobody)
    assert np.array_equal(plain.fold, remembered.fold)
    assert np.array_equal(plain.test, remembered.test)
