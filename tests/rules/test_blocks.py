"""An author's level at the time of a post, and blocks of time that are dealt like authors."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters.blocks import LENGTHS, alike, block_of, chosen_length, first_day
from filters.labels import own_level

MOMENTS = st.datetimes(dt.datetime(1990, 1, 1), dt.datetime(2090, 1, 1))


@given(MOMENTS, st.sampled_from([7, 14, 28, 1, 3]))
def test_a_block_holds_its_moment_and_begins_where_it_says(when: dt.datetime, length: int) -> None:
    days = np.array([(when - dt.datetime(1970, 1, 1)) / dt.timedelta(days=1)])
    began = first_day(block_of(days, length), length)[0].astype(dt.date)
    assert dt.timedelta(0) <= when.date() - began < dt.timedelta(days=length)
    if length % 7 == 0:
        assert began.weekday() == 0


def by_hand(
    author: list[int], created: list[float], ratio: list[float], half: int, q: float
) -> list[float]:
    """The definition, post by post."""
    answer = []
    for row in range(len(ratio)):
        mine = sorted((created[k], k) for k in range(len(ratio)) if author[k] == author[row])
        place = mine.index((created[row], row))
        beside = mine[max(0, place - half) : place] + mine[place + 1 : place + 1 + half]
        values = [ratio[k] for _, k in beside]
        answer.append(float(np.quantile(values, q)) if len(values) >= 4 else float("nan"))
    return answer


@given(st.data())
def test_the_level_is_the_median_of_the_posts_around(data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 40))
    draw = st.lists(st.integers(0, 9), min_size=n, max_size=n)
    author = [a % 3 for a in data.draw(draw)]
    created = [float(x) for x in data.draw(draw)]
    ratio = [float(x) for x in data.draw(draw)]
    around, margin = data.draw(st.sampled_from([8, 10])), data.draw(st.sampled_from([0.0, 0.2]))
    low, high = own_level(
        np.array(author), np.array(created), np.array(ratio), around=around, margin=margin
    )
    np.testing.assert_allclose(low, by_hand(author, created, ratio, around // 2, 0.5 - margin))
    np.testing.assert_allclose(high, by_hand(author, created, ratio, around // 2, 0.5 + margin))


def test_a_growing_account_has_good_and_bad_pictures_in_all_its_years() -> None:
    rng = np.random.default_rng(1)
    created = np.sort(rng.uniform(0, 1000, 1000))
    likes = rng.poisson(20 * np.exp(created / 250)).astype(np.float64)
    against_all = likes > np.median(likes)
    low, _ = own_level(np.zeros(1000, np.int64), created, likes, around=30)
    own = likes > low
    years = np.arange(1000) // 250
    assert [against_all[years == y].mean().round() for y in range(4)] == [0, 0, 1, 1]
    for year in range(4):
        assert 0.35 < own[years == year].mean() < 0.65


def autoregressive(rng: np.random.Generator, n: int, keep: float) -> np.ndarray:
    x = rng.normal(size=n)
    for row in range(1, n):
        x[row] = keep * x[row - 1] + np.sqrt(1 - keep**2) * x[row]
    return x


def test_neighbouring_weeks_that_are_alike_make_longer_blocks() -> None:
    days = np.arange(1400.0)
    author = np.zeros(1400, np.int64)
    lengths = {}
    for name, keep in (("apart", 0.0), ("alike", 0.97)):
        found = []
        for seed in range(20):
            rng = np.random.default_rng(seed)
            label = (autoregressive(rng, 1400, keep) > 0).astype(np.int64)
            found.append(chosen_length(author, days, label, 1))
        lengths[name] = found
    assert set(lengths["apart"]) | set(lengths["alike"]) <= set(LENGTHS)
    assert sum(length == 7 for length in lengths["apart"]) >= 17  # one in twenty by chance
    assert min(lengths["alike"]) > 7


def test_neighbours_are_those_of_one_author_and_next_to_each_other() -> None:
    assert alike(np.array([0, 1, 2]), np.array([1, 2, 3]), np.array([1, 0, 1]), 1).p is None
    assert alike(np.zeros(4, int), np.array([0, 2, 4, 6]), np.array([1, 0, 1, 0]), 1).p is None
    found = alike(np.zeros(60, int), np.arange(60), np.arange(60) % 2, 1)
    assert found.correlation == pytest.approx(-1)
    assert not found.shown
