"""Rate-limit buckets against servers that are simulated exactly, and against the lower bound."""

from __future__ import annotations

import heapq
import math
import random

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
