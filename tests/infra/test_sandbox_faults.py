"""Faults on purpose, seen by a client."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import AsyncIterator

import aiohttp
import pytest

from infra.sandbox import Fault, Faults, Limiter, Sandbox, World, WorldSpec
from infra.sandbox.world import Kind
from likewise.errors import UsageError

WORLD = World(WorldSpec(authors=20, posts=60))
PAGE = "/api/v1/timelines/tag/photo?limit=40"


@pytest.fixture
async def server() -> AsyncIterator[Sandbox]:
    async with Sandbox(WORLD, limiter=Limiter(enabled=False)) as running_server:
        yield running_server


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


def _whole(url: str) -> bool:
    """Whether the picture behind this address is a whole one."""
    post = WORLD.find_post(int(url.rsplit("/", 1)[1].split("-", maxsplit=1)[0]))
    return post is not None and WORLD.kind[post] == Kind.PEOPLE and not WORLD.doomed[post]


async def status(client: aiohttp.ClientSession, url: str, token: str = "") -> int:
    header = {"Authorization": f"Bearer {token}"} if token else {}
    async with client.get(url, headers=header) as answer:
        await answer.read()
        return answer.status


async def test_a_server_error_happens_once(server: Sandbox, client: aiohttp.ClientSession) -> None:
    server.faults.once("/api/v1/timelines", Fault.ERROR, times=2)
    url = server.url + PAGE
    assert await status(client, f"{server.url}/api/v2/instance") == 200
    assert [await status(client, url) >= 500 for _ in range(3)] == [True, True, False]


async def test_a_reset_drops_the_connection(server: Sandbox, client: aiohttp.ClientSession) -> None:
    server.faults.once("/", Fault.RESET)
    with pytest.raises((aiohttp.ServerDisconnectedError, aiohttp.ClientOSError)):
        # POST is not repeated by the client on its own.
        await client.post(f"{server.url}/api/v1/apps", data={"client_name": "x"})
    assert server.calls["reset"] == 1
    assert await status(client, server.url + PAGE) == 200


@pytest.mark.parametrize("path", [PAGE, "media"])
async def test_a_cut_body_is_shorter_than_announced(
    server: Sandbox, client: aiohttp.ClientSession, path: str
) -> None:
    if path == "media":
        async with client.get(server.url + PAGE) as answer:
            posts = await answer.json()
        urls = [m["url"] for p in posts for m in p["media_attachments"] if m["type"] == "image"]
        url = next(u for u in urls if _whole(u))
    else:
        url = server.url + path
    server.faults.once("/", Fault.TRUNCATE)
    with pytest.raises(aiohttp.ClientPayloadError):
        await status(client, url)
    assert await status(client, url) == 200


async def test_a_dripping_body_is_whole_and_slow(
    server: Sandbox, client: aiohttp.ClientSession
) -> None:
    server.faults.drip_bytes, server.faults.drip_every_s = 50, 0.02
    url = f"{server.url}/api/v2/instance"
    async with client.get(url) as answer:
        quick = await answer.read()
    server.faults.once("/", Fault.DRIP)
    before = time.monotonic()
    async with client.get(url) as answer:
        assert await answer.read() == quick
    assert time.monotonic() - before >= 0.02 * (len(quick) // 50)


async def test_tokens_expire(server: Sandbox, client: aiohttp.ClientSession) -> None:
    token, other = server.new_token(user=1), server.new_token(user=1)
    server.faults.expire_after = 3
    url = server.url + PAGE
    assert [await status(client, url, token) for _ in range(5)] == [200, 200, 200, 401, 401]
    server.faults.expire_after = 0
    assert await status(client, url, token) == 401
    server.faults.once("/api", Fault.EXPIRED)
    assert [await status(client, url, other) for _ in range(2)] == [401, 401]


async def test_latency_holds_every_answer_back(client: aiohttp.ClientSession) -> None:
    async with Sandbox(WORLD, faults=Faults(latency_s=0.15, jitter_s=0.05)) as server:
        before = time.monotonic()
        await status(client, server.url + PAGE)
        assert 0.15 <= time.monotonic() - before < 2


async def test_shares_are_kept_and_repeat_with_the_seed() -> None:
    def draws(seed: int) -> list[Fault | None]:
        faults = Faults(errors=0.1, resets=0.1, truncated=0.05, drips=0.05, seed=seed)
        return [faults.draw("/media/x") for _ in range(4000)]

    first = draws(1)
    assert first == draws(1) != draws(2)
    counts = Counter(first)
    assert counts[None] / 4000 == pytest.approx(0.7, abs=0.03)
    assert counts[Fault.ERROR] / 4000 == pytest.approx(0.1, abs=0.02)
    assert counts[Fault.DRIP] / 4000 == pytest.approx(0.05, abs=0.02)


async def test_faults_may_be_kept_to_some_paths(client: aiohttp.ClientSession) -> None:
    faults = Faults(errors=1.0, paths=("/media",))
    async with Sandbox(WORLD, faults=faults) as server:
        assert await status(client, server.url + PAGE) == 200
        assert await status(client, f"{server.url}/media/x.jpg") >= 500
        assert {faults.status() for _ in range(50)} == {500, 502, 503, 504}


def test_impossible_faults_are_refused() -> None:
    with pytest.raises(UsageError, match="add up"):
        Faults(errors=0.6, resets=0.6)
    with pytest.raises(UsageError, match="latency_s = -1"):
        Faults(latency_s=-1)
