"""Readings of authors against a plain search through a list."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from filters.readings import ROW, Readings

# Few keys, so that authors of the same 64 bits and different 32 bits are common.
one_row = st.tuples(
    st.integers(0, 5).map(lambda k: k << 61),
    st.integers(0, 2),
    st.booleans(),
    st.integers(0, 30),
    st.integers(-1, 4),
)
rows_and_questions = st.tuples(st.lists(one_row, max_size=60), st.lists(st.integers(-5, 35)))


def nearest(rows: list[Any], author: tuple[int, int], at: int) -> tuple[int, int] | None:
    """(moment, count): least gap, then the earlier, then the smaller."""
    own = [
        (abs(t - at), t, n) for key, check, known, t, n in rows if known if (key, check) == author
    ]
    return min(own)[1:] if own else None


@given(rows_and_questions)
def test_find_latest_and_nearest(case: tuple[list[Any], list[int]]) -> None:
    rows, moments = case
    readings = Readings.of(np.array(rows, ROW))
    there = {(key, check) for key, check, *_ in rows}
    asked = [(key << 61, check) for key in range(7) for check in range(3)]
    number = readings.find(
        np.array([key for key, _ in asked], np.uint64),
        np.array([check for _, check in asked], np.uint32),
    )
    assert [n >= 0 for n in number.tolist()] == [author in there for author in asked]
    for author, n in zip(asked, number.tolist(), strict=True):
        if n < 0:
            continue
        of_author = np.full(len(moments), n)
        places = readings.nearest(of_author, np.array(moments, np.int64)).tolist()
        for at, place in zip(moments, places, strict=True):
            found = None if place < 0 else (readings.at[place], readings.count[place])
            assert found == nearest(rows, author, at)
        last = nearest(rows, author, 10**9)
        latest = readings.latest(np.array([n]))[0]
        assert np.isnan(latest) if last is None else latest == last[1]


def some_rows(n: int) -> NDArray[Any]:
    rng = np.random.default_rng(2)
    rows = np.empty(n, ROW)
    rows["key"] = rng.choice(rng.integers(0, 2**64, 200, dtype=np.uint64), n)
    rows["check"], rows["known"] = 7, rng.random(n) < 0.8
    rows["at"], rows["count"] = rng.integers(0, 100, n), rng.integers(0, 1000, n)
    return rows


@pytest.mark.parametrize("n", [0, 1000])
def test_ranges_joined_on_disk_are_the_whole(tmp_path: Path, n: int) -> None:
    rows = some_rows(n)
    whole = Readings.of(rows)
    folders = []
    for number in range(4):
        folders.append(tmp_path / str(number))
        Readings.of(rows[rows["key"] >> np.uint64(62) == number]).save(folders[-1])
    Readings.join(folders, tmp_path / "all")
    joined = Readings.load(tmp_path / "all")
    for name in ("key", "check", "first", "at", "count"):
        assert (getattr(joined, name) == getattr(whole, name)).all()
        assert getattr(joined, name).shape == getattr(whole, name).shape
