"""The way out: HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY, as every program reads them.

aiohttp would read them by itself (``trust_env``), and with them logins from ``~/.netrc``, which
nobody gave for this. The rules are those of Requests, which makes the logins.
"""

from __future__ import annotations

import urllib.request

from yarl import URL

from likewise.errors import ConfigError

__all__ = ["Proxies"]


class Proxies:
    """The proxies of this process's environment, read once."""

    def __init__(self) -> None:
        self._any = any(name != "no" for name in urllib.request.getproxies())

    def of(self, address: URL) -> URL | None:
        """The proxy for an address; None for the direct way.

        Raises:
            ConfigError: the environment names a kind of proxy that is not spoken here.
        """
        if not self._any:
            return None
        from requests.utils import get_environ_proxies, select_proxy

        text = str(address)
        found = select_proxy(text, get_environ_proxies(text))
        if found is None:
            return None
        proxy = URL(found if "://" in found else f"http://{found}")
        if proxy.scheme not in {"http", "https"} or not proxy.host:
            raise ConfigError(
                f"the proxy for {address.host} is of a kind that is not known: {proxy.scheme}",
                hint="set HTTPS_PROXY and HTTP_PROXY to http://HOST:PORT, or NO_PROXY",
            )
        return proxy
