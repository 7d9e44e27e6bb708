"""When the circuit breaker opens: simulated runs whose true shares are known, and the engine."""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from kept_posts import rows_of
from misbehaving import Misbehaving
from scipy.stats import binom

from collectors.download import download
from collectors.downloading.breaker import Breaker, TooManyFailedError
from likewise.errors import CircuitOpenError, PartialError
from likewise.study import Study

Make = Callable[..., Study]


def run(rows: list[tuple[float, str | None]], breaker: Breaker, at_once: int = 32) -> int | None:
    """Finish ``rows`` (seconds, reason) in the order of their ends; rows done when it opens."""
    ending: list[tuple[float, int, int, str | None]] = []
    now, done = 0.0, 0
    for order, (seconds, reason) in enumerate(rows):
        if len(ending) == at_once:
            now, _, number, ended = heapq.heappop(ending)
            done += 1
            try:
                breaker.count(number, "failed" if ended else "ok", ended)
            except TooManyFailedError:
                return done
        heapq.heappush(ending, (now + seconds, order, breaker.draw(), reason))
    return None


def gone(share: float, n: int, seed: int, slow: float = 1.0) -> list[tuple[float, str | None]]:
    """Pictures of which a share is truly gone: told at once, while the others take ``slow``."""
    chance = random.Random(seed)
    lost = [chance.random() < share for _ in range(n)]
    return [(0.01, "http_404") if one else (slow, None) for one in lost]


@pytest.mark.parametrize("share", [0.7, 0.8, 0.9])
def test_pictures_that_are_truly_gone_stop_nothing(share: float) -> None:
    for seed in range(20):
        assert run(gone(share, 5_000, seed, slow=5.0), Breaker(0.95)) is None


def test_four_hosts_of_which_a_fast_one_is_gone_altogether() -> None:
    chance = random.Random(3)
    hosts = [gone(share, 2_000, seed) for seed, share in enumerate((1.0, 0.7, 0.8, 0.9))]
    rows = [one for host in hosts for one in host]
    chance.shuffle(rows)
    assert run(rows, Breaker(0.95)) is None


def test_a_ban_is_noticed_at_once_and_in_the_middle_of_a_run() -> None:
    banned: list[tuple[float, str | None]] = [(0.1, "http_403")] * 5_000
    first = run(banned, Breaker(0.95))
    assert first is not None and first <= 100
    later = run(gone(0.3, 5_000, 1) + banned, Breaker(0.95))
    assert later is not None and later <= 5_000 + 600


def test_expired_addresses_never_count() -> None:
    expired: list[tuple[float, str | None]] = [(0.1, "expired")] * 2_000
    assert run(expired, Breaker(0.95)) is None
    assert run(expired + gone(0.0, 500, 1), Breaker(0.95)) is None
    mixed = [one for pair in zip(expired, [(0.1, "http_403")] * 2_000, strict=True) for one in pair]
    assert run(mixed, Breaker(0.95)) is not None


def test_two_never_stops() -> None:
    assert run([(0.1, "http_403")] * 2_000, Breaker(2.0)) is None


@pytest.mark.parametrize("share", [0.5, 0.9, 0.95, 1.0])
def test_sure_is_a_binomial_test(share: float) -> None:
    breaker = Breaker(share)
    chance = max(1 - share, 0.01)
    for n in (50, 90, 200, 500):
        for times in range(n // 2, n + 1):
            truth = binom.cdf(n - times, n, chance) < Breaker.DOUBT
            assert breaker._is_sure(times, n) == truth


# -- the engine -------------------------------------------------------------------------------


def test_expired_addresses_at_the_front_block_nothing(
    server: Misbehaving, make_study: Make
) -> None:
    urls = [server.url(f"/status/403?Expires={1_700_000_000 + n}") for n in range(120)]
    urls += [server.url(f"/ok/{n % 7}") for n in range(150)]
    study = make_study(urls, per_host=8)
    with pytest.raises(PartialError) as partial:
        download(study)
    assert not isinstance(partial.value, CircuitOpenError)
    assert Counter(row["error_class"] for row in rows_of(study).values()) == {
        None: 150,
        "expired": 120,
    }


def test_a_study_of_expired_addresses_is_published(server: Misbehaving, make_study: Make) -> None:
    study = make_study([server.url(f"/status/404?Expires={1_700_000_000 + n}") for n in range(30)])
    with pytest.raises(PartialError):
        download(study)
    assert {row["error_class"] for row in rows_of(study).values()} == {"expired"}


def test_nine_in_ten_gone_is_a_result(server: Misbehaving, make_study: Make) -> None:
    urls = [server.url("/status/404")] * 90 + [server.url(f"/ok/{n}") for n in range(10)]
    study = make_study(urls * 3)
    with pytest.raises(PartialError) as partial:
        download(study)
    assert len(partial.value.failures) == 270
    assert study.require("fetches").rows == 300


def test_pictures_are_asked_for_in_a_random_order(server: Misbehaving, make_study: Make) -> None:
    download(make_study([server.url(f"/ok/{n}") for n in range(120)], concurrency=1, per_host=1))
    order = [int(seen.path.rsplit("/", 1)[1]) for seen in server.seen]
    assert sorted(order) == list(range(120))
    correlation = np.corrcoef(order, np.arange(120))[0, 1]
    assert abs(correlation) < 0.3


# -- hosts behind redirects -------------------------------------------------------------------


def test_a_refusal_behind_a_redirect_shuts_the_host_that_refused(
    server: Misbehaving, make_study: Make
) -> None:
    """One host hands out redirects, the other three pictures a second; the first stays open."""
    server.window, server.allowed, server.delay = 1.0, 3, 0.05
    cdn = f"http://localhost:{server.port}"
    urls = [server.url(f"/to?url={cdn}/limited/{n}") for n in range(6)]
    urls += [server.url(f"/ok/{n}") for n in range(100)]
    study = make_study(urls, per_host=4, allow_hosts=["127.0.0.1", "localhost"])
    download(study)
    assert {row["status"] for row in rows_of(study).values()} == {"ok"}
    refused = [seen for seen in server.seen if seen.path.startswith("/limited")]
    good = [seen.at for seen in server.seen if seen.path.startswith("/ok")]
    # A window's requests come together; then nothing is sent there until the window is over, but
    # the host that redirects goes on.
    gaps = [pair for pair in pairwise(one.at for one in refused) if pair[1] - pair[0] > 0.4]
    assert gaps
    assert any(gaps[0][0] < at < gaps[0][1] for at in good), "the redirecting host was shut too"
    assert len(refused) <= 6 + 4 * 2
