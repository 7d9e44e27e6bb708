"""The guard by itself: every kind of address, by the IANA registries' own examples."""

from __future__ import annotations

import socket

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from collectors.downloading.guard import AddressGuard, RefusedError, Resolver, is_public

PUBLIC = [
    *("8.8.8.8", "1.1.1.1", "93.184.215.14", "192.0.1.1", "192.88.98.255", "192.88.100.0"),
    *("168.63.129.15", "168.63.129.17", "2606:4700:4700::1111", "2a00:1450:4001:81b::200e"),
    *("::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1", "2606:4700::1%eth0"),
]
NOT_PUBLIC = [
    *("127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1"),
    *("0.0.0.0", "255.255.255.255", "224.0.0.1", "239.1.1.1", "240.0.0.1", "198.18.0.1"),
    *("192.0.2.1", "198.51.100.1", "203.0.113.1", "168.63.129.16", "192.0.0.192", "192.88.99.1"),
    *("::1", "::", "fe80::1", "fc00::1", "fd12::1", "ff02::1", "2001:db8::1", "fec0::1"),
    *("64:ff9b:1::1", "3fff::1", "5f00::1", "fe80::1%eth0"),
    # Addresses of IPv4 inside others count as what they hold.
    *("::ffff:127.0.0.1", "::ffff:169.254.169.254", "64:ff9b::7f00:1", "2002:7f00:1::1"),
    # Teredo: the server 127.0.0.1, and a client that is 127.0.0.1 behind a public server.
    *("2001:0:7f00:1:0:ffff:f7f7:f7f7", "2001:0:808:808:0:ffff:80ff:fffe"),
]


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_addresses_that_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("ftp://one.example/a", "refused_scheme"),
        ("file:///etc/passwd", "refused_scheme"),
        ("/a", "refused_scheme"),
        ("https://me@one.example/a", "bad_url"),
        ("https://:secret@one.example/a", "bad_url"),
        ("http://127.0.0.1/a", "refused_address"),
        ("http://[::1]/a", "refused_address"),
    ],
)
def test_addresses_that_may_not_be_asked(url: str, reason: str) -> None:
    with pytest.raises(RefusedError) as refused:
        AddressGuard().check_url(URL(url))
    assert refused.value.error_class == reason and str(refused.value).startswith(f"{reason}: ")


@pytest.mark.parametrize("url", ["http://one.example/a", "https://8.8.8.8:8443/a"])
def test_addresses_that_may_be_asked(url: str) -> None:
    AddressGuard().check_url(URL(url))


def test_a_host_may_be_allowed_with_and_without_its_port() -> None:
    guard = AddressGuard(["LOCALHOST:8080", "10.0.0.5"])
    assert guard.allows("localhost", 8080) and guard.allows("10.0.0.5", 1)
    assert not guard.allows("localhost", 8081) and not guard.allows("localhost", None)
    guard.check_url(URL("http://10.0.0.5:99/a"))
    guard.check_answer("localhost", 8080, ["127.0.0.1", "::1"])
    with pytest.raises(RefusedError, match=r"refused_address: localhost is 127\.0\.0\.2"):
        guard.check_answer("localhost", 8081, ["8.8.8.8", "127.0.0.2"])


def info(address: str) -> tuple[object, ...]:
    return (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, 80))


def test_a_socket_goes_only_where_the_answer_was_checked() -> None:
    guard = AddressGuard(["localhost"])
    guard.open_socket(info("8.8.8.8")).close()
    with pytest.raises(RefusedError, match=r"refused_address: 127\.0\.0\.1"):
        guard.open_socket(info("127.0.0.1"))
    guard.check_answer("localhost", 80, ["127.0.0.1"])
    with guard.open_socket(info("127.0.0.1")) as opened:
        assert (opened.family, opened.type) == (socket.AF_INET, socket.SOCK_STREAM)
    with pytest.raises(RefusedError):
        guard.open_socket(info("127.0.0.2"))


def test_a_proxy_may_stand_anywhere_but_is_no_source_of_pictures() -> None:
    guard = AddressGuard()
    guard.let_through("10.0.0.1", 3128)
    guard.open_socket(info("10.0.0.1")).close()
    guard.let_through("proxy.example", 3128)
    guard.check_answer("proxy.example", 3128, ["10.0.0.2"])
    guard.open_socket(info("10.0.0.2")).close()
    for url in ("http://10.0.0.1:3128/a", "http://proxy.example:3128/a"):
        with pytest.raises(RefusedError, match="is the proxy itself"):
            guard.check_url(URL(url))
    guard.check_url(URL("http://proxy.example:80/a"))
    with pytest.raises(RefusedError):
        guard.check_answer("proxy.example", 80, ["10.0.0.3"])
    allowed = AddressGuard(["10.0.0.1:3128"])
    allowed.let_through("10.0.0.1", 3128)
    allowed.check_url(URL("http://10.0.0.1:3128/a"))


class Answering(AbstractResolver):
    """Gives what it is told to give, and remembers what it was asked."""

    def __init__(self, *addresses: str) -> None:
        self.addresses, self.asked, self.closed = addresses, [], False

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        self.asked.append((host, port, family))
        empty = {"hostname": host, "port": port, "family": family, "proto": 0, "flags": 0}
        return [ResolveResult(host=address, **empty) for address in self.addresses]

    async def close(self) -> None:
        self.closed = True


async def test_the_resolver_checks_every_answer() -> None:
    inner = Answering("8.8.8.8", "127.0.0.1")
    resolver = Resolver(AddressGuard(), inner)
    with pytest.raises(RefusedError, match=r"one\.example is 127\.0\.0\.1"):
        await resolver.resolve("one.example", 443, socket.AF_INET6)
    assert inner.asked == [("one.example", 443, socket.AF_INET6)]
    inner.addresses = ("8.8.8.8",)
    found = await resolver.resolve("one.example", 443)
    assert [answer["host"] for answer in found] == ["8.8.8.8"]
    await resolver.close()
    assert inner.closed
