"""Figures of k classes: against scikit-learn, statsmodels and the papers' own published counts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import top_k_accuracy_score
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar
from statsmodels.stats.proportion import proportion_confint

from training.statistics.classes import in_top, mcnemar, open_world, per_class, rate


@given(st.integers(0, 300), st.integers(0, 300))
def test_rates_have_wilsons_interval(right: int, wrong: int) -> None:
    if right + wrong == 0:
        return
    found = rate(np.arange(right + wrong) < right)
    low, high = proportion_confint(right, right + wrong, method="wilson")
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-12)


@pytest.mark.parametrize(
    ("right", "of", "low", "high"),
    [
        (235, 240, 0.952, 0.991),  # paper 2, Table 3: 5 errors of 240
        (37, 38, 0.865, 0.995),  # paper 3: 97.4 %
        (1838, 1843, 0.994, 0.999),  # paper 5, Table 1
    ],
)
def test_intervals_of_the_papers_counts(right: int, of: int, low: float, high: float) -> None:
    found = rate(np.arange(of) < right)
    assert (round(found.low, 3), round(found.high, 3)) == pytest.approx((low, high), abs=1.5e-3)


def test_pictures_of_one_group_count_as_one_witness() -> None:
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(20), 25)
    right = np.repeat(rng.random(20) < 0.7, 25)
    alone, grouped = rate(right), rate(right, group)
    assert grouped.high - grouped.low > 3 * (alone.high - alone.low)
    # All right: a bootstrap would give no width at all.
    sure = rate(np.ones(500, bool), group)
    assert sure.low == pytest.approx(proportion_confint(20, 20, method="wilson")[0])


def test_intervals_over_groups_cover() -> None:
    rng = np.random.default_rng(1)
    covered = 0
    for world in range(300):
        skill = rng.beta(7, 3, 60)  # mean .7: groups differ, pictures of one are alike
        group = np.repeat(np.arange(60), 5)
        found = rate(rng.random(300) < skill[group], group, resamples=400, seed=world)
        covered += found.low <= 0.7 <= found.high
    assert 0.90 <= covered / 300 <= 0.98


@given(st.integers(2, 6), st.integers(1, 30), st.integers(0, 999))
def test_top_k_is_scikit_learns(classes: int, n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    share, label = rng.dirichlet(np.ones(classes), n), rng.integers(0, classes, n)
    for k in range(1, classes):
        if classes == 2:
            break  # scikit-learn wants one column there
        theirs = top_k_accuracy_score(label, share, k=k, labels=np.arange(classes))
        assert in_top(share, label, k).mean() == pytest.approx(theirs)
    assert in_top(share, label, classes).all()
    assert not in_top(share, np.full(n, -1), classes).any()


def test_confusions_name_the_class_that_is_taken_for_another() -> None:
    label, said = np.array([0, 0, 0, 1, 1, 2]), np.array([0, 1, 1, 1, 1, 2])
    rows, counts = per_class(said, label, ("cat", "dog", "pen"))
    assert counts.tolist() == [[1, 2, 0], [0, 2, 0], [0, 0, 1]]
    assert [row.taken_for for row in rows] == ["dog", None, None]
    assert (rows[0].recall.right, rows[0].recall.of) == (1, 3)
    assert (rows[1].precision.right, rows[1].precision.of) == (2, 4)


@given(st.integers(0, 40), st.integers(0, 40))
def test_mcnemar_is_statsmodels(a: int, b: int) -> None:
    first = np.array([True] * a + [False] * b + [True] * 3)
    second = np.array([False] * a + [True] * b + [True] * 3)
    found = mcnemar(first, second)
    assert (found.first_only, found.second_only) == (a, b)
    theirs = statsmodels_mcnemar([[3, a], [b, 0]], exact=True).pvalue if a + b else 1.0
    assert found.p == pytest.approx(theirs, abs=1e-12)
    assert ("open" in found.sentence()) == (found.better() == "open")
    assert found.p < 0.05 or found.better() == "open"


def test_open_world_by_hand() -> None:
    known = np.linspace(0.5, 1, 100)  # 95 % of them reach known[5]
    found = open_world(known, np.array([0.4, 0.5, known[5], 1.0]))
    assert found.passing_at_95 == 0.5
    # Pairs in the right order, ties one half: .4 -> 100, .5 -> 99.5, known[5] -> 94.5, 1 -> .5
    assert found.auroc == pytest.approx((100 + 99.5 + 94.5 + 0.5) / 400)
    assert found.low < found.auroc < found.high
    assert np.isnan(open_world(known, np.array([])).auroc)


def test_pictures_of_one_group_make_the_area_less_sure() -> None:
    rng = np.random.default_rng(4)
    known, unseen = np.repeat(rng.normal(1, 1, 20), 10), np.repeat(rng.normal(0, 1, 20), 10)
    alone = open_world(known, unseen)
    groups = open_world(known, unseen, np.repeat(np.arange(40), 10))
    assert groups.auroc == alone.auroc
    assert groups.high - groups.low > 2 * (alone.high - alone.low)
