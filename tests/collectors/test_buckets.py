"""Rate-limit buckets against servers that are simulated exactly, and against the lower bound."""

from __future__ import annotations

import heapq
import math
import random
from typing import Literal

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from collectors.budgets.buckets import Bucket, BucketSpec, Correction, lower_bound

SHORT = settings(max_examples=60, deadline=None)


def simulate(
    buckets: list[Bucket],
    calls: int,
    slots: int,
    latency: list[float],
    start: float = 0.0,
    *,
    way: list[float] | None = None,
) -> tuple[list[tuple[int, float, float]], float]:
    """Greedy crawl on a fake clock: (bucket, started, answered) of each call, and the end.

    With ``way``, the share of a call's time after which the server counts it, every answer tells
    what a moving window of the declared length has left at that moment.
    """
    arrivals: dict[int, tuple[int, float]] = {}
    now = start
    flying: list[tuple[float, int, int]] = []
    log: list[tuple[int, float, float]] = []
    sent = 0
    while sent < calls or flying:
        ready = [b.ready_at(now) for b in buckets]
        best = min(range(len(buckets)), key=ready.__getitem__)
        if sent < calls and len(flying) < slots and ready[best] <= now:
            buckets[best].reserve(sent, now)
            answered = now + latency[sent % len(latency)]
            heapq.heappush(flying, (answered, sent, best))
            log.append((best, now, answered))
            if way is not None:
                arrivals[sent] = best, now + way[sent % len(way)] * (answered - now)
            sent += 1
            continue
        moments = [flying[0][0]] if flying else []
        if sent < calls and len(flying) < slots:
            moments.append(ready[best])
        now = max(now, min(moments))
        while flying and flying[0][0] <= now:
            answered, ticket, which = heapq.heappop(flying)
            buckets[which].settle(ticket, answered)
            if way is not None:
                spec, at = buckets[which].spec, arrivals[ticket][1]
                used = [
                    a for w, a in arrivals.values() if w == which and at - spec.period < a <= at
                ]
                left = Correction(spec.key, remaining=spec.limit - len(used))
                buckets[which].correct(left, log[ticket][1], answered)
    return log, now


@SHORT
@given(
    calls=st.integers(1, 300),
    tokens=st.integers(1, 5),
    limit=st.integers(1, 40),
    slots=st.integers(1, 60),
    latency=st.floats(0.001, 0.5),
)
def test_sliding_windows_reach_the_lower_bound(
    calls: int, tokens: int, limit: int, slots: int, latency: float
) -> None:
    spec = BucketSpec("b", limit, 2.0)
    buckets = [spec.open() for _ in range(tokens)]
    _, end = simulate(buckets, calls, slots, [latency])
    longer = spec.period + latency + buckets[0].slack
    assert end == pytest.approx(lower_bound(calls, tokens, limit, longer, slots, latency), abs=1e-6)


@SHORT
@given(seed=st.integers(0, 10**6), limit=st.integers(2, 30), slots=st.integers(1, 3))
def test_a_server_that_tells_what_is_left_of_our_own_calls_costs_no_time(
    seed: int, limit: int, slots: int
) -> None:
    """Its answers travel for longer or shorter than the calls before: no cell is counted twice."""
    draw = random.Random(seed)
    latency = [draw.choice((0.01, 0.02, 0.5)) for _ in range(37)]
    way = [draw.choice((0.0, 0.5, 1.0)) for _ in range(41)]
    silent, _ = simulate([BucketSpec("b", limit, 2.0).open()], 5 * limit, slots, latency)
    told, _ = simulate([BucketSpec("b", limit, 2.0).open()], 5 * limit, slots, latency, way=way)
    assert told == silent


def test_lower_bound_of_the_worked_example() -> None:
    # 100,000 calls, 10 tokens of 5000 an hour, 50 at once, half a second each: worked by hand.
    assert lower_bound(100_000, 10, 5000, 3600, 50, 0.5) == 3600 + 1000 * 0.5


@SHORT
@given(seed=st.integers(0, 10**6), limit=st.integers(1, 30), slots=st.integers(1, 50))
def test_a_server_with_a_moving_window_never_counts_too_many(
    seed: int, limit: int, slots: int
) -> None:
    draw = random.Random(seed)
    latency = [draw.uniform(0.001, 1.5) for _ in range(37)]
    log, _ = simulate([BucketSpec("b", limit, 2.0).open()], 150, slots, latency)
    arrivals = sorted(draw.uniform(started, answered) for _, started, answered in log)
    for first, later in zip(arrivals, arrivals[limit:], strict=False):
        assert later - first > 2.0


