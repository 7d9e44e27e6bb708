# ruff: noqa: ARG002 - the interface asks for these arguments
"""Collecting beside its lower bound, and its memory beside the length of a crawl.

    python -m benchmarks.collect            # the table of limits (about 2 minutes)
    python -m benchmarks.collect --memory   # and the crawls of 10,000 and 1,000,000 posts

The servers run in processes of their own; the limiter that counts is theirs and exact, on arrival:
a moving window, or (``mastodon``) windows of the wall clock with Mastodon's own rules, shortened.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import math
import resource
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from collectors.budgets.buckets import BucketSpec, lower_bound
from collectors.budgets.pool import Pool
from collectors.collect import collect_from
from collectors.crawling.client import Client, Limits, open_session
from collectors.platforms.base import Answer, Chain, Page, Platform, Request
from collectors.platforms.mastodon import Mastodon
from collectors.tokens.store import Token
from likewise.config import Source, render
from likewise.study import Study

TARGET = 1.05


@dataclass(frozen=True)
class Case:
    """N tokens of L calls per W seconds, latency R, K at once; ``shared``: one bucket for all."""

    name: str
    tokens: int
    limit: int
    window_s: float
    calls: int
    latency_s: float = 0.02
    concurrency: int = 50
    shared: bool = False
    fixed: bool = False

    def bound(self, phase_s: float) -> float:
        """Least seconds; a wall-clock window that started earlier turns ``phase_s`` from now."""
        buckets = 1 if self.shared else self.tokens
        rounds = math.ceil(self.calls / (buckets * self.limit))
        if not self.fixed:
            return lower_bound(
                self.calls, buckets, self.limit, self.window_s, self.concurrency, self.latency_s
            )
        rest = self.calls - (rounds - 1) * buckets * self.limit
        last = math.ceil(rest / self.concurrency) * self.latency_s
        return (phase_s + (rounds - 2) * self.window_s if rounds > 1 else 0.0) + last


CASES = [
    Case("10 tokens, 50 per 2 s", 10, 50, 2.0, 6000),
    Case("1 token, 300 per 5 s", 1, 300, 5.0, 1500),
    Case("3 tokens, one bucket of 300 per 5 s", 3, 300, 5.0, 1500, shared=True),
    Case("Mastodon's paged bucket, 300 per 15 s", 1, 300, 15.0, 1200, fixed=True),
]


# -- servers ----------------------------------------------------------------------------------


class Connection(asyncio.Protocol):
    """A keep-alive HTTP connection that costs the server next to nothing."""

    def __init__(self, answer: Any, latency_s: float) -> None:
        self.answer = answer
        self.latency_s = latency_s
        self.buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while b"\r\n\r\n" in self.buffer:
            head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
            status, body, headers = self.answer(head.decode("latin-1"))
            raw = (
                f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(body)}\r\n{headers}\r\n"
            ).encode() + body
            loop = asyncio.get_running_loop()
            loop.call_later(self.latency_s, self._send, raw)

    def _send(self, raw: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(raw)  # type: ignore[attr-defined]


class MovingWindow:
    """Exact: at most ``limit`` arrivals of a key within any ``window_s`` seconds."""

    def __init__(self, limit: int, window_s: float, *, shared: bool, fixed: bool) -> None:
        self.limit, self.window_s, self.shared, self.fixed = limit, window_s, shared, fixed
        self.logs: dict[str, deque[float]] = {}

    def __call__(self, head: str) -> tuple[str, bytes, str]:
        now = time.time()
        token = "" if self.shared else head.lower().partition("authorization: ")[2].split("\r")[0]
        log = self.logs.setdefault(token, deque())
        start = now - self.window_s if not self.fixed else now // self.window_s * self.window_s
        while log and (log[0] < start if self.fixed else log[0] <= start):
            log.popleft()
        if len(log) >= self.limit:
            return "429 Too Many Requests", b'{"error":"slow down"}', ""
        log.append(now)
        return "200 OK", b'{"ok":true}', ""


def timeline(posts: int) -> Any:
    """Answers of a Mastodon timeline of that many posts, 40 a page, by 1000 authors."""
    account = (
        '{"id":"%d","acct":"person%d","followers_count":%d,"following_count":3,"statuses_count":9,'
        '"bot":false,"indexable":true,"noindex":false,"note":"<p>hello</p>"}'
    )
    status = (
        '{"id":"%d","created_at":"%s","favourites_count":%d,"replies_count":1,"reblogs_count":0,'
        '"visibility":"public","sensitive":false,"language":"en","url":"https://h.example/@a/%d",'
        '"content":"<p>A morning by the river <a href=\\"https://h.example/tags/photo\\">#photo</a>'
        '</p>","tags":[{"name":"photo"}],"media_attachments":[{"type":"image",'
        '"url":"https://h.example/%d.jpg","preview_url":"https://h.example/%d-small.jpg",'
        '"meta":{"original":{"width":640,"height":480}},"description":"a river"}],"account":%s}'
    )
    people = [account % (n, n, n + 1) for n in range(1000)]
    base = 1_600_000_000

    def one(n: int) -> str:
        at = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(base + n * 60))
        number = ((base + n * 60) * 1000) << 16
        return status % (number, at, n % 90, number, number, number, people[n * 7 % 1000])

    def answer(head: str) -> tuple[str, bytes, str]:
        path = head.split(" ", 2)[1]
        if "timelines" not in path:
            return "200 OK", b'{"version":"4.5.0"}', ""
        after = path.partition("max_id=")[2].partition("&")[0]
        top = (
            posts
            if not after
            else max(0, min(posts, -(-((int(after) >> 16) // 1000 - base) // 60)))
        )
        first = max(0, top - 40)
        body = "[" + ",".join(one(n) for n in range(top - 1, first - 1, -1)) + "]"
        if top == 0:
            return "200 OK", b"[]", ""
        last = ((base + first * 60) * 1000) << 16
        return "200 OK", body.encode(), f'Link: <http://h/x?max_id={last}>; rel="next"\r\n'

    return answer


async def serve(answer: Any, latency_s: float) -> None:
    """Listen until killed; the port is printed first."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(answer, latency_s), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@contextlib.contextmanager
