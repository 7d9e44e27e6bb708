"""A server that answers badly, one fault at a time: nothing crashes, nothing is lost unnamed."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from collectors.budgets.buckets import BucketSpec
from collectors.budgets.pool import Pool
from collectors.crawling.client import MAX_BODY, CallError, Client, Limits, open_session
from collectors.crawling.crawl import Crawl
from collectors.crawling.journal import Journal
from collectors.platforms import fields
from collectors.platforms.base import Answer, Chain, Request
from collectors.platforms.mastodon import Mastodon, Pixelfed
from collectors.platforms.records import Oddities
from collectors.tokens.store import Token
from likewise.config import CollectSection, Source
from likewise.errors import CircuitOpenError, ConfigError, CredentialsError

Script = Callable[[str, dict[str, str]], bytes]
"""From a request's path and headers to the raw bytes of the whole HTTP answer."""

QUICK = Limits(attempts=4, timeout_s=20.0, longest_pause_s=0.02, first_pause_s=0.005)


def http(body: Any, *, status: str = "200 OK", **headers: str) -> bytes:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    names = {"Content-Type": "application/json", "Content-Length": str(len(raw))}
    names |= {name.replace("_", "-"): value for name, value in headers.items()}
    head = "".join(f"{name}: {value}\r\n" for name, value in names.items())
    return f"HTTP/1.1 {status}\r\n{head}Connection: close\r\n\r\n".encode() + raw


class Scripted:
    """A server on loopback whose answers are bytes that a script chooses."""

    def __init__(self, script: Script, hold_s: float = 0.0) -> None:
        self.script = script
        self.hold_s = hold_s
        self.asked: list[str] = []
        self.url = ""
        self._handlers: set[asyncio.Task[Any] | None] = set()

    async def __aenter__(self) -> str:
        self.server = await asyncio.start_server(self._answer, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self.server.sockets[0].getsockname()[1]}"
        return self.url

    async def __aexit__(self, *_: object) -> None:
        self.server.close()
        await self.server.wait_closed()
        await asyncio.gather(*(task for task in self._handlers if task is not None))

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._handlers.add(asyncio.current_task())
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            first, *lines = head.strip().split("\r\n")
            path = first.split(" ")[1]
            headers = dict(line.lower().split(": ", 1) for line in lines)
            sent = await reader.readexactly(int(headers.get("content-length", 0)))
            headers["(body)"] = sent.decode()
            self.asked.append(path)
            writer.write(self.script(path, headers))
            await writer.drain()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(reader.read(), self.hold_s)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


def status(number: int | str, **changes: Any) -> dict[str, Any]:
    account = {"id": "7", "acct": "a", "followers_count": 5, "bot": False, "note": ""}
    media = {"type": "image", "url": "https://h.example/1.jpg"}
    plain = {
        "id": number,
        "created_at": "2024-01-01T00:00:00Z",
        "favourites_count": 3,
        "content": "<p>hello</p>",
        "visibility": "public",
        "account": account,
        "media_attachments": [media],
    }
    return {**plain, **changes}


def link(url: str, after: str) -> str:
    return f'<{url}/api/v1/timelines/tag/x?max_id={after}>; rel="next"'


class Free(Mastodon):
    """A dialect without limits, ids in no order of time."""

    snowflakes = False

    def buckets(self, token: Token | None, kind: str) -> list[BucketSpec]:
        return []


class FreePixelfed(Pixelfed):
    requires_token = False

    def buckets(self, token: Token | None, kind: str) -> list[BucketSpec]:
        return []


async def call(
    script: Script, tokens: list[Token] | None = None, hold_s: float = 0.0
) -> tuple[Any, Counter[str]]:
    """The answer to one call, and the counters of the client; the error when it failed."""
    limits = replace(QUICK, timeout_s=0.1) if hold_s else QUICK
    async with Scripted(script, hold_s) as url, open_session(4, limits, "") as session:
        platform = Free(Source(platform="mastodon", host=url, tags=["x"]))
        client = Client(session, Pool(platform, tokens or []), asyncio.Semaphore(4), limits=limits)
        try:
            return await client.call(Request("/api/v1/timelines/tag/x")), client.counters
        except (CallError, CredentialsError) as error:
            return error, client.counters


