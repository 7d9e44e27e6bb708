"""The synthetic world: sameness, shape, and the planted law."""

from __future__ import annotations

import datetime as dt
import os
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import PoissonRegressor

from infra.sandbox import Law, Shares, World, WorldSpec
from infra.sandbox.law import Visible
from infra.sandbox.world import Hidden, Kind, Visibility
from likewise.errors import UsageError

EPOCH = dt.date(2026, 11, 1)
DIGEST = """
import datetime as dt, hashlib
from infra.sandbox import World, WorldSpec
from infra.sandbox.dialect import Dialect
from infra.sandbox.media import MediaStore
world = World(WorldSpec(seed=5, authors=60, posts=200, epoch=dt.date(2026, 11, 1)))
pages = Dialect(world, "http://here").posts(range(200))
store = MediaStore(world)
names = [f"{world.post_id[i]}-0.{'png' if world.is_png(i) else 'jpg'}" for i in range(25)]
files = [store.render(f) for f in map(store.locate, names) if f is not None]
print(world.digest(), *(hashlib.sha256(part).hexdigest() for part in (pages, b"".join(files))))
"""


@pytest.mark.slow
def test_two_processes_make_the_same_world_byte_for_byte() -> None:
    def run(hash_seed: str) -> str:
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        done = subprocess.run(
            [sys.executable, "-c", DIGEST], capture_output=True, text=True, env=environment
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    first, second = run("1"), run("2")
    assert len(first.split()) == 3
    assert first == second


def test_another_seed_is_another_world() -> None:
    one = World(WorldSpec(seed=1, epoch=EPOCH))
    assert one.digest() == World(WorldSpec(seed=1, epoch=EPOCH)).digest()
    assert one.digest() != World(WorldSpec(seed=2, epoch=EPOCH)).digest()


def test_a_stronger_law_changes_likes_and_nothing_else() -> None:
    weak = World(WorldSpec(epoch=EPOCH, law=Law(strength=0)))
    strong = World(WorldSpec(epoch=EPOCH, law=Law(strength=2)))
    assert not np.array_equal(weak.likes, strong.likes)
    for name in ("post_id", "author", "kind", "followers", "tags", "original"):
        assert np.array_equal(getattr(weak, name), getattr(strong, name))


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**40), authors=st.integers(100, 800), extra=st.integers(0, 900))
def test_every_world_has_the_promised_shape(seed: int, authors: int, extra: int) -> None:
    world = World(WorldSpec(seed=seed, authors=authors, posts=authors + extra, epoch=EPOCH))
    followers = world.followers
    assert followers.std() / followers.mean() >= 5
    assert followers.min() == 0 and followers.max() >= 300_000
    assert set(world.author.tolist()) == set(range(authors))
    assert (np.diff(world.post_id) > 0).all()
    assert np.array_equal(world.post_id >> 16, world.created_ms)
    assert len(set(world.account_id.tolist())) == authors
    assert (world.account_created_ms[world.author] < world.created_ms).all()
    assert not ((world.age_days > 22.5) & (world.age_days < 30.5)).any()
    assert (world.likes >= 0).all()
    assert (world.original <= np.arange(len(world.post_id))).all()


def test_every_special_kind_is_there() -> None:
    world = World(WorldSpec(authors=3000, posts=12_000, epoch=EPOCH))
    assert {Hidden.SHOWN, Hidden.NULL, Hidden.ABSENT} == set(world.hidden.tolist())
    assert set(Visibility) == set(world.visibility.tolist())
    assert set(world.kind.tolist()) == set(Kind) - {Kind.FOLDER}
    for name in ("bot", "noindex", "nobot", "newcomer"):
        assert 0 < getattr(world, name).mean() < 0.1
    assert 0 < (~world.indexable).mean() < 0.1
    assert 0.02 < world.sensitive.mean() < 0.04
    assert 0.1 < (world.age_days < 30).mean() < 0.14
    assert 0.6 < (world.kind == Kind.PEOPLE).mean() < 0.8
    assert 0 < world.near.sum() < (world.original != np.arange(12_000)).sum()
    assert (world.likes == 0).any()
    assert world.n_media.max() == 4


def _recovered(law: Law) -> np.ndarray:
    """Weights of (log audience, brightness, warmth, closeness) by Poisson regression."""
    world = World(WorldSpec(seed=3, authors=20_000, posts=80_000, epoch=EPOCH, law=law))
    followers = world.followers[world.author]
    use = (world.age_days > 60) & (followers < 5000) & (world.kind == Kind.PEOPLE)
    visible = world.visible
    columns = [
        np.log(followers + law.passers_by),
        visible.brightness,
        visible.warmth,
        visible.closeness,
    ]
    x = np.stack(columns, axis=1)[use]
    fitted = PoissonRegressor(alpha=0, max_iter=2000, tol=1e-8).fit(x, world.likes[use])
    return np.asarray(fitted.coef_)


