"""Whose turn it is: pure scheduling over a made-up clock."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from collectors.downloading.turns import LONGEST_WAIT, Turns


def test_never_more_than_allowed_at_once() -> None:
    turns: Turns[int] = Turns(5, 2)
    for number in range(40):
        turns.add(f"h{number % 4}", number)
    running = []
    while turn := turns.take(0.0):
        running.append(turn)
    assert len(running) == 5
    assert all(sum(host == h for host, _ in running) <= 2 for h in ("h0", "h1", "h2", "h3"))


@given(
    st.lists(st.tuples(st.integers(0, 5), st.sampled_from(["ok", "429", "down"])), max_size=80),
    st.integers(1, 8),
    st.integers(1, 4),
)
def test_every_item_comes_out_once_and_limits_hold(
    items: list[tuple[int, str]], total: int, per_host: int
) -> None:
    turns: Turns[int] = Turns(total, per_host, seed=1)
    for number, (host, _) in enumerate(items):
        turns.add(f"h{host}", number)
    now, out, running = 0.0, [], []
    shut: dict[str, float] = {}
    while turns.pending or turns.active:
        while turn := turns.take(now):
            assert now >= shut.get(turn[0], 0.0)
            running.append(turn)
            out.append(turn[1])
        assert len(running) <= total
        assert all(sum(h == host for h, _ in running) <= per_host for host, _ in running)
        if running:
            host, number = running.pop(0)
            what = items[number][1]
            if what == "429":
                turns.shut(host, now, 2.0)
                shut[host] = max(shut.get(host, 0.0), now + 2.0)
            elif what == "down":
                turns.strike(host, now, patience=10_000)
            turns.done(host, success=what == "ok")
            now += 0.1
        else:
            opens = turns.next_time()
            assert opens is not None
            now = max(now, opens)
    assert sorted(out) == list(range(len(items)))


def test_a_shut_host_holds_no_slot() -> None:
    turns: Turns[str] = Turns(1, 1)
    turns.add("slow", "a")
    turns.add("slow", "b")
    turns.add("fast", "c")
    assert turns.take(0.0) == ("slow", "a")
    turns.shut("slow", 0.0, 30.0)
    turns.done("slow", success=False)
    assert turns.take(0.0) == ("fast", "c")
    turns.done("fast", success=True)
    assert turns.take(29.9) is None
    assert turns.next_time() == 30.0
    assert turns.take(30.0) == ("slow", "b")


def test_a_refusing_host_gets_half_as_many_at_once() -> None:
    turns: Turns[int] = Turns(100, 8)
    for number in range(50):
        turns.add("h", number)
    for _ in range(8):
        assert turns.take(0.0)
    assert turns.take(0.0) is None
    turns.shut("h", 0.0, 1.0)
    turns.shut("h", 0.0, 1.0)  # the same window: a second refusal halves nothing more
    for _ in range(8):
        turns.done("h", success=False)
    first = [turns.take(1.0) for _ in range(5)]
    assert sum(turn is not None for turn in first) == 4


def test_waits_are_clamped() -> None:
    turns: Turns[int] = Turns(1, 1)
    turns.add("h", 1)
    turns.take(0.0)
    turns.shut("h", 0.0, 10**9)
    assert turns.next_time() == LONGEST_WAIT


def test_delayed_items_come_when_due() -> None:
    turns: Turns[str] = Turns(1, 1)
    turns.add_later("h", "late", 5.0)
    turns.add_later("h", "later", 7.0)
    assert turns.take(4.9) is None
    assert turns.take(5.0) == ("h", "late")
    turns.done("h", success=True)
    assert turns.take(7.0) == ("h", "later")


def test_items_of_a_host_that_was_given_up_come_out_at_once() -> None:
    turns: Turns[int] = Turns(2, 2)
    for number in range(3):
        turns.add("h", number)
    turns.take(0.0)
    turns.shut("h", 0.0, 100.0)
    turns.give_up("h", "host_down")
    assert turns.take(0.0) == ("h", 1)
    assert turns.given_up("h") == "host_down"
