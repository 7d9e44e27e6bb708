"""Pictures through a proxy: the environment is obeyed, and the guard still guards."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from collectors.downloading.fetch import Answer, Limits, open_fetcher
from collectors.downloading.guard import AddressGuard
from likewise.errors import ConfigError

NAMES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


class Names(AbstractResolver):
    """What this machine resolves; everything else is known to the proxy at most."""

    def __init__(self, **known: str) -> None:
        self.known = {name.replace("_", "."): address for name, address in known.items()}

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        if host not in self.known:
            raise OSError(None, f"{host} is not known here")
        return [ResolveResult(hostname=host, host=self.known[host], port=port, family=family,
                              proto=0, flags=0)]  # fmt: skip

    async def close(self) -> None: ...


class Proxy:
    """Answers every request itself, and notes what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.asked.append(head.split(" ")[1])
        moved = "http://169.254.169.254/latest/" if "moved" in head else ""
        first = f"302 Found\r\nLocation: {moved}" if moved else "200 OK"
        writer.write(
            f"HTTP/1.1 {first}\r\nContent-Length: 4\r\nConnection: close\r\n\r\n".encode() + b"body"
        )
        await writer.drain()
        writer.close()


@pytest.fixture
async def proxy(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Proxy]:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    found = Proxy()
    server = await asyncio.start_server(found.serve, "127.0.0.1", 0)
    found.port = server.sockets[0].getsockname()[1]
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{found.port}")
    yield found
    server.close()


async def fetch(url: str, *allowed: str, **known: str) -> Answer:
    options: dict[str, Any] = {"resolver": Names(**known)}
    async with open_fetcher(Limits(timeout_s=5), AddressGuard(allowed), **options) as fetcher:
        return await fetcher.fetch(url)


@pytest.mark.parametrize("known", [{}, {"pictures_example": "93.184.215.14"}])
async def test_a_picture_comes_through_the_proxy(proxy: Proxy, known: dict[str, str]) -> None:
    answer = await fetch("http://pictures.example/a.jpg?x=%2F", **known)
    assert (answer.error_class, answer.body) == (None, b"body")
    assert proxy.asked == ["http://pictures.example/a.jpg?x=%2F"]


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest/",
        "http://10.0.0.1/",
        "http://[::1]/",
        "http://router/",
        "http://localhost/",
        "http://a.localhost/",
        "http://printer.local/",
        "http://db.internal/",
        "http://inside.example/",
    ],
)
async def test_what_lies_beyond_the_proxy_is_guarded(proxy: Proxy, url: str) -> None:
    answer = await fetch(url, inside_example="10.1.2.3")
    assert answer.error_class == "refused_address"
    assert proxy.asked == []


async def test_a_redirect_beyond_the_proxy_is_guarded(proxy: Proxy) -> None:
    answer = await fetch("http://pictures.example/moved")
    assert answer.error_class == "refused_address"
    assert len(proxy.asked) == 1


async def test_the_proxy_itself_is_no_picture(proxy: Proxy) -> None:
    async with open_fetcher(Limits(timeout_s=5), AddressGuard(), resolver=Names()) as fetcher:
        assert (await fetcher.fetch("http://pictures.example/a.jpg")).body == b"body"
        answer = await fetcher.fetch(f"http://127.0.0.1:{proxy.port}/status")
    assert answer.error_class == "refused_address"
    assert len(proxy.asked) == 1


async def test_what_the_configuration_allows_stays_allowed(proxy: Proxy) -> None:
    answer = await fetch("http://inside.example/a.jpg", "inside.example", inside_example="10.1.2.3")
    assert answer.body == b"body"


async def test_no_proxy_is_the_direct_way(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "pictures.example")
    answer = await fetch("http://pictures.example/a.jpg")
    assert answer.error_class == "dns"
    assert proxy.asked == []


async def test_a_proxy_that_is_gone_has_a_name(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    assert (await fetch("http://pictures.example/a.jpg")).error_class == "proxy"


async def test_a_kind_of_proxy_that_is_not_spoken_is_named_at_once(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "socks5://127.0.0.1:9")
    with pytest.raises(ConfigError, match="socks5"):
        await fetch("http://pictures.example/a.jpg")
