"""Which server speaks Mastodon's API: Mastodon itself, or another one in a dialect of its own.

Only Mastodon (and its forks) numbers posts by time in the way from which ids can be computed;
Akkoma's flakes, GoToSocial's ULIDs, Takahe's and Pixelfed's numbers are others. Where the answer
to ``/api/v2/instance`` leaves a doubt, the server counts as another one: paging by what it links
to is slower, and right everywhere.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Dialect", "dialect_of"]

_OTHERS = (
    "akkoma", "pleroma", "pixelfed", "gotosocial", "takahe", "friendica", "misskey", "sharkey",
    "firefish", "calckey", "foundkey", "iceshrimp", "catodon", "cherrypick", "mitra", "snac",
    "wildebeest", "hollo", "bookwyrm", "peertube", "smithereen", "kitsune", "socialhome",
    "epicyon", "hubzilla", "streams", "rebased", "soapbox", "ktistec", "bovine", "loops",
)  # fmt: skip
"""Servers that speak Mastodon's API and number their posts in another way."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """What an instance answer tells: Mastodon's own version, or another software's name."""

    software: str
    version: tuple[int, int] = (0, 0)

    @property
    def is_mastodon(self) -> bool:
        """Whether ids are Mastodon's snowflakes."""
        return self.software == "mastodon"


def dialect_of(about: Mapping[str, Any]) -> Dialect:
    """The dialect in an answer of ``/api/v2/instance`` or, for old servers, of ``/api/v1``."""
    version = str(about.get("version", "")).lower()
    told = f"{version} {str(about.get('source_url', '')).lower()}"
    other = next((name for name in _OTHERS if re.search(rf"\b{name}", told)), None)
    if other is not None:
        return Dialect(other)
    # Mastodon 2 and later: "4.3.1", "4.4.0-alpha.2+glitch"; others say "2.7.2 (compatible; X)".
    numbers = re.match(r"([2-9]|[1-9]\d)\.(\d+)\.\d+[^\s(]*$", version)
    if numbers is None:
        return Dialect("unknown")
    return Dialect("mastodon", (int(numbers[1]), int(numbers[2])))
