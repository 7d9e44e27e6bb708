"""Folds by author against the properties they promise and scikit-learn's StratifiedGroupKFold."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedGroupKFold

from filters import folds
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


# -- the pieces, each beside a plain way to the same ------------------------------------------


@given(st.lists(st.integers(1, 60), min_size=1, max_size=12), st.floats(0.02, 0.9))
def test_a_full_part_is_the_largest_that_holds_its_share(sizes: list[int], share: float) -> None:
    """By trying every size: no author counts with more than ``share`` of what then is all."""
    held = np.array(sizes)
    fits = [
        full
        for full in range(1, sum(sizes) + 1)
        if max(1, int(share * np.minimum(held, full).sum())) >= full
    ]
    assert folds._full(held, share) == max(fits)


def test_keys_are_mixed_by_splitmix64() -> None:
    """Published outputs of SplitMix64 from the state 1234567."""
    key = np.array([1234567])
    found = [int(folds._mixed(key, seed)[0]) for seed in range(5)]
    assert found == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=12),
    st.sampled_from([(0.75, 0.25), (0.2, 0.2, 0.2, 0.2, 0.2), (0.5, 0.3, 0.2)]),
    st.lists(st.integers(0, 30), min_size=10, max_size=10),
    st.integers(0, 3),
)
def test_each_large_author_goes_where_the_parts_stay_most_alike(
    counts: list[tuple[int, int]], shares: tuple[float, ...], old: list[int], seed: int
) -> None:
    good, bad = (np.array(column) for column in zip(*counts, strict=True))
    n = len(shares)
    before = [np.array(old[:n], float), np.array(old[n : 2 * n], float)]
    chosen = list(folds._one_by_one(good, bad, before, np.array(shares), seed))
    total = [
        max(1, int(side.sum() + held.sum())) for side, held in zip((good, bad), before, strict=True)
    ]

    def unevenness(places: list[int]) -> float:
        cost = 0.0
        for side, there, whole in zip((good, bad), before, total, strict=True):
            for part, share in enumerate(shares):
                held = there[part]
                held += sum(int(side[i]) for i, place in enumerate(places) if place == part)
                cost += (held / whole) ** 2 / share
        return cost

    for row, part in enumerate(chosen):
        costs = [unevenness([*chosen[:row], other]) for other in range(len(shares))]
        assert costs[part] <= min(costs) + 1e-9


def test_of_equal_parts_the_seed_says_which_is_first() -> None:
    one = np.array([4]), np.array([4])
    even, nothing = np.full(5, 0.2), [np.zeros(5), np.zeros(5)]
    first = [folds._one_by_one(*one, nothing, even, seed)[0] for seed in (0, 1, 4, 7)]
    assert first == [0, 1, 4, 2]


@given(st.integers(0, 300), st.sampled_from([(0.75, 0.25), (0.2,) * 5, (0.1, 0.6, 0.3)]))
def test_cards_are_dealt_evenly_over_the_whole_pack(n: int, shares: tuple[float, ...]) -> None:
    dealt_to = folds._dealt(n, np.array(shares))
    assert dealt_to.size == n
    for part, share in enumerate(shares):
        held = np.cumsum(dealt_to == part)
        assert np.abs(held - share * np.arange(1, n + 1)).max(initial=0) <= 2


def test_small_authors_lie_by_their_share_of_good_pictures() -> None:
    """None, up to an eighth, ... all; in a stratum the order stays."""
    sizes = np.array([8, 8, 8, 16, 8, 8, 3, 100, 100])
    good = np.array([8, 0, 1, 1, 7, 4, 3, 12, 13])
    order = folds._by_share(np.arange(9), sizes, good)
    #           none; up to 1/8: 1/8, 1/16, 12/100; 13/100; half; 7/8; all
    assert order.tolist() == [1, 2, 3, 7, 8, 5, 4, 0, 6]


def test_the_largest_authors_come_first_and_ties_hang_on_the_seed() -> None:
    sizes, good = np.array([5, 9, 9, 9]), np.array([0, 9, 2, 7])
    orders = {tuple(folds._falling_size(np.arange(4), sizes, good, s).tolist()) for s in range(9)}
    # The larger of good and bad pictures counts: 5, 9, 7, 7.
    assert {order[0] for order in orders} == {1} and {order[3] for order in orders} == {0}
    assert {order[1:3] for order in orders} == {(2, 3), (3, 2)}


def test_many_small_authors_are_dealt_by_stratum(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folds, "ONE_BY_ONE", 0)
    keys, sizes = np.arange(4000), np.full(4000, 4)
    good = np.arange(4000) % 5
    found = dealt(keys, sizes, good)
    assert abs(found.test.mean() - 0.25) < 0.01
    for share in range(5):
        here = good == share
        for side in (False, True):
            held = np.bincount(found.fold[here & (found.test == side)], minlength=5)
            assert np.ptp(held) <= 3


def test_too_few_authors_are_told_with_the_numbers() -> None:
    keys, sizes, good = np.arange(5), np.full(5, 10), np.array([5] * 5)
    with pytest.raises(DataError, match="5 authors cannot fill 5 folds and a test part of 25%"):
        dealt(keys, sizes, good)
    assert set(dealt(np.arange(8), np.full(8, 10), np.full(8, 5)).fold[:8]) <= set(range(5))
