"""Where a download may go: public addresses over http and https, and nothing else.

A platform's posts are written by strangers, and so are the addresses in them. Without a guard a
post could make this program read a router's page, a database on loopback or the cloud's metadata
service. Three layers, each enough by itself for what it sees:

1. ``check_url`` before every request and after every redirect: scheme, user names, literal
   addresses.
2. ``Resolver``: every DNS answer. The connection goes to the very addresses that were checked, so
   that an answer which changes between check and connect (rebinding) is checked as well.
3. ``open_socket``: the address that the socket is about to be connected to.

Source: the IANA registries of special-purpose IPv4 and IPv6 addresses, as Python's ``ipaddress``
knows them, and the services named beside ``_ALSO_REFUSED``.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import DefaultResolver
from yarl import URL

from collectors.platforms.hosts import name_of_host, plain_name

__all__ = ["AddressGuard", "RefusedError", "is_public"]

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_ALSO_REFUSED = [
    ipaddress.ip_network(text)
    for text in (
        "168.63.129.16/32",  # Azure's host service: a public address that only its guests reach
        "192.0.0.0/24",  # protocol assignments; Oracle's metadata service lies here
        "192.88.99.0/24",  # 6to4 relays
        "64:ff9b:1::/48",  # NAT64 for local use
        "fec0::/10",  # site-local, withdrawn but still routed here and there
        "3fff::/20",  # documentation
        "5f00::/16",  # segment routing
    )
]
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class RefusedError(Exception):
    """The guard refused an address; ``error_class`` is the named reason."""

    def __init__(self, error_class: str, detail: str) -> None:
        super().__init__(f"{error_class}: {detail}")
        self.error_class = error_class


def is_public(text: str) -> bool:
    """Whether an IP address, given as text, belongs to the public internet.

    IPv4 addresses inside IPv6 ones (mapped, 6to4, Teredo, NAT64) count as what they hold.
    """
    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        inner = _embedded(address)
        if inner:
            return all(_is_public(part) for part in inner)
    return _is_public(address)


def _is_public(address: Address) -> bool:
    if not address.is_global or address.is_multicast or address.is_reserved:
        return False
    return not any(address in network for network in _ALSO_REFUSED)


def _embedded(address: ipaddress.IPv6Address) -> list[ipaddress.IPv4Address]:
    if address.ipv4_mapped:
        return [address.ipv4_mapped]
    if address.sixtofour:
        return [address.sixtofour]
    if address.teredo:
        return list(address.teredo)
    if address in _NAT64:
        return [ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)]
    return []


class AddressGuard:
    """Decides about addresses. ``allow_hosts`` (``host`` or ``host:port``) may be private ones."""

    def __init__(self, allow_hosts: Iterable[str] = ()) -> None:
        self._allowed = frozenset(_with_port(host) for host in allow_hosts)
        self._permitted: set[str] = set()
        self._proxies: set[tuple[str, int | None]] = set()

    def let_through(self, proxy: str, port: int | None) -> None:
        """Connections to this proxy, which the environment names, are made wherever it stands."""
        self._proxies.add((plain_name(proxy), port))
        if _literal(proxy) is not None:
            self._permitted.add(plain_name(proxy))

    def allows(self, host: str, port: int | None) -> bool:
        """Whether the configuration names this host (and port)."""
        name = plain_name(host)
        return name in self._allowed or f"{name}:{port}" in self._allowed

    def check_url(self, url: URL) -> None:
        """Raise RefusedError unless the URL may be asked, as far as its text tells."""
        if url.scheme not in {"http", "https"}:
            raise RefusedError("refused_scheme", url.scheme or "no scheme")
        if not url.host:
            raise RefusedError("bad_url", "no host")
        if url.user is not None or url.password is not None:
            raise RefusedError("bad_url", "it carries a user name")
        if (plain_name(url.host), url.port) in self._proxies and not self.allows(
            url.host, url.port
        ):
            raise RefusedError("refused_address", f"{url.host} is the proxy itself")
        if _literal(url.host) is not None:
            self._check_address(url.host, url.host, url.port)

    def check_answer(self, host: str, port: int, addresses: Iterable[str]) -> None:
        """Raise RefusedError when any address of a DNS answer may not be connected to."""
        if (plain_name(host), port) in self._proxies:
            self._permitted.update(map(plain_name, addresses))
            return
        for address in addresses:
            self._check_address(host, address, port)

    def _check_address(self, host: str, address: str, port: int | None) -> None:
        if is_public(address):
            return
        if not self.allows(host, port):
            raise RefusedError("refused_address", f"{host} is {address}")
        self._permitted.add(plain_name(address))

    def open_socket(self, info: tuple[Any, ...]) -> socket.socket:
        """A socket for ``info`` (as ``getaddrinfo`` gives it): aiohttp's ``socket_factory``."""
        family, kind, protocol, _, address = info
        if plain_name(address[0]) not in self._permitted and not is_public(address[0]):
            raise RefusedError("refused_address", str(address[0]))
        return socket.socket(family, kind, protocol)


class Resolver(AbstractResolver):
    """A resolver whose answers have passed the guard."""

    def __init__(self, guard: AddressGuard, inner: AbstractResolver | None = None) -> None:
        self._guard = guard
        self._inner = inner or DefaultResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Addresses of ``host``. Raises RefusedError when one of them is not allowed."""
        answers = await self._inner.resolve(host, port, family)
        self._guard.check_answer(host, port, (answer["host"] for answer in answers))
        return answers

    async def close(self) -> None:
        """Free the inner resolver."""
        await self._inner.close()


def _literal(host: str) -> Address | None:
    """The address that a host is written as; None for a name."""
    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None


def _with_port(host: str) -> str:
    """A host, or ``host:port``, in the one form."""
    name = name_of_host(host)
    return plain_name(name) + host[len(name) :]