@pytest.mark.parametrize("strength", [0.0, 0.5, 1.2])
def test_regression_finds_the_planted_law(strength: float) -> None:
    law = Law(strength=strength, habit_sd=0.1, noise_sd=0.2, exponent=0.9)
    audience, *appeal = _recovered(law)
    assert audience == pytest.approx(0.9, abs=0.03)
    assert appeal == pytest.approx(strength * law.weights(), abs=0.03)


def test_appeal_has_unit_spread_over_people() -> None:
    world = World(WorldSpec(authors=5000, posts=20_000, epoch=EPOCH))
    appeal = world.appeal[world.kind == Kind.PEOPLE]
    assert appeal.mean() == pytest.approx(0, abs=0.03)
    assert appeal.std() == pytest.approx(0.96, abs=0.05)  # clipping takes a little off 1


def test_the_rate_by_hand() -> None:
    law = Law(strength=2, habit_sd=0.5, noise_sd=0.25, base=0.1, exponent=1, passers_by=0)
    one = np.ones(1)
    rate = law.rate(
        followers=100 * one, habit=one, appeal=0.5 * one, noise=-2 * one, age_days=1e9 * one
    )
    assert rate[0] == pytest.approx(0.1 * 100 * np.exp(0.5 + 1.0 - 0.5))
    visible = Visible(one, 0 * one, 0 * one)
    assert Law(brightness=3, warmth=4, closeness=0).appeal(visible)[0] == pytest.approx(0.6)
    assert Law(brightness=0, warmth=0, closeness=0).appeal(visible)[0] == 0


def test_copies_share_the_appeal_of_their_original() -> None:
    world = World(WorldSpec(authors=500, posts=5000, epoch=EPOCH))
    assert np.array_equal(world.appeal, world.appeal[world.original])
    assert np.array_equal(world.original, world.original[world.original])


def test_a_million_posts_are_cheap() -> None:
    before = time.process_time()
    world = World(WorldSpec(authors=100_000, posts=1_000_000, epoch=EPOCH))
    spent = time.process_time() - before
    held = sum(v.nbytes for v in vars(world).values() if isinstance(v, np.ndarray))
    assert spent < 20
    assert held < 150e6
    middle = int(world.post_id[500_000])
    assert world.find_post(middle) == 500_000
    assert world.find_post(middle + 1) is None


def test_ids_are_found_and_strangers_are_not() -> None:
    world = World(WorldSpec(authors=50, posts=100, epoch=EPOCH))
    for index in range(50):
        assert world.find_account(world.account(index).id) == index
    for wrong in (0, 1, 2**62):
        assert world.find_account(wrong) is None
        assert world.find_post(wrong) is None


def test_small_and_empty_worlds() -> None:
    assert World(WorldSpec(authors=1, posts=0, epoch=EPOCH)).likes.shape == (0,)
    assert World(WorldSpec(authors=1, posts=3, epoch=EPOCH)).author.tolist() == [0, 0, 0]
    assert len(set(World(WorldSpec(authors=9, posts=4, epoch=EPOCH)).author.tolist())) == 4


def test_impossible_worlds_are_refused() -> None:
    with pytest.raises(UsageError, match="authors = 0"):
        WorldSpec(authors=0)
    with pytest.raises(UsageError, match="posts = -1"):
        WorldSpec(posts=-1)


def test_shares_are_parameters() -> None:
    calm = Shares(hidden=0, sensitive=0, broken=0, doomed=0, duplicates=0, near_duplicates=0)
    world = World(WorldSpec(epoch=EPOCH, shares=calm))
    assert not world.hidden.any() and not world.sensitive.any() and not world.doomed.any()
    assert set(world.kind.tolist()) <= {Kind.PEOPLE, Kind.SCENE, Kind.QUOTE, Kind.VIDEO, Kind.NONE}
    assert np.array_equal(world.original, np.arange(1500))


def test_the_law_and_the_world_are_printed() -> None:
    text = World(WorldSpec(epoch=EPOCH, law=Law(strength=0.75))).describe()
    assert "synthetic world" in text and "exp(0.75 * appeal)" in text and "warmth" in text


def test_weeks_later_the_same_world_has_the_same_authors_and_figures() -> None:
    one = World(WorldSpec(epoch=dt.date(2026, 3, 2)))
    later = World(WorldSpec(epoch=dt.date(2027, 11, 29)))
    for name in ("account_id", "author", "likes", "followers", "kind", "age_days", "original"):
        assert np.array_equal(getattr(one, name), getattr(later, name)), name
    weeks = (later.epoch_ms - one.epoch_ms) / (7 * 86_400_000)
    assert weeks.is_integer()
    # Within the week no post grows older than the 30 days from which posts count as settled.
    assert not ((one.age_days > 22.5) & (one.age_days < 30.5)).any()