CUT = gzip.compress(json.dumps([status("1")] * 50).encode())[:-40]

BOMB = gzip.compress(b"[" + b" " * (MAX_BODY + 1) + b"]")

BAD = {
    "html": http(b"<!DOCTYPE html><h1>busy</h1>", Content_Type="text/html"),
    "broken_json": http(b'[{"id": "1", "acc'),
    "empty_body": http(b""),
    "http_503": http({"error": "x"}, status="503 Busy"),
    "error_in_200": http({"error": "This is not a timeline"}),
    "truncated": http([status("1")], Content_Length="99999"),
    "body_too_large": http(BOMB, Content_Encoding="gzip"),
    "connection": b"",
    "protocol": b"this is not HTTP\r\n\r\n",
}


@pytest.mark.parametrize("reason", BAD)
async def test_a_bad_answer_is_counted_and_asked_again(reason: str) -> None:
    answers = iter([BAD[reason], BAD[reason], http([status("1")])])
    answer, counters = await call(lambda *_: next(answers))
    assert answer.body[0]["id"] == "1"
    assert counters == {"calls": 3, reason: 2}


@pytest.mark.parametrize("reason", BAD)
async def test_a_bad_answer_that_stays_is_a_named_failure(reason: str) -> None:
    error, counters = await call(lambda *_: BAD[reason])
    assert isinstance(error, CallError)
    assert error.reason == reason
    assert counters == {"calls": QUICK.attempts, reason: QUICK.attempts}


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (http(CUT, Content_Encoding="gzip"), "broken_json"),
        (http(b"no gzip at all", Content_Encoding="gzip"), "truncated"),
        (http([status("1")], Content_Length="30"), "protocol"),
        (http([status("1")], Content_Length="many"), "protocol"),
        (http([status("1")], Content_Length="-1"), "protocol"),
        (http(b"\xff\xfe[]"), "broken_json"),
        (http(b"[" * 100_000), "broken_json"),
    ],
)
async def test_bodies_that_are_not_what_their_headers_say(answer: bytes, reason: str) -> None:
    answers = iter([answer, http([status("1")])])
    good, counters = await call(lambda *_: next(answers))
    assert len(good.body) == 1
    assert counters == {"calls": 2, reason: 1}


async def test_a_silent_server_times_out() -> None:
    # An answer whose announced body never comes.
    promise = http(b"", Content_Length="10").replace(b"Connection: close\r\n", b"")
    error, counters = await call(lambda *_: promise, hold_s=1.5)
    assert isinstance(error, CallError)
    assert error.reason == "timeout"
    assert counters["timeout"] == QUICK.attempts


async def test_a_throttled_call_costs_no_attempt_and_waits() -> None:
    loop = asyncio.get_running_loop()
    answers = iter([http({"error": "slow"}, status="429 X", Retry_After="0.2")] * 5)
    started = loop.time()

    class Bucketed(Free):
        def buckets(self, token: Token | None, kind: str) -> list[BucketSpec]:
            return [BucketSpec("b", 100, 1.0)]

    server = Scripted(lambda *_: next(answers, http([])))
    async with server as url, open_session(4, QUICK, "") as session:
        platform = Bucketed(Source(platform="mastodon", host=url))
        limits = Limits(attempts=2)
        client = Client(session, Pool(platform, []), asyncio.Semaphore(1), limits=limits)
        await client.call(Request("/"))
    assert client.counters == {"calls": 6, "http_429": 5}
    assert loop.time() - started >= 1.0


async def test_a_refused_token_is_retired_and_the_other_one_used() -> None:
    def script(path: str, headers: dict[str, str]) -> bytes:
        if headers.get("authorization") == "bearer bad":
            return http({"error": "The access token is invalid"}, status="401 X")
        return http([status("1")])

    tokens = [
        Token(name, "mastodon", "h", secret={"access_token": name}) for name in ("bad", "good")
    ]
    for order in (tokens, tokens[::-1]):
        answer, counters = await call(script, order)
        assert answer.body[0]["id"] == "1"
        assert counters["token_retired"] <= 1
    error, counters = await call(script, tokens[:1])
    assert isinstance(error, CredentialsError)
    assert "likewise auth add" in (error.hint or "")