@SHORT
@given(
    seed=st.integers(0, 10**6),
    limit=st.integers(1, 30),
    slots=st.integers(1, 50),
    share=st.floats(-1.0, 1.0),
    start=st.floats(0.0, 1e6),
)
@example(seed=0, limit=1, slots=1, share=1.0, start=3.99)
def test_a_server_with_a_wall_clock_window_never_counts_too_many(
    seed: int, limit: int, slots: int, share: float, start: float
) -> None:
    draw = random.Random(seed)
    latency = [draw.uniform(0.001, 1.5) for _ in range(37)]
    bucket = BucketSpec("b", limit, 4.0, "fixed").open()
    log, _ = simulate([bucket], 150, slots, latency, start)
    skew = share * bucket.slack * 0.99
    windows: dict[int, int] = {}
    for _, started, answered in log:
        window = math.floor((draw.uniform(started, answered) + skew) / 4.0)
        windows[window] = windows.get(window, 0) + 1
    assert max(windows.values()) <= limit


def test_a_wall_clock_window_is_used_up_and_then_waits_for_its_turn() -> None:
    bucket = BucketSpec("b", 3, 300.0, "fixed").open()
    for ticket in range(3):
        assert bucket.ready_at(1000.0) == 1000.0
        bucket.reserve(ticket, 1000.0)
        bucket.settle(ticket, 1000.2)
    assert bucket.remaining(1001.0) == 0
    assert bucket.ready_at(1001.0) == pytest.approx(1200.0, abs=bucket.slack + 1e-9)
    assert bucket.remaining(1210.0) == 3


@pytest.mark.parametrize("window", ["sliding", "fixed"])
def test_headers_lower_a_budget_and_never_raise_it(window: str) -> None:
    bucket = BucketSpec("b", 10, 60.0, window).open()  # type: ignore[arg-type]
    for ticket in range(4):
        bucket.reserve(ticket, 601.0)
        bucket.settle(ticket, 601.5)
    bucket.correct(Correction("b", remaining=9), 601.0, 602.0)
    assert bucket.remaining(602.0) == 6
    bucket.correct(Correction("b", remaining=2), 601.0, 602.0)
    assert bucket.remaining(602.0) == 2
    bucket.correct(Correction("b", remaining=-5), 601.0, 602.0)
    assert bucket.remaining(602.0) == 0
    assert 602.0 < bucket.ready_at(602.0) <= 663.0


def test_headers_of_an_earlier_window_are_not_believed() -> None:
    bucket = BucketSpec("b", 10, 60.0, "fixed").open()
    bucket.correct(Correction("b", remaining=0, reset=660.0), started=659.9, now=661.0)
    assert bucket.remaining(661.0) == 10


def test_a_block_holds_until_its_end() -> None:
    bucket = BucketSpec("b", 10, 60.0).open()
    bucket.correct(Correction("b", blocked_until=500.0), 100.0, 100.0)
    bucket.correct(Correction("b", blocked_until=300.0), 100.0, 100.0)
    assert bucket.ready_at(200.0) == 500.0
    assert bucket.ready_at(501.0) == 501.0


@pytest.mark.parametrize("window", ["sliding", "fixed"])
def test_calls_of_an_earlier_run_are_not_spent_twice(window: str) -> None:
    bucket = BucketSpec("b", 10, 60.0, window).open()  # type: ignore[arg-type]
    old, recent, unanswered, future = 500.0, 610.0, None, 99_999.0
    bucket.restore([old, recent, unanswered, future], now=620.0)
    assert bucket.remaining(620.0) == 7


@pytest.mark.parametrize("window", ["sliding", "fixed"])
def test_a_call_that_was_never_sent_costs_nothing(window: str) -> None:
    bucket = BucketSpec("b", 1, 60.0, window).open()  # type: ignore[arg-type]
    bucket.reserve(1, 610.0)
    assert bucket.remaining(610.0) == 0
    bucket.release(1)
    assert bucket.ready_at(610.0) == 610.0


# -- worked by hand ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("window", "period", "slack"),
    [
        ("sliding", 0.5, 0.002), ("sliding", 300.0, 0.6), ("sliding", 3600.0, 1.0),
        ("fixed", 1.0, 0.02), ("fixed", 100.0, 1.0), ("fixed", 3600.0, 2.0),
    ],
)  # fmt: skip
def test_the_slack_is_a_share_of_the_period_within_bounds(
    window: Literal["sliding", "fixed"], period: float, slack: float
) -> None:
    assert BucketSpec("b", 5, period, window).open().slack == pytest.approx(slack, abs=1e-12)


@pytest.mark.parametrize(
    ("reset", "free"), [(None, 110.02), (104.0, 104.02), (500.0, 110.02), (90.0, 100.02)]
)
def test_what_a_server_has_counted_is_free_at_its_reset_and_no_later_than_a_period(
    reset: float | None, free: float
) -> None:
    bucket = BucketSpec("b", 3, 10.0).open()
    bucket.correct(Correction("b", remaining=0, reset=reset), 100.0, 100.0)
    assert bucket.ready_at(100.0) == pytest.approx(free)
    assert bucket.resets_at(100.0) == pytest.approx(free)


def test_cells_that_became_free_during_a_call_are_not_taken_twice() -> None:
    for started, left in ((5.0, 1), (10.5, 0)):  # the first call's cell is free from 10.02 on
        bucket = BucketSpec("b", 2, 10.0).open()
        bucket.reserve(1, 0.0)
        bucket.settle(1, 0.0)
        bucket.reserve(2, started)
        bucket.correct(Correction("b", remaining=0), started, 11.0)
        assert bucket.remaining(11.0) == left


