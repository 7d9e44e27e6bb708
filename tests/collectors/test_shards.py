"""Parts of published tables: the same rows are found again, and little else is written."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from collectors.crawling.shards import MOST, MOST_SMALL, SMALL, Row, Shard, cut, total

TIMES = st.integers(-(10**6), 10**6)


def rows(times: list[int]) -> list[Row]:
    return [(at, "p", "h", at, f'{{"n": {n}}}') for n, at in enumerate(sorted(times))]


def named(shards: list[Shard]) -> list[str]:
    return [f"{one.stem}-{n:012x}.parquet" for n, one in enumerate(shards)]


def holds(shards: list[Shard], all_rows: list[Row]) -> None:
    """Every row lies in exactly one shard, and the shards say how many they hold."""
    for one in shards:
        assert one.rows == sum(one.low <= row[0] <= one.high for row in all_rows)
    assert sum(one.rows for one in shards) == len(all_rows)
    assert all(a.high < b.low for a, b in itertools.pairwise(shards))


@given(st.lists(TIMES, max_size=60), st.lists(TIMES, max_size=20))
def test_every_row_lies_in_one_shard(first: list[int], more: list[int]) -> None:
    before = cut(rows(first), (), 1)
    holds(before, rows(first))
    both = rows(first + more)
    after = cut(both, named(before), 1)
    holds(after, both)
    assert total(after) == total(cut(both, (), 1)), "however they are cut"


@given(st.lists(TIMES, min_size=1, max_size=60))
def test_the_same_rows_keep_their_parts(times: list[int]) -> None:
    names = named(cut(rows(times), (), 1))
    assert [one.parts[0] for one in cut(rows(times), names, 1)] == names
    assert all(not one.parts for one in cut(rows(times), names, 2)), "another code: all anew"


@given(st.lists(TIMES, min_size=2, max_size=60), st.data())
def test_a_changed_row_costs_its_own_part(times: list[int], data: st.DataObject) -> None:
    all_rows = rows(times)
    n = data.draw(st.integers(0, len(all_rows) - 1))
    names = named(cut(all_rows, (), 1))
    changed = [*all_rows]
    at, *_ = changed[n]
    changed[n] = (at, "p", "h", at, "{}")
    for one in cut(changed, names, 1):
        assert bool(one.parts) != (one.low <= at <= one.high)


def test_a_night_writes_what_is_new_and_parts_stay_few() -> None:
    a_night = SMALL // 3
    everything: list[int] = list(range(3 * MOST))
    parts = named(cut(rows(everything), (), 1))
    assert len(parts) == 3
    written = 0
    for _ in range(40):
        everything += range(everything[-1] + 1, everything[-1] + 1 + a_night)
        shards = cut(rows(everything), parts, 1)
        holds(shards, rows(everything))
        written += sum(one.rows for one in shards if not one.parts)
        fresh = iter(named(shards))
        parts = [
            one.parts[0] if one.parts else name for one, name in zip(shards, fresh, strict=True)
        ]
    assert written <= 3 * 40 * a_night, "each row is written at most three times"
    assert len(parts) <= 3 + MOST_SMALL + 40 * a_night // SMALL


def test_rows_of_one_moment_stay_together() -> None:
    [one] = cut(rows([5] * (2 * MOST)), (), 1)
    assert (one.low, one.high, one.rows) == (5, 5, 2 * MOST)


def test_what_is_named_otherwise_is_no_shard() -> None:
    assert Shard.of("part-0000-0123456789ab.parquet") is None
    assert [one.parts for one in cut(rows([1, 2]), ["part-0000-0123456789ab.parquet"], 1)] == [[]]