async def test_the_circuit_opens_when_everything_fails_alike() -> None:
    server = Scripted(lambda *_: http({"error": "banned"}, status="403 X"))
    async with server as url, open_session(4, QUICK, "") as session:
        platform = Free(Source(platform="mastodon", host=url))
        client = Client(session, Pool(platform, []), asyncio.Semaphore(4), limits=QUICK)
        for _ in range(11):
            with pytest.raises(CallError):
                await client.call(Request("/"))
        with pytest.raises(CircuitOpenError, match="http_403") as caught:
            await client.call(Request("/"))
    assert caught.value.exit_code == 3


async def crawl(
    tmp_path: Path, pages: Callable[[str, str], bytes], dialect: type[Mastodon] = Free
) -> tuple[Journal, Crawl, Scripted]:
    """Walk one chain over a scripted server; the journal is left open."""
    server = Scripted(lambda path, _: pages(path, server.url))
    journal = Journal(tmp_path / "journal.sqlite").__enter__()
    async with server as url, open_session(4, QUICK, "") as session:
        platform = dialect(Source(platform="mastodon", host=url, tags=["x"]))
        client = Client(session, Pool(platform, []), asyncio.Semaphore(4), journal, QUICK)
        section = CollectSection()
        await journal.run(journal.chains.add, platform.name, platform.host, [Chain("tag", "x")])
        found = Crawl(client, journal, section)
        await asyncio.wait_for(found.run(), 60)
    return journal, found, server


def ids(journal: Journal) -> list[str]:
    return [row[0] for row in journal.db.execute("SELECT post_id FROM posts ORDER BY post_id")]


async def test_cursors_that_repeat_end_the_chain(tmp_path: Path) -> None:
    turns = {"": "30", "30": "20", "20": "10", "10": "20"}

    def pages(path: str, url: str) -> bytes:
        after = path.partition("max_id=")[2]
        if "accounts" in path:
            return http([])
        return http([status(f"1{after or 40}")], Link=link(url, turns[after]))

    journal, found, server = await crawl(tmp_path, pages)
    assert ids(journal) == ["110", "120", "130", "140"]
    assert journal.counters.of(*found.where)["cursor_repeated"] == 1
    assert len(server.asked) < 20
    journal.__exit__()


async def test_empty_pages_need_not_be_the_end(tmp_path: Path) -> None:
    texts = {"": "30", "30": "20", "20": "10"}

    def pages(path: str, url: str) -> bytes:
        after = path.partition("max_id=")[2]
        if after == "30":
            return http([], Link=link(url, texts[after]))
        if after in texts:
            return http([status(f"1{after}")], Link=link(url, texts[after]))
        return http([])

    journal, found, _ = await crawl(tmp_path, pages, FreePixelfed)
    assert ids(journal) == ["1", "120"]
    assert journal.counters.of(*found.where)["pages_empty"] == 1
    journal.__exit__()


