"""Names of classes, groups that stay together, and parts that never move."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters.classes import ClassNames, deal, folder_name, groups_of

NAMES = st.text(min_size=1, max_size=80)


def test_names_that_are_one_after_case_folding_are_one_class_and_told() -> None:
    names = ClassNames(["Café", "CAFÉ", "Cafe\u0301", "Café", "tea"])
    assert names.names == ("Café", "tea")
    assert names.merged == {"Café": ["CAFÉ", "Cafe\u0301", "Café"]}
    assert names.of(["cafÉ", "unknown"]) == {0}


def test_wanted_classes_keep_their_order_and_leave_others_out() -> None:
    names = ClassNames(["a", "b", "c"], wanted=["c", "a"])
    assert names.names == ("c", "a")
    assert names.of(["b"]) == set()
    assert names.of(["a", "C"]) == {0, 1}


def test_control_and_direction_characters_do_not_make_another_class() -> None:
    names = ClassNames(["dog\n", "\u202edog", "d\u200bog"])
    assert names.names == ("dog",)


@given(st.lists(NAMES, min_size=1, max_size=20))
def test_folders_are_safe_and_unlike_for_unlike_names(tmp_names: list[str]) -> None:
    folders = {name: folder_name(name) for name in tmp_names}
    for folder in folders.values():
        assert Path("base", folder).parent == Path("base")
        assert folder not in {"", ".", ".."}
        assert len(folder.encode()) <= 255
        assert not set(folder) & set('/\\:*?"<>|\n\r\t')
    assert len({f.casefold() for f in folders.values()}) >= len({n.casefold() for n in folders})


@pytest.mark.parametrize("name", ["..", ".", "a/b", "a\nb", "CON?", "שלום", "🐕", ""])
def test_odd_names_become_folders(name: str) -> None:
    folder = folder_name(name)
    assert folder and "/" not in folder and folder not in {".", ".."}


def test_near_copies_join_the_groups_of_their_authors() -> None:
    keys = ["ann", "ann", "bob", "cid", "dan"]
    group, names = groups_of(keys, np.array([[1, 2], [2, 3]]))
    assert group[0] == group[1] == group[2] == group[3] != group[4]
    assert names[group[0]] == "ann"
    assert names[group[4]] == "dan"
    assert groups_of([], np.empty((0, 2), np.int64))[1] == []


@st.composite
def _worlds(draw: st.DrawFn) -> tuple[list[str], np.ndarray, int]:
    n, classes = draw(st.integers(1, 40)), draw(st.integers(1, 4))
    sizes = draw(st.lists(st.integers(1, 6), min_size=n * classes, max_size=n * classes))
    return [f"g{i}" for i in range(n)], np.array(sizes).reshape(n, classes), draw(st.integers(0, 9))


@given(_worlds(), st.randoms(use_true_random=False))
def test_parts_hang_on_names_alone_and_never_move(world: tuple, shuffle) -> None:  # type: ignore[no-untyped-def, type-arg]
    names, counts, seed = world
    shares = (0.8, 0.1, 0.1)
    part = deal(names, counts, shares, before={}, seed=seed)
    order = list(range(len(names)))
    shuffle.shuffle(order)
    again = deal([names[i] for i in order], counts[order], shares, before={}, seed=seed)
    assert again.tolist() == part[order].tolist()
    known = dict(zip(names, part.tolist(), strict=True))
    grown = deal(
        [*names, "new"], np.concatenate([counts, counts[:1]]), shares, before=known, seed=seed
    )
    assert grown[:-1].tolist() == part.tolist()


def test_parts_have_their_shares_of_every_class_over_many_nights() -> None:
    rng = np.random.default_rng(0)
    names = [f"author {i}" for i in range(600)]
    counts = rng.multinomial(5, [0.6, 0.3, 0.1], size=600)
    before: dict[str, int] = {}
    for night in range(1, 7):  # 100 new authors a night
        seen = names[: night * 100]
        part = deal(seen, counts[: night * 100], (0.7, 0.1, 0.2), before=before, seed=3)
        before = dict(zip(seen, part.tolist(), strict=True))
    for number, share in enumerate((0.7, 0.1, 0.2)):
        got = counts[part == number].sum(axis=0) / counts.sum(axis=0)
        np.testing.assert_allclose(got, share, atol=0.02)


def test_a_part_without_a_share_gets_nothing() -> None:
    counts = np.zeros((9, 3), np.int64)  # the last group holds no picture of a known class
    counts[np.arange(8), np.arange(8) % 3] = 1
    names = [f"g{at}" for at in range(9)]
    part = deal(names, counts, (0.75, 0.0, 0.25), before={}, seed=1)
    assert set(part.tolist()) == {0, 2}
