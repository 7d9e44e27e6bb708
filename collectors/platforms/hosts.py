"""One name for one server, however its address is written.

``Mastodon.Social``, ``mastodon.social:443``, ``mastodon.social.`` and forms in other scripts are
one server: for the terms check, for tokens, for budgets and as key of the tables. Names are mapped
by UTS 46 and written in ASCII (RFC 5891), as yarl does it for the connection itself.
"""

from __future__ import annotations

import contextlib
from functools import lru_cache

from yarl import URL

from likewise.errors import ConfigError

__all__ = ["authority", "canonical", "name_of_host", "plain_name"]


@lru_cache(4096)
def plain_name(host: str) -> str:
    """A host (no port) in the one form; one that cannot be a host only in lower case."""
    bare = host.strip("[]")
    with contextlib.suppress(ValueError):
        bare = URL.build(scheme="https", host=bare).raw_host or bare
    return bare.lower().rstrip(".")


def canonical(address: str) -> str:
    """The address of a server with its host in the one form; https where no scheme is given.

    Raises:
        ConfigError: the address has no host, a user name, or a host that cannot be one.
    """
    text = address.strip()
    try:
        url = URL(text if "://" in text else f"https://{text}")
        host = plain_name(url.raw_host or "")
        port = url.explicit_port
    except ValueError as error:
        # yarl's words, without its name for it: "Port out of range 0-65535", say.
        why = str(error).removeprefix("Invalid URL: ")
        why = why[:1].upper() + why[1:]
        raise ConfigError(f"collect.sources: host {address!r}: {why}") from None
    if url.scheme not in {"http", "https"} or not host or "%" in host or ".." in host:
        raise ConfigError(
            f"collect.sources: {address!r} is no server, expected e.g. pixelfed.example"
        )
    if url.raw_user is not None or url.raw_password is not None:
        raise ConfigError(
            f"collect.sources: the address of {host} carries a user name",
            hint="leave it out; tokens are added with: likewise auth add",
        )
    usual = {"http": 80, "https": 443}[url.scheme]
    where = f"[{host}]" if ":" in host else host
    where = where if port in {None, usual} else f"{where}:{port}"
    return f"{url.scheme}://{where}{url.raw_path.rstrip('/')}"


def authority(address: str) -> str:
    """Host (and port, where it is not the usual one) of an address, in the one form.

    Raises:
        ConfigError: as ``canonical``.
    """
    return canonical(address).partition("://")[2].partition("/")[0]


def name_of_host(host: str) -> str:
    """A host without its port."""
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdigit() else host
