"""A clock of ours that is wrong: windows and resets are reckoned by the server's clock."""

from __future__ import annotations

import asyncio
import datetime as dt
import heapq
import math
import random
import time
from collections import Counter
from collections.abc import Callable
from email.utils import formatdate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_bad_input import QUICK, Free, Scripted, http

from collectors.budgets.buckets import Bucket, BucketSpec, Correction
from collectors.budgets.pool import Pool
from collectors.budgets.skew import Skew
from collectors.crawling.client import Client, Limits, open_session
from collectors.platforms.base import Answer, Outcome, Request
from collectors.platforms.bluesky import Bluesky
from collectors.platforms.mastodon import Mastodon
from collectors.tokens.store import Token
from likewise.config import Source

NOW = 1_700_000_000.0
SHORT = settings(max_examples=60, deadline=None)


def dated(moment: float) -> dict[str, str]:
    return {"date": formatdate(math.floor(moment), usegmt=True)}


# -- the estimate -----------------------------------------------------------------------------


@SHORT
@given(
    skew=st.floats(-1e6, 1e6), seed=st.integers(0, 10**6), latency=st.floats(0.001, 1.0),
    answers=st.integers(1, 50),
)  # fmt: skip
def test_the_guess_is_wrong_by_a_second_and_a_latency_at_most(
    skew: float, seed: int, latency: float, answers: int
) -> None:
    draw = random.Random(seed)
    found, now = Skew(), NOW
    for _ in range(answers):
        now += draw.uniform(0, 3)
        sent, made, came = now, now + draw.uniform(0, latency), now + latency
        found.note(dated(made + skew), sent, came)
    assert abs(found.seconds - skew) <= 1 + latency + 1e-3


@SHORT
@given(seed=st.integers(0, 10**6))
def test_equal_clocks_are_found_equal(seed: int) -> None:
    draw = random.Random(seed)
    found = Skew()
    for _ in range(50):
        sent = NOW + draw.uniform(0, 1000)
        found.note(dated(sent + 0.1), sent, sent + 0.2)
        assert found.seconds == 0.0


def test_a_clock_that_is_set_is_noticed() -> None:
    found = Skew()
    for skew in (0.0, 7200.0, -30.0, 0.0):
        for second in range(5):
            found.note(dated(NOW + second + skew), NOW + second - 0.1, NOW + second + 0.1)
        assert abs(found.seconds - skew) < 1.0


@pytest.mark.parametrize(
    "headers",
    [{}, {"date": "yesterday"}, {"date": ""}, {"date": "Mon, 99 Foo 2020 00:00:00 GMT"},
     {**dated(NOW + 500), "age": "500"}],
)  # fmt: skip
def test_answers_that_tell_no_time(headers: dict[str, str]) -> None:
    found = Skew()
    found.note(headers, NOW, NOW + 0.1)
    assert found.seconds == 0.0


# -- windows of the server's wall clock -------------------------------------------------------


def crawl(bucket: Bucket, calls: int, slots: int, skew: float, seed: int) -> Counter[int]:
    """Calls in each window of a server whose clock is ahead; every answer carries its date."""
    draw = random.Random(seed)
    found, now, sent = Skew(), NOW + draw.uniform(0, 300), 0
    flying: list[tuple[float, int, float, float]] = []
    windows: Counter[int] = Counter()
    while sent < calls or flying:
        ready = bucket.ready_at(now)
        if sent < calls and len(flying) < slots and ready <= now:
            bucket.reserve(sent, now)
            counted, answered = sorted(now + draw.uniform(0.01, 0.9) for _ in range(2))
            windows[math.floor((counted + skew) / bucket.spec.period)] += 1
            heapq.heappush(flying, (answered, sent, now, counted))
            sent += 1
            continue
        moments = [flying[0][0]] if flying else []
        moments += [ready] if sent < calls and len(flying) < slots else []
        now = max(now, min(moments))
        while flying and flying[0][0] <= now:
            answered, ticket, started, counted = heapq.heappop(flying)
            found.note(dated(counted + skew), started, answered)
            bucket.shift(found.seconds, answered)
            bucket.settle(ticket, answered)
    return windows


@SHORT
@given(
    skew=st.one_of(st.floats(-7200, 7200), st.sampled_from([-150.0, 0.0, 2.5, 150.0, 3e7])),
    seed=st.integers(0, 10**6),
    limit=st.integers(1, 40),
    slots=st.integers(1, 30),
)
def test_windows_turn_by_the_server_s_clock(skew: float, seed: int, limit: int, slots: int) -> None:
    calls = 4 * limit
    windows = crawl(BucketSpec("b", limit, 300.0, "fixed").open(), calls, slots, skew, seed)
    assert max(windows.values()) <= limit
    # And no window is lost: the last call falls into the fourth that was used, or the fifth.
    assert max(windows) - min(windows) <= 4 + slots // limit


def test_without_the_date_a_wrong_clock_would_overspend() -> None:
    bucket = BucketSpec("b", 10, 300.0, "fixed").open()
    bucket.shift = lambda skew, now: None  # type: ignore[method-assign]
    assert max(crawl(bucket, 40, 5, 150.0, 1).values()) > 10


