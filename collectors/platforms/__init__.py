"""The platforms that likewise speaks to, one file each; nothing outside knows their names."""

from __future__ import annotations

import difflib
import importlib
from typing import TYPE_CHECKING

from likewise.errors import ConfigError

if TYPE_CHECKING:
    from collectors.platforms.base import Platform

__all__ = ["NAMES", "get"]

NAMES = {
    "mastodon": "collectors.platforms.mastodon:Mastodon",
    "pixelfed": "collectors.platforms.mastodon:Pixelfed",
    "gotosocial": "collectors.platforms.mastodon:GoToSocial",
    "bluesky": "collectors.platforms.bluesky:Bluesky",
    "instagram": "collectors.platforms.instagram:Instagram",
    "flickr": "collectors.platforms.flickr:Flickr",
    "openverse": "collectors.platforms.openverse:Openverse",
    "commons": "collectors.platforms.commons:Commons",
    "instagram-v1": "collectors.platforms.instagram_v1:InstagramV1",
}
"""Name in ``likewise.toml`` -> module and class of the adapter."""


def get(name: str) -> type[Platform]:
    """The adapter of a platform.

    Raises:
        ConfigError: there is no such platform; the hint names the nearest one.
    """
    if name not in NAMES:
        close = difflib.get_close_matches(name, NAMES, n=1, cutoff=0.4)
        mend = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(NAMES)}"
        raise ConfigError(f"collect.sources: there is no platform {name!r}; {mend}")
    module, _, cls = NAMES[name].partition(":")
    found: type[Platform] = getattr(importlib.import_module(module), cls)
    return found
