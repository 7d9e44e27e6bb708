"""Who is left alone: opt-outs, closed posts, and servers whose terms forbid collection.

Opt-outs (``OPTED_OUT``) always hold, and nothing but the key of such a post is kept. Sensitive
posts and bots stay out unless ``likewise.toml`` asks for them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from collectors.platforms.hosts import name_of_host
from likewise.errors import ConfigError

if TYPE_CHECKING:
    from collectors.platforms.base import Platform
    from likewise.config import CollectSection

__all__ = ["OPTED_OUT", "UNKEPT", "check_permission", "reason_to_drop"]

OPTED_OUT = frozenset(
    {
        "noindex",
        "nobot",
        "not_discoverable",
        "not_public",
        "no_unauthenticated",
        "suspended",
        "forgotten",
        "deleted_upstream",
        "other_licence",
    }
)
"""Flags of a post or its author that forbid to keep it."""

UNKEPT = OPTED_OUT | {"no_media"}
"""Flags of a post of which nothing but the key is kept."""

_ORDER = (
    "deleted_upstream",
    "forgotten",
    "other_licence",
    "not_public",
    "nobot",
    "noindex",
    "not_discoverable",
    "no_unauthenticated",
    "suspended",
    "bot",
    "no_media",
)

FORBIDDEN = {
    "mastodon.social": "its terms of 2025-07-01 forbid automated extraction and model training",
    "mastodon.online": "it is run under the terms of mastodon.social, which forbid extraction",
}
"""Hosts whose terms are known to forbid what likewise does."""


def reason_to_drop(flags: Iterable[str], *, sensitive: bool, section: CollectSection) -> str | None:
    """The named reason why a post with these flags is not kept; None when it is."""
    given = set(flags)
    for name in _ORDER:
        if name in given and not (name == "bot" and section.include_bots):
            return name
    return "sensitive" if sensitive and not section.include_sensitive else None


def check_permission(platform: Platform) -> None:
    """Refuse a server whose terms forbid collection, or without a recorded permission.

    Raises:
        ConfigError: with the reason and what to write into ``likewise.toml``.
    """
    host = platform.host
    name = name_of_host(host)
    for forbidden, why in FORBIDDEN.items():
        if name == forbidden or name.endswith(f".{forbidden}"):
            raise ConfigError(
                f"{host} is not collected from: {why}",
                hint="take another server, whose operators allow it",
            )
    if platform.needs_permission and not platform.source.permission.strip():
        raise ConfigError(
            f"collect.sources: {host} has no permission",
            hint="ask the server's operators, then write who allowed it, when and where that is "
            'written down: permission = "..."',
        )
