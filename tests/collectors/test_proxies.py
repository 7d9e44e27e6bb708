"""HTTP_PROXY, HTTPS_PROXY and NO_PROXY are obeyed; what is private stays private."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import requests
import trustme
from test_bad_input import QUICK, Scripted, http
from test_tokens import Simple, token
from yarl import URL

from collectors.budgets.pool import Pool
from collectors.crawling.client import CallError, Client, open_session
from collectors.crawling.proxies import Proxies
from collectors.platforms.base import Request
from collectors.tokens.web import web_session
from likewise.errors import ConfigError, CredentialsError

NAMES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.mark.parametrize(
    ("environment", "address", "expected"),
    [
        ({}, "https://h.example/", None),
        ({"HTTPS_PROXY": "http://p.example:3128"}, "https://h.example/", "http://p.example:3128"),
        ({"HTTPS_PROXY": "http://p.example:3128"}, "http://h.example/", None),
        ({"http_proxy": "p.example:3128"}, "http://h.example/", "http://p.example:3128"),
        ({"ALL_PROXY": "http://p.example:1"}, "https://h.example/", "http://p.example:1"),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "h.example"}, "https://h.example/", None),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": ".example"}, "https://a.h.example/", None),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "*"}, "https://h.example/", None),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "10.0.0.0/8"}, "https://10.1.2.3/", None),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "x.example"}, "https://h.example/", "http://p:1"),
    ],
)  # fmt: skip
def test_which_way_goes_where(
    monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str],
    address: str,
    expected: str | None,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    found = Proxies().of(URL(address))
    assert (None if found is None else str(found).rstrip("/")) == expected


def test_a_kind_of_proxy_that_is_not_spoken_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "socks5://p.example:1080")
    with pytest.raises(ConfigError, match="socks5"):
        Proxies().of(URL("https://h.example/"))


class Tunnel:
    """A proxy on loopback: GET with a whole address, and CONNECT to wherever it is told."""

    def __init__(self, to: int) -> None:
        self.to, self.asked = to, []  # type: int, list[str]

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        tasks: set[asyncio.Task[Any] | None] = set()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            tasks.add(asyncio.current_task())
            head = await reader.readuntil(b"\r\n\r\n")
            self.asked.append(head.decode().split("\r\n")[0])
            inner, outer = await asyncio.open_connection("127.0.0.1", self.to)
            if head.startswith(b"CONNECT"):
                writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
            else:
                outer.write(head)
            await asyncio.gather(_copy(reader, outer), _copy(inner, writer))

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        server.close()
        await asyncio.gather(*(t for t in tasks if t is not None), return_exceptions=True)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError, asyncio.TimeoutError):
        while chunk := await asyncio.wait_for(reader.read(65536), 2):
            writer.write(chunk)
            await writer.drain()
    writer.close()


async def ask(url: str, tls: ssl.SSLContext | None = None) -> Any:
    async with open_session(1, QUICK, "") as session:
        if tls is not None:
            session.connector._ssl = tls
        client = Client(
            session, Pool(Simple(url, {"anonymous": []}), []), asyncio.Semaphore(1), limits=QUICK
        )
        return await client.call(Request("/x"))


async def test_a_call_goes_through_the_proxy_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server's name is known to the proxy alone."""
    async with Scripted(lambda *_: http({"ok": True})) as url:
        tunnel = Tunnel(URL(url).port or 0)
        async with tunnel.running() as proxy:
            monkeypatch.setenv("HTTP_PROXY", proxy)
            answer = await ask("http://known-to-the-proxy.invalid")
    assert answer.body == {"ok": True}
    assert tunnel.asked == ["GET http://known-to-the-proxy.invalid/x HTTP/1.1"]


async def test_tls_goes_through_a_tunnel(monkeypatch: pytest.MonkeyPatch) -> None:
    authority = trustme.CA()
    server_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("known-to-the-proxy.invalid").configure_cert(server_tls)
    client_tls = ssl.create_default_context()
    authority.configure_trust(client_tls)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(http({"ok": True}))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=server_tls)
    tunnel = Tunnel(server.sockets[0].getsockname()[1])
    async with tunnel.running() as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy)
        answer = await ask("https://known-to-the-proxy.invalid", client_tls)
    server.close()
    assert answer.body == {"ok": True}
    assert tunnel.asked == ["CONNECT known-to-the-proxy.invalid:443 HTTP/1.1"]


async def test_no_proxy_goes_the_direct_way(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Scripted(lambda *_: http({"ok": True})) as url:
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        assert (await ask(url)).body == {"ok": True}


async def test_a_proxy_that_is_gone_is_named_and_no_password_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://me:hush-hush@127.0.0.1:9")
    with pytest.raises(CallError, match="proxy") as caught:
        await ask("http://h.example")
    assert "HTTPS_PROXY" in (caught.value.hint or "")
    assert "hush" not in str(caught.value) + str(caught.value.failures)


async def test_no_token_goes_in_the_clear_to_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.example:3128")
    async with open_session(1, QUICK, "") as session:
        pool = Pool(Simple("http://127.0.0.1:1", {"a": []}), [token("a")])
        client = Client(session, pool, asyncio.Semaphore(1), limits=QUICK)
        with pytest.raises(CredentialsError, match="through the proxy"):
            await client.call(Request("/"))


def test_logins_of_netrc_are_not_sent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine h.example login me password hush-hush\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    asked = requests.Request("GET", "https://h.example/")
    assert "Authorization" in requests.Session().prepare_request(asked).headers
    assert "Authorization" not in web_session().prepare_request(asked).headers
