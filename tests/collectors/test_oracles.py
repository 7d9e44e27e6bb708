"""Collectors against servers that others have written; ``pytest -m oracle``."""

from __future__ import annotations

import asyncio
import contextlib
import io
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from oauth1_provider import KEY, SECRET
from PIL import Image

from benchmarks.collect import Bare, Case
from collectors import platforms
from collectors.budgets.buckets import BucketSpec
from collectors.budgets.pool import Pool
from collectors.collect import collect
from collectors.crawling.client import Client, Limits, open_session
from collectors.platforms.base import Chain, Request
from collectors.platforms.mastodon import Mastodon
from collectors.platforms.records import Post
from collectors.tokens.oauth import CodeFlow
from collectors.tokens.store import Token, TokenStore, new_token
from likewise.config import Source, render

pytestmark = [pytest.mark.oracle, pytest.mark.timeout(180)]
HERE = Path(__file__).parent


@contextlib.contextmanager
def process(*words: str) -> Iterator[str]:
    """A server in a process of its own that prints its port; its address."""
    with subprocess.Popen([sys.executable, *words], stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout is not None
            yield f"http://127.0.0.1:{child.stdout.readline().strip()}"
        finally:
            child.terminate()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until_up(url: str) -> None:
    for _ in range(300):
        with contextlib.suppress(requests.ConnectionError):
            requests.get(url, timeout=2)
            return
        time.sleep(0.1)
    pytest.fail(f"nothing answers at {url}")


# -- mastodon-mock ----------------------------------------------------------------------------


@pytest.fixture
def mock_server() -> Iterator[str]:
    port = free_port()
    command = [str(Path(sys.executable).with_name("mastodon_mock")), "serve", "--in-memory"]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as child:
        url = f"http://127.0.0.1:{port}"
        try:
            until_up(f"{url}/api/v1/instance")
            yield url
        finally:
            child.terminate()


def picture(color: int) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (64, 48), (color, 90, 120)).save(out, "PNG")
    return out.getvalue()


def test_mastodon_mock(mock_server: str, tmp_path: Path) -> None:
    bearer = {"Authorization": "Bearer mock_token"}
    posted = []
    for n in range(45):
        file = {"file": (f"{n}.png", picture(n), "image/png")}
        media = requests.post(f"{mock_server}/api/v2/media", headers=bearer, files=file, timeout=10)
        form = {"status": f"picture {n} #oracle", "media_ids[]": media.json()["id"]}
        made = requests.post(
            f"{mock_server}/api/v1/statuses", headers=bearer, data=form, timeout=10
        )
        posted.append(made.json())
    for status in posted[:7]:
        url = f"{mock_server}/api/v1/statuses/{status['id']}/favourite"
        requests.post(url, headers=bearer, timeout=10).raise_for_status()
    host = mock_server.removeprefix("http://")
    TokenStore().put(new_token("mastodon", host, {"access_token": "mock_token"}))
    source = {"platform": "mastodon", "host": mock_server, "permission": "x", "tags": ["oracle"]}
    toml = render({"collect": {"sources": [source], "include_bots": True}})
    (tmp_path / "likewise.toml").write_text(toml, encoding="utf-8")
    manifest = collect(tmp_path)
    # Nobody on this server asked to be indexable, and it cannot be asked for: all are left alone.
    assert manifest.funnel["dropped"] == {"noindex": 45}
    rows = {post.post_id: post for post in asyncio.run(every_post(mock_server))}
    assert set(rows) == {str(status["id"]) for status in posted}
    assert sum(post.likes for post in rows.values()) == 7
    assert all(post.tags == ["oracle"] and post.media[0].url for post in rows.values())


async def every_post(url: str) -> list[Post]:
    """What the adapter reads on its pages, before any rule of manners."""
    mastodon = platforms.get("mastodon")(Source(platform="mastodon", host=url))
    found: list[Post] = []
    async with open_session(2, Limits(), "") as session:
        token = Token("t", "mastodon", "h", secret={"access_token": "mock_token"})
        client = Client(session, Pool(mastodon, [token]), asyncio.Semaphore(1))
        chain, cursor = Chain("tag", "oracle"), None
        while True:
            answer = await client.call(mastodon.page(chain, cursor))
            page = mastodon.read_page(chain, cursor, answer)
            found += page.posts
            cursor = page.cursor
            if cursor is None:
                return found


# -- Flask-Limiter ----------------------------------------------------------------------------