def test_a_sliding_window_of_an_earlier_run() -> None:
    bucket = BucketSpec("b", 2, 100.0).open()
    bucket.restore([1040.0, 1020.0, 949.7], 1050.0)  # the last one's cell is free since 1049.9
    assert bucket.remaining(1050.0) == 0
    assert bucket.ready_at(1050.0) == pytest.approx(1120.2)
    assert bucket.resets_at(1050.0) == pytest.approx(1140.2)
    bucket.settle(7, 1060.0)  # nobody has reserved it
    bucket.release(7)
    assert bucket.resets_at(1060.0) == pytest.approx(1140.2)
    assert bucket.remaining(1130.0) == 1 and bucket.ready_at(1130.0) == 1130.0


def test_calls_in_flight_leave_no_moment_to_wait_for() -> None:
    bucket = BucketSpec("b", 2, 10.0).open()
    bucket.reserve(1, 0.0)
    bucket.reserve(2, 0.0)
    assert bucket.ready_at(1.0) == math.inf
    bucket.settle(2, 3.0)
    assert bucket.ready_at(4.0) == pytest.approx(13.02)
    bucket.release(1)
    assert bucket.ready_at(4.0) == 4.0


def fixed(limit: int = 3) -> Bucket:
    """Windows of a hundred seconds, and a second of slack around their turns."""
    return BucketSpec("b", limit, 100.0, "fixed").open()


def test_no_call_starts_within_the_slack_of_a_turn() -> None:
    bucket = fixed()
    assert bucket.ready_at(999.0) == 999.0
    assert bucket.ready_at(1000.0) == bucket.ready_at(1000.5) == 1001.0
    assert bucket.ready_at(1001.0) == 1001.0
    assert bucket.resets_at(1050.0) == 1050.0  # nothing is used
    for ticket in range(3):
        bucket.reserve(ticket, 1001.0)
    assert bucket.remaining(1050.0) == 0
    assert bucket.ready_at(1050.0) == bucket.resets_at(1050.0) == 1101.0


def test_what_two_windows_may_have_counted_counts_in_both() -> None:
    bucket = fixed(10)
    for ticket, answered in enumerate((1090.0, 1098.9, 1099.5, 1100.5, None)):
        bucket.reserve(ticket, 1050.0)
        if answered is not None:
            bucket.settle(ticket, answered)
    assert bucket.remaining(1100.9) == 5
    # The fourth and the last one were in flight at the turn, the third was answered just before.
    assert bucket.remaining(1101.0) == 7
    bucket.settle(4, 1110.0)
    assert bucket.remaining(1150.0) == 7
    assert bucket.remaining(1201.0) == 10
    assert bucket.remaining(1950.0) == 10


def test_a_fixed_window_of_an_earlier_run() -> None:
    bucket = fixed(10)
    bucket.restore([1020.0, 999.0, 998.9, None, 2000.0], 1050.0)
    assert bucket.remaining(1050.0) == 6
    assert bucket.remaining(1101.0) == 10


def test_a_server_whose_clock_is_ahead_turns_earlier() -> None:
    bucket = fixed()
    for ticket in range(3):
        bucket.reserve(ticket, 1050.0)
        bucket.settle(ticket, 1050.0)
    bucket.shift(5.0, 1060.0)
    assert bucket.resets_at(1060.0) == bucket.ready_at(1060.0) == 1096.0
    bucket.shift(60.0, 1060.0)  # then its window began at 1040, and has counted them
    assert bucket.remaining(1060.0) == 0 and bucket.ready_at(1060.0) == 1141.0
    bucket.shift(45.0, 1060.0)  # and now at 1055
    assert bucket.remaining(1060.0) == 3


@pytest.mark.parametrize(
    ("started", "reset", "left"),
    [
        (1050.0, None, 0), (1050.0, 1100.0, 0), (1050.0, 1101.4, 0), (1050.0, 1101.5, 10),
        (1050.0, 1098.6, 0), (1050.0, 1098.5, 10), (1000.0, None, 0), (999.9, None, 10),
    ],
)  # fmt: skip
def test_a_server_is_believed_about_the_window_that_it_speaks_of(
    started: float, reset: float | None, left: int
) -> None:
    bucket = fixed(10)
    bucket.correct(Correction("b", remaining=0, reset=reset), started, 1060.0)
    assert bucket.remaining(1060.0) == left


def test_only_what_is_over_the_servers_count_is_taken_away() -> None:
    bucket = fixed(10)
    bucket.reserve(1, 1050.0)
    bucket.settle(1, 1051.0)
    for told, left in ((9, 9), (6, 6), (8, 6), (-4, 0)):
        bucket.correct(Correction("b", remaining=told), 1050.0, 1060.0)
        assert bucket.remaining(1060.0) == left
    bucket.release(99)  # nobody has reserved it
    bucket.settle(99, 1060.0)
    assert bucket.remaining(1060.0) == 0