def test_calls_of_an_earlier_run_are_counted_anew_when_the_clock_is_found_wrong() -> None:
    bucket = BucketSpec("b", 10, 300.0, "fixed").open()
    now = 300_000.0 + 100.0
    bucket.restore([now - 150.0] * 4 + [now - 50.0] * 3, now)
    assert bucket.remaining(now) == 7
    # By the server's clock the window began 200 seconds ago, not 100.
    bucket.shift(100.0, now)
    assert bucket.remaining(now) == 3
    bucket.shift(-50.0, now)
    assert bucket.remaining(now) == 7
    assert bucket.resets_at(now) == pytest.approx(now + 250.0, abs=bucket.slack + 1e-6)


# -- resets -----------------------------------------------------------------------------------


@pytest.mark.parametrize("skew", [-500.0, 0.0, 500.0])
def test_resets_are_told_by_the_server_s_clock(skew: float) -> None:
    reset = NOW + skew + 120
    when = dt.datetime.fromtimestamp(reset, dt.UTC).isoformat()
    mastodon = Mastodon(Source(platform="mastodon", host="https://h.example"))
    bluesky = Bluesky(Source(platform="bluesky", host="https://h.example"))
    headers = {"x-ratelimit-limit": "7", "x-ratelimit-remaining": "0", "x-ratelimit-reset": when}
    answer = Answer(429, headers, received=NOW, skew=skew)
    assert mastodon.judge(answer).until == pytest.approx(NOW + 120)
    [shut] = mastodon.corrections(answer, mastodon.buckets(None, "call")[:1])
    assert shut.blocked_until == pytest.approx(NOW + 120)
    headers = {"ratelimit-remaining": "0", "ratelimit-reset": str(int(reset))}
    answer = Answer(429, headers, received=NOW, skew=skew)
    assert bluesky.judge(answer).until == pytest.approx(NOW + 120)
    [lowered] = bluesky.corrections(answer, bluesky.buckets(None, "call"))
    assert lowered == Correction(lowered.key, 0, pytest.approx(NOW + 120))
    dated_end = {"retry-after": formatdate(int(reset), usegmt=True)}
    assert bluesky.judge(Answer(429, dated_end, received=NOW, skew=skew)).until == NOW + 120
    busy = bluesky.judge(Answer(503, {"retry-after": "120"}, received=NOW, skew=skew))
    assert (busy.outcome, busy.until) == (Outcome.RETRY, NOW + 120)


class Windowed(Free):
    """Windows of five minutes by the wall clock."""

    def buckets(self, token: Token | None, kind: str) -> list[BucketSpec]:
        return [BucketSpec("b", 1000, 300.0, "fixed")]


async def throttled_once(ahead: float, reset: Callable[[float], str]) -> tuple[Client, float]:
    """A client after one 429 by a server whose clock is ahead; and how long it waited."""
    answers = []

    def script(path: str, headers: dict[str, str]) -> bytes:
        there = time.time() + ahead
        date = {"Date": formatdate(int(there), usegmt=True)}
        answers.append(path)
        if len(answers) > 1:
            return http([], **date)
        told = {"X_RateLimit_Limit": "7", "X_RateLimit_Remaining": "0"}
        told["X_RateLimit_Reset"] = reset(there)
        return http({"error": "slow"}, status="429 X", **told, **date)

    async with Scripted(script) as url, open_session(1, QUICK, "") as session:
        platform = Windowed(Source(platform="mastodon", host=url))
        client = Client(session, Pool(platform, []), asyncio.Semaphore(1), limits=Limits())
        started = time.monotonic()
        await asyncio.wait_for(client.call(Request("/")), 20)
        return client, time.monotonic() - started


@pytest.mark.parametrize("ahead", [-86_400.0, 3_600.0])
async def test_a_client_with_a_wrong_clock_waits_as_long_as_it_is_told(ahead: float) -> None:
    def soon(there: float) -> str:
        return dt.datetime.fromtimestamp(there + 1.5, dt.UTC).isoformat()

    client, waited = await throttled_once(ahead, soon)
    assert client.counters == {"calls": 2, "http_429": 1, "clocks_differ": 1}
    assert waited < 10
    assert abs(client.pool.skew.seconds - ahead) < 2


async def test_a_reset_in_another_age_is_not_believed() -> None:
    """Milliseconds for seconds, say: the bucket would stay shut for fifty thousand years."""
    headers = {"ratelimit-remaining": "5", "ratelimit-reset": str(int(NOW * 1000))}
    platform = Bluesky(Source(platform="bluesky", host="https://h.example"))
    async with open_session(1, QUICK, "") as session:
        client = Client(session, Pool(platform, []), asyncio.Semaphore(1))
        verdict = platform.judge(Answer(429, headers, received=client.pool.clock()))
        lease = await client.pool.acquire("call")
        specs = platform.buckets(None, "call")
        answer = Answer(429, headers, received=client.pool.clock())
        client.pool.settle(lease, client._believed(platform.corrections(answer, specs)))
        client._throttled(lease, verdict, 1)
        now = client.pool.clock()
        assert now < client.pool.bucket(specs[0].key).ready_at(now) < now + 301
    assert client.counters == {"reset_implausible": 2}


@pytest.mark.parametrize("word", ["nan", "inf", "-inf", "soon", ""])
def test_rate_limit_headers_that_are_no_numbers(word: str) -> None:
    platform = Bluesky(Source(platform="bluesky", host="https://h.example"))
    names = ("ratelimit-limit", "ratelimit-remaining", "ratelimit-reset", "retry-after")
    answer = Answer(429, dict.fromkeys(names, word), received=NOW)
    assert platform.corrections(answer, platform.buckets(None, "call")) == []
    assert platform.judge(answer).outcome is Outcome.THROTTLED