@pytest.mark.parametrize(("strategy", "fixed"), [("moving-window", False), ("fixed-window", True)])
async def test_flask_limiter_never_says_429(strategy: str, fixed: bool) -> None:
    case = Case("oracle", 2, 50, 2.0, 400, concurrency=10, fixed=False)
    with process(str(HERE / "limited_app.py"), "50 per 2 second", strategy) as url:
        tokens = [Token(f"t{n}", "bench", "h", secret={"access_token": f"t{n}"}) for n in range(2)]
        pool = Pool(Bare(Source(platform="bench", host=url), case), tokens)
        async with open_session(10, Limits(), "") as session:
            client = Client(session, pool, asyncio.Semaphore(10))
            async with asyncio.TaskGroup() as group:
                for _ in range(case.calls):
                    group.create_task(client.call(Request("/")))
    assert client.counters == {"calls": 400}


# -- Rack::Attack ---------------------------------------------------------------------------


class Shortened(Mastodon):
    """Mastodon's own buckets, a hundredth as long and a tenth as wide."""

    def buckets(self, token: Token | None, kind: str) -> list[BucketSpec]:
        return [
            BucketSpec(spec.key, spec.limit // 10, spec.period / 100, spec.window)
            for spec in super().buckets(token, kind)
        ]


@pytest.mark.parametrize("paged", [False, True])
async def test_rack_attack_never_says_429(paged: bool) -> None:
    puma = shutil.which("puma")
    if puma is None:
        pytest.skip("needs Debian's puma and ruby-rack-attack")
    port = free_port()
    command = [
        puma,
        "-q",
        "-b",
        f"tcp://127.0.0.1:{port}",
        "-t",
        "8:8",
        str(HERE / "rack_attack.ru"),
    ]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with await asyncio.to_thread(subprocess.Popen, command, **quiet) as child:
        try:
            url = f"http://127.0.0.1:{port}"
            await asyncio.to_thread(until_up, f"{url}/")
            await asyncio.sleep(3.1)
            platform = Shortened(Source(platform="mastodon", host=url))
            ask = Request("/", (("max_id", "1"),), "page") if paged else Request("/")
            calls = 70 if paged else 150
            async with open_session(8, Limits(), "") as session:
                client = Client(session, Pool(platform, []), asyncio.Semaphore(8))
                started = time.monotonic()
                async with asyncio.TaskGroup() as group:
                    for _ in range(calls):
                        group.create_task(client.call(ask))
            assert client.counters == {"calls": calls}
            rounds = (calls - 1) // 30
            assert time.monotonic() - started < rounds * (9 if paged else 3) * 1.05 + 5
        finally:
            child.terminate()


# -- OAuth ------------------------------------------------------------------------------------


def test_oidc_provider_mock_gives_tokens_for_a_code_with_pkce() -> None:
    port = free_port()
    command = [sys.executable, "-m", "oidc_provider_mock", "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as child:
        try:
            url = f"http://127.0.0.1:{port}"
            until_up(f"{url}/.well-known/openid-configuration")
            seen: dict[str, Any] = {}

            def finish(secret: Any) -> Token:
                seen.update(secret)
                return new_token("x", "h", secret)

            back = f"http://127.0.0.1:{free_port()}/callback"
            flow = CodeFlow(
                f"{url}/oauth2/authorize",
                f"{url}/oauth2/token",
                "client",
                "secret",
                "openid",
                finish,
            )
            form = {"sub": "someone@example.org"}
            went = requests.post(flow.address(back), data=form, allow_redirects=False, timeout=10)
            query = requests.utils.urlparse(went.headers["Location"]).query
            from urllib.parse import parse_qsl

            flow.token(dict(parse_qsl(query)))
            about = requests.get(
                f"{url}/userinfo",
                headers={"Authorization": f"Bearer {seen['access_token']}"},
                timeout=10,
            )
            assert about.json()["sub"] == "someone@example.org"
        finally:
            child.terminate()


async def test_oauth1_signatures_hold_before_oauthlib() -> None:
    with process(str(HERE / "oauth1_provider.py")) as url:
        flickr = platforms.get("flickr")(Source(platform="flickr", host=url, tags=["photo"]))
        flow = flickr.login({"api_key": KEY, "api_secret": SECRET}, f"{url}/nowhere")
        address = await asyncio.to_thread(flow.address, f"{url}/nowhere")
        went = await asyncio.to_thread(requests.get, address, allow_redirects=False, timeout=10)
        answers = dict(re.findall(r"(oauth_\w+)=([^&]+)", went.headers["Location"]))
        token = await asyncio.to_thread(flow.token, answers)
        assert token.user == "1@N01"
        async with open_session(2, Limits(attempts=1), "") as session:
            client = Client(session, Pool(flickr, [token]), asyncio.Semaphore(1))
            chain = Chain("tag", "photo", 0, 10**15)
            answer = await client.call(flickr.page(chain, None))
            [post] = flickr.read_page(chain, None, answer).posts
            assert (post.likes, post.views) == (5, 9)