def server(*words: str) -> Iterator[str]:
    """A server in a process of its own; its address."""
    call = [sys.executable, "-m", "benchmarks.collect", "serve", *words]
    with subprocess.Popen(call, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        yield f"http://127.0.0.1:{child.stdout.readline().strip()}"
        child.terminate()


# -- clients ----------------------------------------------------------------------------------


class Bare(Platform):
    """A platform of one call, with the buckets of a case."""

    name = "bench"

    def __init__(self, source: Source, case: Case) -> None:
        super().__init__(source)
        self.case = case

    def plan(self, lo: int | None, hi: int) -> list[Chain]:
        return []

    def page(self, chain: Chain, cursor: str | None) -> Request:
        return Request("/")

    def read_page(self, chain: Chain, cursor: str | None, answer: Answer) -> Page:
        return Page()

    def buckets(self, token: Token | None, kind: str) -> list[BucketSpec]:
        key = "all" if self.case.shared or token is None else token.id
        window = "fixed" if self.case.fixed else "sliding"
        return [BucketSpec(key, self.case.limit, self.case.window_s, window)]


async def measure(case: Case, url: str) -> dict[str, Any]:
    """Make the calls of a case as fast as its budgets allow."""
    tokens = [
        Token(f"t{n}", "bench", "h", secret={"access_token": f"t{n}"}) for n in range(case.tokens)
    ]
    pool = Pool(Bare(Source(platform="bench", host=url), case), tokens)
    left = case.calls

    async with open_session(case.concurrency, Limits(), "") as session:
        client = Client(session, pool, asyncio.Semaphore(case.concurrency))

        async def work() -> None:
            nonlocal left
            while left > 0:
                left -= 1
                await client.call(Request("/"))

        phase = case.window_s - time.time() % case.window_s
        started, cpu = time.monotonic(), time.process_time()
        async with asyncio.TaskGroup() as group:
            for _ in range(2 * case.concurrency):
                group.create_task(work())
        seconds, cpu = time.monotonic() - started, time.process_time() - cpu
    bound = case.bound(phase)
    return {
        "case": case.name,
        "calls": case.calls,
        "bound": bound,
        "seconds": seconds,
        "ratio": seconds / bound,
        "throttled": client.counters["http_429"],
        "cpu_ms": 1000 * cpu / client.counters["calls"],
    }


class Unlimited(Mastodon):
    """Mastodon without limits, so that the crawl itself is measured."""

    def buckets(self, token: Token | None, kind: str) -> list[BucketSpec]:
        return []


def crawl(posts: int) -> dict[str, Any]:
    """A whole ``collect`` of that many posts, measured in this process."""
    with server("timeline", str(posts)) as url, tempfile.TemporaryDirectory() as folder:
        source = {"platform": "mastodon", "host": url, "permission": "bench", "tags": ["photo"]}
        source["max_posts"] = 10 * posts
        text = render({"collect": {"sources": [source], "concurrency": 8}})
        (Path(folder) / "likewise.toml").write_text(text, encoding="utf-8")
        study = Study.open(folder)
        started, cpu = time.monotonic(), time.process_time()
        manifest = collect_from(study, [Unlimited(s) for s in study.config.collect.sources])
        [counters] = manifest.extra["counters"].values()
        assert manifest.rows == posts, manifest
        return {
            "posts": posts,
            "calls": counters["calls"],
            "seconds": time.monotonic() - started,
            "cpu_s": time.process_time() - cpu,
            "rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        }


def crawl_in_process(posts: int) -> dict[str, Any]:
    """As ``crawl``, in a process of its own, so that its peak memory is its own."""
    call = [sys.executable, "-m", "benchmarks.collect", "crawl", str(posts)]
    done = subprocess.run(call, stdout=subprocess.PIPE, check=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


# -- tables -----------------------------------------------------------------------------------


def limits_table() -> None:
    print("| Case | Calls | Bound | Measured | Ratio (1.05) | 429s (0) | CPU per call (2 ms) |")
    print("|---|---|---|---|---|---|---|")
    for case in CASES:
        words = [str(case.limit), str(case.window_s), str(case.latency_s)]
        kind = ["shared" if case.shared else "own", "fixed" if case.fixed else "moving"]
        with server("limits", *words, *kind) as url:
            row = asyncio.run(measure(case, url))
        print(
            f"| {row['case']} | {row['calls']} | {row['bound']:.2f} s | {row['seconds']:.2f} s | "
            f"{row['ratio']:.3f} | {row['throttled']} | {row['cpu_ms']:.2f} ms |",
            flush=True,
        )


def memory_table(sizes: list[int]) -> None:
    rows = [crawl_in_process(posts) for posts in sizes]
    print("\n| Posts | Calls | Seconds | CPU | CPU/call | Peak RSS | Ratio (target 1.2) |")
    print("|---|---|---|---|---|---|---|")
    for row in rows:
        print(
            f"| {row['posts']:,} | {row['calls']:,} | {row['seconds']:.0f} s | "
            f"{row['cpu_s']:.0f} s | {1000 * row['cpu_s'] / row['calls']:.2f} ms | "
            f"{row['rss_mib']:.0f} MiB | {row['rss_mib'] / rows[0]['rss_mib']:.2f} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="*", help=argparse.SUPPRESS)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--posts", type=int, default=1_000_000)
    given = parser.parse_args()
    match given.what:
        case ["serve", "limits", limit, window, latency, share, kind]:
            limiter = MovingWindow(
                int(limit), float(window), shared=share == "shared", fixed=kind == "fixed"
            )
            asyncio.run(serve(limiter, float(latency)))
        case ["serve", "timeline", posts]:
            asyncio.run(serve(timeline(int(posts)), 0.0))
        case ["crawl", posts]:
            print(json.dumps(crawl(int(posts))))
        case _:
            limits_table()
            if given.memory:
                memory_table([10_000, given.posts])


if __name__ == "__main__":
    main()
