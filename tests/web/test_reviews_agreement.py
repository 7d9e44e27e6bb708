"""Kappa against statsmodels and by hand; the error rate by hand; which reviews stand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.inter_rater import cohens_kappa, to_table

from web.reviews.agreement import agreement, cohen, error_rate
from web.reviews.opinions import Review, independent_pairs, outcome, standing

P = "f" * 64


def line(n: int, who: str, label: str | None = None, seen: int = 0, **more: object) -> Review:
    """Line ``n`` of picture P; without a label a rejection."""
    fields = {"action": "reject" if label is None else "correct", "old_label": "cat"}
    fields |= {"new_label": label, "picture_id": P, "version": n, **more}
    return Review(id=n, seen=seen, reviewer=who, at_us=n, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", range(4))
def test_kappa_is_that_of_statsmodels(seed: int) -> None:
    random = np.random.default_rng(seed)
    first = random.integers(0, 3, 80)
    second = np.where(random.random(80) < 0.6, first, random.integers(0, 3, 80))
    found = cohen([(str(a), str(b)) for a, b in zip(first, second, strict=True)])
    table, _ = to_table(np.stack([first, second], axis=1), 3)
    theirs = cohens_kappa(table)
    assert found == pytest.approx((theirs.kappa, theirs.kappa_low, theirs.kappa_upp), abs=1e-9)


def test_kappa_by_hand_and_where_it_is_not_defined() -> None:
    # Cohen's own kind of table: 20 and 15 agreed, 5 and 10 not: p_o = .7, p_e = .5, kappa = .4.
    pairs = [("y", "y")] * 20 + [("y", "n")] * 5 + [("n", "y")] * 10 + [("n", "n")] * 15
    found = cohen(pairs)
    assert found is not None and found[0] == pytest.approx(0.4)
    assert cohen([("y", "y")] * 9) is None
    assert cohen([]) is None


def test_a_settled_conflict_still_counts_as_a_disagreement() -> None:
    book = [line(1, "ann", "dog"), line(2, "bob", "newt"), line(3, "ann", "newt", seen=2)]
    [(a, b)] = independent_pairs(book)
    assert (a.new_label, b.new_label) == ("dog", "newt")
    [found] = agreement(book)
    assert (found.first, found.second, found.pictures, found.agreed) == ("ann", "bob", 1, 0)


def test_who_saw_the_other_s_review_is_no_independent_witness() -> None:
    assert list(independent_pairs([line(1, "ann", "dog"), line(2, "bob", "dog", seen=1)])) == []


def test_a_class_called_rejected_is_no_rejection() -> None:
    [found] = agreement([line(1, "ann", "rejected"), line(2, "bob", None)])
    assert found.agreed == 0


def test_an_undone_review_gives_its_place_back() -> None:
    book = [
        line(1, "ann", "dog"),
        line(2, "bob", "newt", seen=1),
        line(3, "bob", action="undo", undoes=2, seen=2),
    ]
    assert [one.id for one in standing(book)] == [1]
    assert [one.id for one in standing(book[:2])] == [2]
    assert outcome(P, book[2:]) is None


def test_error_rate_counts_the_random_queue_alone() -> None:
    def one(n: int, label: str | None, mode: str, who: str = "ann", **more: object) -> Review:
        return line(1, who, label, picture_id=f"{n:064d}", mode=mode, **more)

    lines = [one(n, "cat", "random") for n in range(18)]
    lines += [one(20, "dog", "random"), one(21, None, "random")]
    lines += [one(n, "dog", "contradiction") for n in range(30, 60)]
    lines += [one(70, None, "random", action="skip")]
    lines += [one(80, "dog", "random"), one(80, "cat", "random", who="bob", version=2)]
    found = error_rate(lines)
    assert (found.reviewed, found.wrong, found.skipped, found.conflicts) == (20, 2, 1, 1)
    # Wilson's interval of 2 in 20 (Newcombe 1998, z = 1.959964).
    assert (found.low, found.high) == pytest.approx((0.02787, 0.30103), abs=1e-4)
    assert "10.0% (2.8% to 30.1%); left out: 1 skipped, 1 in conflict" in found.sentence
    assert error_rate(lines[20:50]).share is None


@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.sampled_from(["x", "y", None]), st.booleans()),
        max_size=8,
    )
)
def test_whoever_sees_everything_decides(acts: list[tuple[str, str | None, bool]]) -> None:
    book = [
        line(n, who, label, seen=n - 1 if sees else 0)
        for n, (who, label, sees) in enumerate(acts, start=1)
    ]
    found = standing(book)
    names = [one.reviewer for one in found]
    assert len(names) == len(set(names))  # one opinion a reviewer
    assert not book or found[-1] == book[-1]  # the newest always stands
    last = line(len(book) + 1, "judge", "z", seen=len(book))
    assert standing([*book, last]) == [last]
