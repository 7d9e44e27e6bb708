"""Tag timelines and Link paging over the arrays of a world.

A page holds the newest posts below ``max_id`` and above ``since_id``; with ``min_id`` the oldest
above it. Every page that holds anything carries Link headers for both neighbours; the end is an
empty page without Link (https://docs.joinmastodon.org/methods/timelines/#tag).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote, urlencode

import numpy as np
from numpy.typing import NDArray

from infra.sandbox.world import World

__all__ = ["Window", "link_header", "page", "tagged"]

Indices = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Window:
    """Which part of a list of posts is asked for; ids are exclusive bounds."""

    limit: int = 20
    max_id: int | None = None
    since_id: int | None = None
    min_id: int | None = None


def tagged(
    world: World, tag: str, *, some: Sequence[str], every: Sequence[str], none: Sequence[str]
) -> Indices:
    """Public posts with ``tag`` or any of ``some``, with all of ``every``, without ``none``."""
    nothing = np.empty(0, dtype=np.int32)
    found = world.by_tag.get(tag.lower(), nothing)
    for other in some:
        found = np.union1d(found, world.by_tag.get(other.lower(), nothing))
    for other in every:
        found = np.intersect1d(found, world.by_tag.get(other.lower(), nothing))
    for other in none:
        found = np.setdiff1d(found, world.by_tag.get(other.lower(), nothing))
    return found


def page(
    world: World,
    posts: NDArray[np.integer],
    window: Window,
    *,
    gone: set[int],
    only_media: bool = False,
) -> list[int]:
    """Indices of one page, newest first. ``posts`` are indices, oldest first."""
    low = _place(world, posts, max(window.since_id or 0, window.min_id or 0), side="right")
    high = len(posts)
    if window.max_id is not None:
        high = _place(world, posts, window.max_id, side="left")
    forward = window.min_id is not None
    found: list[int] = []
    for at in range(low, high) if forward else range(high - 1, low - 1, -1):
        index = int(posts[at])
        if index in gone or (only_media and not world.n_media[index]):
            continue
        found.append(index)
        if len(found) == window.limit:
            break
    return found[::-1] if forward else found


def _place(world: World, posts: NDArray[np.integer], bound: int, *, side: str) -> int:
    """Where an id falls into the list, found without touching all ids."""
    clipped = min(max(bound, 0), 2**63 - 1)
    order = np.searchsorted(world.post_id, np.int64(clipped), side="left")
    if side == "right" and order < len(world.post_id) and world.post_id[order] == clipped:
        order += 1
    return int(np.searchsorted(posts, order, side="left"))


def link_header(
    base_url: str, path: str, kept: Sequence[tuple[str, str]], first: int, last: int
) -> str:
    """Link header with the next (older) and previous (newer) pages."""

    def address(name: str, value: int) -> str:
        return f"{base_url}{quote(path)}?{urlencode([*kept, (name, str(value))])}"

    return f'<{address("max_id", last)}>; rel="next", <{address("min_id", first)}>; rel="prev"'
