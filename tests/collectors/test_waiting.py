"""Waiting is said, shown and remembered; a host that refuses is asked by one call at a time."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import itertools
import re
import sqlite3
import time
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from test_bad_input import QUICK
from test_tokens import Simple

from collectors.budgets.buckets import BucketSpec
from collectors.budgets.door import TROUBLED, Door, waiting_line
from collectors.budgets.pool import Pool
from collectors.crawling import neighbours
from collectors.crawling.client import Client, Limits, open_session
from collectors.crawling.journal import Journal
from collectors.overview import budgets
from collectors.platforms.base import Request
from collectors.tokens.store import TokenStore, new_token
from likewise.commands.tokens import command as tokens_command
from likewise.config import Source, render


class Busy:
    """A server that answers in 30 ms and notes how many calls are inside with each one."""

    def __init__(self, status: int = 429, refusals: int = 4, retry_after: str = "2") -> None:
        self.status, self.refusals, self.retry_after = status, refusals, retry_after
        self.inside, self.log = 0, []  # type: int, list[tuple[float, int, bool]]

    async def answer(self, _: web.Request) -> web.Response:
        self.inside += 1
        started, among, refuse = time.monotonic(), self.inside, self.refusals > 0
        self.refusals -= 1
        self.log.append((started, among, refuse))
        await asyncio.sleep(0.03)
        self.inside -= 1
        if refuse:
            headers = {"Retry-After": self.retry_after}
            return web.json_response({"error": "slow"}, status=self.status, headers=headers)
        return web.json_response({"ok": True})


async def calls(
    busy: Busy,
    n: int,
    journal: Journal | None = None,
    limits: Limits = QUICK,
    **source: object,
) -> Pool:
    """Make n calls at once; returns the pool that they went through."""
    app = web.Application()
    app.router.add_get("/", busy.answer)
    async with TestServer(app) as server, open_session(20, QUICK, "") as session:
        url = str(server.make_url("")).rstrip("/")
        platform = Simple(url, {"anonymous": [BucketSpec("b", 1000, 60.0)]})
        platform.source = Source(platform="simple", host=url, **source)
        pool = Pool(platform, [])
        client = Client(session, pool, asyncio.Semaphore(20), journal, limits)
        await asyncio.gather(*(client.call(Request("/")) for _ in range(n)))
    return pool


async def test_after_a_429_one_call_goes_alone_until_it_is_answered(
    capsys: pytest.CaptureFixture[str],
) -> None:
    busy = Busy()
    await calls(busy, 16)
    first = min(t for t, _, refused in busy.log if refused)
    later = [(t, among) for t, among, _ in busy.log if t > first + 1.5]
    assert later[0][1] == 1
    alone = [t for t, among in later if among == 1]
    # The second one starts only once the first has been answered.
    assert sorted(t for t, _ in later)[1] - alone[0] >= 0.03
    assert max(among for _, among in later) > 1, "then the others follow side by side"
    said = re.findall(r"waiting until \d\d:\d\d: host 127\.0\.0\.1:\d+ allows no more calls",
                      capsys.readouterr().err)  # fmt: skip
    assert 1 <= len(said) <= 2, "once for each minute"


async def test_a_reset_that_has_passed_is_not_a_whole_window() -> None:
    busy = Busy(refusals=1, retry_after="0")
    async with asyncio.timeout(20):  # the window is a minute
        await calls(busy, 1)
    assert len(busy.log) == 2


async def test_a_server_whose_resets_have_always_passed_is_asked_more_and_more_rarely() -> None:
    busy = Busy(refusals=6, retry_after="0")
    await calls(busy, 1)
    times = [t for t, _, _ in busy.log]
    pauses = [after - before for before, after in itertools.pairwise(times)]
    assert [p >= QUICK.first_pause_s * 2**n for n, p in enumerate(pauses)] == [True] * 6


async def test_a_host_that_fails_again_and_again_is_asked_by_one_call() -> None:
    busy = Busy(status=503, refusals=12, retry_after="0.05")
    await calls(busy, 12)
    after = busy.log[12:]
    assert after[0][1] == 1
    assert busy.log[-1][1] >= 1


async def test_calls_at_once_can_be_limited_for_a_host() -> None:
    busy = Busy(refusals=0)
    await calls(busy, 20, at_once=3)
    assert max(among for _, among, _ in busy.log) == 3


async def test_calls_a_second_can_be_limited_for_a_host() -> None:
    busy = Busy(refusals=0)
    await calls(busy, 8, requests_per_second=20)
    times = sorted(t for t, _, _ in busy.log)
    assert times[-1] - times[0] >= 0.9 * 7 / 20
    assert times[-1] - times[0] < 5


async def test_a_restart_remembers_what_was_shut(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    with Journal(path) as journal:
        await calls(Busy(refusals=1, retry_after="1"), 1, journal)
        lease_until = time.time() + 3000
        journal.budgets.note_shut("b", lease_until, time.time())
    with Journal(path) as journal:
        platform = Simple("http://h.example", {"anonymous": [BucketSpec("b", 1000, 60.0)]})
        pool = Pool(platform, [])
        pool.restore(journal.budgets.calls(), journal.budgets.shut())
        assert pool.bucket("b").ready_at(pool.clock()) == pytest.approx(lease_until)
        assert pool.door.alone
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(pool.acquire("call"), 0.05)


def test_what_a_wrong_clock_has_shut_is_not_shut_for_a_day(tmp_path: Path) -> None:
    """A refusal while the clock was a day ahead, for 300 s; then the clock is set right."""
    now = time.time()
    with Journal(tmp_path / "journal.sqlite") as journal:
        journal.budgets.note_shut("ahead", now + 86_400 + 300, now + 86_400)
        journal.budgets.note_shut("behind", now - 86_400 + 300, now - 86_400)
        journal.budgets.note_shut("right", now + 5000, now - 10)
    expected = {"ahead": pytest.approx(now + 300, abs=5), "right": pytest.approx(now + 5000)}
    _, theirs = neighbours._spent([tmp_path / "journal.sqlite"])
    assert theirs == expected  # what another study is told of it
    for _ in range(2):  # the second look does not begin anew
        with Journal(tmp_path / "journal.sqlite") as journal:
            found = journal.budgets.shut()
        assert found == expected


def test_a_journal_of_before_keeps_what_was_shut(tmp_path: Path) -> None:
    path, until = tmp_path / "journal.sqlite", time.time() + 900
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE shut (bucket TEXT PRIMARY KEY, until REAL NOT NULL) WITHOUT ROWID")
        db.execute("INSERT INTO shut VALUES ('b', ?)", (until,))
        db.commit()
    with Journal(path) as journal:
        assert journal.budgets.shut() == {"b": until}


async def test_a_long_pause_of_a_busy_server_holds_for_every_call(tmp_path: Path) -> None:
    with Journal(tmp_path / "journal.sqlite") as journal:
        busy = Busy(status=503, refusals=1, retry_after="500")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(calls(busy, 1, journal, limits=Limits()), 0.5)
    with Journal(tmp_path / "journal.sqlite") as journal:
        [until] = journal.budgets.shut().values()
    assert until == pytest.approx(time.time() + 500, abs=5)


async def test_a_429_without_any_budget_shuts_the_host(tmp_path: Path) -> None:
    with Journal(tmp_path / "journal.sqlite") as journal:
        pool = Pool(Simple("http://h.example", {"anonymous": []}), [])
        client_lease = await pool.acquire("call")
        pool.block(client_lease, pool.clock() + 3000)
        pool.settle(client_lease)
        for key, until in pool.shut().items():
            journal.budgets.note_shut(key, until, pool.clock())
    with Journal(tmp_path / "journal.sqlite") as journal:
        again = Pool(Simple("http://h.example", {"anonymous": []}), [])
        again.restore([], journal.budgets.shut())
        assert again.door.ready_at(again.clock()) > again.clock() + 2900


def test_tokens_show_what_is_waited_for(tmp_path: Path) -> None:
    source = {"platform": "mastodon", "host": "https://x.example", "permission": "p", "tags": ["x"]}
    toml = render({"collect": {"sources": [source]}})
    (tmp_path / "likewise.toml").write_text(toml, encoding="utf-8")
    TokenStore().put(new_token("mastodon", "x.example", {"access_token": "t"}, user="7"))
    until = float(int(time.time()) + 1000)  # what is shown has whole seconds
    with Journal(tmp_path / "journal.sqlite") as journal:
        journal.budgets.note_shut("x.example/user/7/paged", until, time.time())
    rows = {row["bucket"]: row["waiting_until"] for row in budgets(tmp_path)}
    assert rows["x.example/user/7"] is None
    told = dt.datetime.fromisoformat(rows["x.example/user/7/paged"]).timestamp()
    assert told == pytest.approx(until, abs=1)
    shown = CliRunner().invoke(tokens_command, [str(tmp_path)])
    assert shown.output.count(waiting_line("x.example", until)) == 1


def test_the_line_names_the_minute_that_has_come_to_an_end() -> None:
    noon = dt.datetime.now().astimezone().replace(hour=11, minute=12, second=5, microsecond=0)
    assert waiting_line("h.example", noon.timestamp()) == (
        "waiting until 11:13: host h.example allows no more calls"
    )
    tomorrow = noon + dt.timedelta(days=1)
    assert f"{tomorrow:%Y-%m-%d} 11:13" in waiting_line("h.example", tomorrow.timestamp())


EVENTS = st.lists(st.sampled_from(["enter", "answer", "fail", "refuse"]), min_size=1, max_size=60)


@given(EVENTS, st.integers(1, 5))
def test_never_more_inside_than_allowed(events: list[str], most: int) -> None:
    door = Door("h", at_once=most, say=lambda _: None)
    now, inside = 0.0, []  # type: float, list[float]
    failures, alone_since = 0, None
    for event in events:
        now += 1.0
        if event == "enter":
            if door.ready_at(now) <= now:
                door.enter(now)
                inside.append(now)
        elif inside:
            started = inside.pop(0)
            door.leave()
            if event == "answer":
                door.answered(started)
                failures = 0
                alone_since = (
                    None if alone_since is not None and started >= alone_since else alone_since
                )
            elif event == "fail":
                door.failed(now)
                failures += 1
                alone_since = now if failures >= TROUBLED and alone_since is None else alone_since
            else:
                door.shut(now, now, whole=False)
                alone_since = now
        assert door.inside == len(inside) <= most
        assert door.alone == (alone_since is not None)
        assert (door.ready_at(now) == now) == (len(inside) < (1 if door.alone else most))
