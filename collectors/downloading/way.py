"""The way to a picture: direct, or through the proxy that the environment names.

Behind a proxy this process neither resolves the picture's host nor connects to it, so two of the
guard's three layers see the proxy only. What is left is done here: names that speak of a private
network are refused, and so are those that resolve from here to an address that is not public. A
name that cannot be resolved from here is the proxy's to judge.
"""

from __future__ import annotations

from aiohttp.abc import AbstractResolver
from yarl import URL

from collectors.crawling.proxies import Proxies
from collectors.downloading.guard import AddressGuard, RefusedError, Resolver

__all__ = ["Way"]

_PRIVATE = (".localhost", ".local", ".internal", ".intranet", ".lan", ".home.arpa", ".corp")
"""Ends of names that belong to private networks (RFC 6761, 6762, 8375 and ICANN's reservations)."""


class Way:
    """Finds the way to an address, and checks what lies beyond a proxy."""

    def __init__(self, guard: AddressGuard, resolver: AbstractResolver | None = None) -> None:
        self._guard = guard
        self._resolver = Resolver(guard, resolver)
        self._proxies = Proxies()
        self._beyond: dict[tuple[str, int | None], RefusedError | None] = {}
        for scheme in ("http", "https"):
            # Named before the first picture is asked for: a kind of proxy that is not spoken.
            self._proxies.of(URL(f"{scheme}://pictures.example/"))

    async def of(self, target: URL) -> URL | None:
        """The proxy for an address; None for the direct way.

        Raises:
            RefusedError: what lies beyond the proxy is not public.
        """
        proxy = self._proxies.of(target)
        if proxy is None:
            return None
        key = target.host or "", target.port
        if key not in self._beyond:
            self._beyond[key] = await self._refusal(*key)
        refusal = self._beyond[key]
        if refusal is not None:
            raise refusal
        self._guard.let_through(proxy.host or "", proxy.port)
        return proxy

    async def _refusal(self, host: str, port: int | None) -> RefusedError | None:
        name = f".{host.lower().rstrip('.')}"
        if self._guard.allows(host, port):
            return None
        if name.endswith(_PRIVATE) or ("." not in name[1:] and ":" not in name):
            return RefusedError("refused_address", f"{host} is a name of a private network")
        try:
            await self._resolver.resolve(host, port or 0)
        except RefusedError as error:
            return error
        except OSError:
            return None
        return None