async def test_odd_posts_are_kept_or_named(tmp_path: Path) -> None:
    odd = [
        status("99999999999999999991"),
        status(99999999999999999992),
        status("3", favourites_count=-1),
        status("4", created_at="1970-01-01T00:00:00Z"),
        status("5", content="<p>a\x00b\u202ec&amp;\ud800</p>"),
        status("6", favourites_count="12"),
        status("7", favourites_count=None),
        status(None),
        status("9", account={}),
        status("10", account=None),
        status("11", media_attachments=[{"type": "image", "url": "javascript:alert(1)"}]),
        status("12", media_attachments=[]),
        "no post at all",
        None,
        status("13", reblog=status("14")),
        status("15", favourites_count=True),
        status("16", favourites_count=10**30),
        status("17", created_at="yesterday"),
    ]
    journal, found, _ = await crawl(tmp_path, lambda path, _: http([] if "max_id" in path else odd))
    rows = journal.db.execute("SELECT post_id, created_at, record FROM posts")
    posts = {row[0]: (row[1], json.loads(row[2] or "{}")) for row in rows}
    assert {"99999999999999999991", "99999999999999999992"} <= set(posts)
    assert "likes" not in posts["3"][1]
    assert posts["4"][0] is None
    assert posts["5"][1]["text"] == "abc&"
    assert posts["6"][1]["likes"] == 12
    assert "likes" not in posts["7"][1] and "likes" not in posts["15"][1]
    assert posts["11"][1]["media"][0]["url"] is None
    counters = journal.counters.of(*found.where)
    assert counters["dropped:malformed"] == 5
    assert counters["dropped:reblog"] == 1
    odd_ones = {name: n for name, n in counters.items() if name.startswith("odd:")}
    assert odd_ones == {
        "odd:likes_negative": 1,
        "odd:likes_not_a_number": 1,
        "odd:likes_too_large": 1,
        "odd:created_at_implausible": 2,
        "odd:control_characters": 1,
    }
    assert len(posts) + 6 == len(odd)
    journal.__exit__()


async def test_followers_of_zero_are_asked_once(tmp_path: Path) -> None:
    def pages(path: str, url: str) -> bytes:
        if path.startswith("/api/v1/accounts/7"):
            return http({"id": "7", "acct": "a", "followers_count": 321})
        if "max_id" in path:
            return http([])
        zero = {"id": "7", "acct": "a", "followers_count": 0}
        return http([status(str(n), account=zero) for n in range(5)], Link=link(url, "0"))

    journal, found, server = await crawl(tmp_path, pages)
    assert journal.counters.of(*found.where)["authors_asked"] == 1
    assert sum("accounts/7" in path for path in server.asked) == 1
    rows = journal.db.execute("SELECT source, record FROM authors")
    followers = {source: json.loads(record)["followers"] for source, record in rows}
    assert followers == {"embedded": 0, "account": 321}
    journal.__exit__()


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0, 0), ("7", 7), (None, None), (-1, None), (1.9, 1), ("x", None), (True, None), ([], None),
     (float("inf"), None), (2**63, None), (2**63 - 1, 2**63 - 1)],
)  # fmt: skip
def test_counts(value: Any, expected: int | None) -> None:
    assert fields.count(value, "n", Oddities()) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2024-01-01T00:00:00Z", 1_704_067_200_000_000),
        ("2021-08-19T09:00:21+0000", 1_629_363_621_000_000),
        ("1296703536", 1_296_703_536_000_000),
        ("1970-01-01T00:00:00Z", None),
        ("9999-12-31T00:00:00Z", None),
        (10**18, None),
        ("", None),
        ({}, None),
    ],
)
def test_moments(value: Any, expected: int | None) -> None:
    assert fields.moment(value, "t", Oddities()) == expected


@pytest.mark.parametrize("shape", [lambda mode: mode, lambda mode: {"local": mode, "remote": mode}])
def test_what_a_server_says_about_its_hashtag_feeds(shape: Callable[[str], Any]) -> None:
    def told(mode: str) -> Mastodon:
        platform = Mastodon(Source(platform="mastodon", host="https://h.example", tags=["#x"]))
        access = {"timelines_access": {"hashtag_feeds": shape(mode)}}
        platform.learn(Answer(200, {}, {"version": "4.5.1", "configuration": access}))
        return platform

    assert not told("public").requires_token
    assert told("authenticated").requires_token
    assert told("public").authors_per_call == 40
    with pytest.raises(ConfigError, match="switched its hashtag feeds off"):
        told("disabled")


def test_tags_are_quoted_in_addresses() -> None:
    platform = Mastodon(Source(platform="mastodon", host="https://h.example", tags=["#a/b?c"]))
    [chain, *_] = platform.plan(None, 0)
    assert platform.page(chain, None).path == "/api/v1/timelines/tag/a%2Fb%3Fc"
