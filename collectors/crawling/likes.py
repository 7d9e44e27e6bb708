"""Likes that a platform does not tell with its posts: one question for each post."""

from __future__ import annotations

from typing import TYPE_CHECKING

from collectors.crawling.failures import CallError
from collectors.platforms.base import Outcome

if TYPE_CHECKING:
    from collectors.crawling.client import Client
    from collectors.crawling.journal import Journal

__all__ = ["ask_likes"]


async def ask_likes(client: Client, journal: Journal, post_id: str) -> list[tuple[str, str]]:
    """Ask for the likes of one post and store them; returns what failed, and why."""
    platform = client.platform
    try:
        answer = await client.call(platform.likes(post_id))
    except CallError as error:
        return [(f"{platform.host} likes of {post_id}", error.told)]
    gone = client.verdict(answer).outcome is Outcome.GONE
    likes = None if gone else platform.read_likes(answer)
    await journal.run(journal.note_likes, platform.name, platform.host, post_id, likes)
    return []
