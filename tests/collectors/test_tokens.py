"""The pool: shared budgets, restarts, renewals, and what ``likewise tokens`` shows."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest
from blockbuster import BlockBuster
from click.testing import CliRunner
from test_bad_input import QUICK, Scripted, http

from collectors.budgets.buckets import BucketSpec
from collectors.budgets.pool import Pool
from collectors.crawling.client import Client, open_session
from collectors.crawling.journal import Journal
from collectors.overview import budgets
from collectors.platforms.base import Answer, Chain, Outcome, Page, Platform, Request, Verdict
from collectors.tokens.store import Token, TokenStore, new_token
from likewise.commands.tokens import command as tokens_command
from likewise.config import Source, render
from likewise.errors import CredentialsError


class Simple(Platform):
    """A platform of one call; its buckets are given."""

    name = "simple"

    def __init__(self, url: str, specs: dict[str, list[BucketSpec]]) -> None:
        super().__init__(Source(platform="simple", host=url))
        self.specs = specs

    def plan(self, lo: int | None, hi: int) -> list[Chain]:
        return []

    def page(self, chain: Chain, cursor: str | None) -> Request:
        return Request("/")

    def read_page(self, chain: Chain, cursor: str | None, answer: Answer) -> Page:
        return Page()

    def buckets(self, token: Token | None, kind: str) -> list[BucketSpec]:
        return self.specs["anonymous" if token is None else token.id]

    def renewal(self, token: Token) -> Request | None:
        return Request("/renew", method="POST") if "refresh" in token.secret else None

    def renewed(self, token: Token, answer: Answer) -> dict[str, str] | None:
        return {**token.secret, "access_token": "fresh"} if answer.status == 200 else None

    def judge(self, answer: Answer) -> Verdict:
        expired = isinstance(answer.body, dict) and answer.body.get("error") == "ExpiredToken"
        return Verdict(Outcome.TOKEN, "expired") if expired else super().judge(answer)


def token(name: str, **secret: str) -> Token:
    return Token(name, "simple", "h", secret={"access_token": name, **secret})


async def test_tokens_that_share_a_bucket_share_its_budget() -> None:
    shared = [BucketSpec("all", 5, 60.0)]
    pool = Pool(Simple("http://h", {"a": shared, "b": shared}), [token("a"), token("b")])
    leases = [await pool.acquire("call") for _ in range(5)]
    assert {lease.token.id for lease in leases if lease.token} == {"a", "b"}
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(pool.acquire("call"), 0.05)


async def test_tokens_of_their_own_add_up() -> None:
    specs = {name: [BucketSpec(name, 3, 60.0), BucketSpec("ip", 5, 60.0)] for name in "ab"}
    pool = Pool(Simple("http://h", specs), [token("a"), token("b")])
    for _ in range(5):
        await pool.acquire("call")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(pool.acquire("call"), 0.05)


async def test_a_full_bucket_waits_for_its_window_and_no_longer() -> None:
    pool = Pool(Simple("http://h", {"anonymous": [BucketSpec("b", 3, 0.3)]}), [])
    started = time.monotonic()
    for _ in range(7):
        lease = await pool.acquire("call")
        await pool.pace(lease)
        pool.settle(lease)
    assert 0.6 <= time.monotonic() - started < 5


async def test_waiting_calls_do_not_block_the_loop() -> None:
    blockers = BlockBuster()
    blockers.activate()
    try:
        pool = Pool(Simple("http://h", {"anonymous": [BucketSpec("b", 10, 0.1)]}), [])

        async def one() -> None:
            lease = await pool.acquire("call")
            await pool.pace(lease)
            await asyncio.sleep(0)
            pool.settle(lease)

        await asyncio.gather(*(one() for _ in range(40)))
    finally:
        blockers.deactivate()
    assert pool.calls == {"anonymous": 40}


async def test_an_expired_token_is_renewed_once_by_whoever_notices_first() -> None:
    renewals = 0

    def script(path: str, headers: dict[str, str]) -> bytes:
        nonlocal renewals
        if path == "/renew":
            renewals += 1
            return http({"ok": True})
        if headers["authorization"] == "bearer fresh":
            return http({"ok": True})
        return http({"error": "ExpiredToken"}, status="400 X")

    old = new_token("simple", "h", {"access_token": "old", "refresh": "r"})
    TokenStore().put(old)
    async with Scripted(script) as url, open_session(20, QUICK, "") as session:
        pool = Pool(Simple(url, {old.id: []}), [old])
        client = Client(session, pool, asyncio.Semaphore(20), limits=QUICK)
        await asyncio.gather(*(client.call(Request("/")) for _ in range(20)))
    assert renewals == 1
    assert client.counters["token_renewed"] == 1
    assert TokenStore().all()[0].secret["access_token"] == "fresh"


async def test_a_token_that_stays_expired_is_retired_not_renewed_for_ever() -> None:
    def script(path: str, headers: dict[str, str]) -> bytes:
        return http({"ok": True} if path == "/renew" else {"error": "ExpiredToken"})

    old = token("a", refresh="r")
    async with Scripted(script) as url, open_session(4, QUICK, "") as session:
        pool = Pool(Simple(url, {"a": []}), [old])
        client = Client(session, pool, asyncio.Semaphore(4), limits=QUICK)
        with pytest.raises(CredentialsError, match="a: expired"):
            await asyncio.wait_for(client.call(Request("/")), 10)
    assert pool.retired == {"a": "expired: ExpiredToken"}


async def test_no_token_goes_over_an_unencrypted_line() -> None:
    async with open_session(1, QUICK, "") as session:
        pool = Pool(Simple("http://far.example", {"a": []}), [token("a")])
        client = Client(session, pool, asyncio.Semaphore(1), limits=QUICK)
        with pytest.raises(CredentialsError, match="not encrypted"):
            await client.call(Request("/"))


async def test_a_restart_does_not_spend_a_budget_twice(tmp_path: Path) -> None:
    specs = {"anonymous": [BucketSpec("b", 10, 60.0)]}
    with Journal(tmp_path / "journal.sqlite") as journal:
        pool = Pool(Simple("http://h", specs), [])
        for n in range(6):
            lease = await pool.acquire("call")
            number = journal.budgets.call_started(lease)
            if n:
                journal.budgets.call_ended(number, pool.clock())
    with Journal(tmp_path / "journal.sqlite") as journal:
        again = Pool(Simple("http://h", specs), [])
        again.restore(await journal.run(journal.budgets.calls))
        assert again.bucket("b").remaining(again.clock()) == 4


def test_what_likewise_tokens_shows(tmp_path: Path) -> None:
    source = {"platform": "mastodon", "host": "https://x.example", "permission": "p", "tags": ["x"]}
    toml = render({"collect": {"sources": [source]}})
    (tmp_path / "likewise.toml").write_text(toml, encoding="utf-8")
    made = new_token("mastodon", "x.example", {"access_token": "hidden-value"}, user="7")
    TokenStore().put(made)
    rows = budgets(tmp_path)
    assert [(r["bucket"], r["remaining"]) for r in rows] == [
        ("x.example/user/7", 1500),
        (f"x.example/token/{made.id}", 300),
        ("x.example/user/7/paged", 300),
    ]
    shown = CliRunner().invoke(tokens_command, [str(tmp_path)])
    machine = CliRunner().invoke(tokens_command, [str(tmp_path), "--json"])
    assert made.id in shown.output
    assert json.loads(machine.output)[0]["limit"] == 1500
    assert "hidden-value" not in shown.output + machine.output


def test_a_damaged_journal_is_told_as_such(tmp_path: Path) -> None:
    from likewise.errors import StudyError

    (tmp_path / "journal.sqlite").write_bytes(b"no database at all" * 100)
    with pytest.raises(StudyError, match=r"journal\.sqlite cannot be used"):
        Journal(tmp_path / "journal.sqlite")


async def test_a_failing_write_reaches_whoever_waits(tmp_path: Path) -> None:
    with Journal(tmp_path / "journal.sqlite") as journal:
        with pytest.raises(sqlite3.IntegrityError):
            await journal.run(_broken, journal)
        assert await journal.run(journal.meta, "x", "still alive") == "still alive"


def test_a_loop_that_ends_before_its_jobs_does_not_stop_the_journal(tmp_path: Path) -> None:
    with Journal(tmp_path / "journal.sqlite") as journal:

        async def leave_early() -> None:
            task = asyncio.create_task(journal.run(time.sleep, 0.2))
            await asyncio.sleep(0.02)
            task.cancel()

        asyncio.run(leave_early())
        journal.flush()
        journal.writer.hand_over(journal.set_meta, "x", "still alive")
        journal.flush()
        assert journal.meta("x") == "still alive"


def _broken(journal: Journal) -> Any:
    journal.db.execute("INSERT INTO chains (platform) VALUES (NULL)")
