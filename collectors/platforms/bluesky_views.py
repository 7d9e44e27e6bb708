"""Posts and profiles as Bluesky's servers show them.

Sources: docs.bsky.app (app.bsky.feed.defs#postView, app.bsky.actor.defs#profileView*,
app.bsky.embed.*).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from collectors.platforms import fields
from collectors.platforms.base import Page
from collectors.platforms.records import Author, Media, Oddities, Post

__all__ = ["read_post", "read_profile"]

DAY = 86_400_000_000
_SENSITIVE = {"porn", "sexual", "nudity", "graphic-media", "gore", "corpse", "self-harm"}


def read_post(raw: Any, page: Page) -> None:
    """Append a PostView and its author to the page, or count why it cannot be one."""
    view = fields.table(raw)
    record = fields.table(view.get("record"))
    author = read_profile(view.get("author"), page.oddities)
    uri = fields.identifier(view.get("uri"))
    if uri is None or author is None or not uri.startswith("at://"):
        page.dropped["malformed"] += 1
        return
    odd = page.oddities
    labels = _labels(view)
    indexed_at = fields.moment(view.get("indexedAt"), "indexed_at", odd)
    page.authors.append(author)
    page.posts.append(
        Post(
            post_id=uri,
            author_id=author.author_id,
            url=f"https://bsky.app/profile/{author.author_id}/post/{uri.rpartition('/')[2]}",
            created_at=_created_at(record, indexed_at, odd),
            indexed_at=indexed_at,
            likes=fields.count(view.get("likeCount"), "likes", odd),
            comments=fields.count(view.get("replyCount"), "comments", odd),
            shares=fields.count(view.get("repostCount"), "shares", odd),
            tags=_tags(record),
            text=fields.plain(record.get("text"), odd),
            language=next((fields.plain(x) for x in fields.listed(record.get("langs"))), None),
            sensitive=bool(_SENSITIVE & set(labels)),
            labels=labels,
            media=_media(view.get("embed")),
            flags=author.flags,
            uri=uri,
        )
    )


def _created_at(record: Mapping[str, Any], indexed_at: int | None, odd: Oddities) -> int | None:
    claimed = fields.moment(record.get("createdAt"), "created_at", odd)
    if claimed is None or indexed_at is None:
        return claimed if indexed_at is None else indexed_at
    if abs(claimed - indexed_at) > DAY:
        odd["created_at_disagrees"] += 1
        return indexed_at
    return claimed


def _labels(view: Mapping[str, Any]) -> list[str]:
    values = [fields.plain(fields.table(x).get("val")) for x in fields.listed(view.get("labels"))]
    return list(dict.fromkeys(value for value in values if value))


def _tags(record: Mapping[str, Any]) -> list[str]:
    found = [fields.plain(tag) for tag in fields.listed(record.get("tags"))]
    for facet in fields.listed(record.get("facets")):
        for feature in fields.listed(fields.table(facet).get("features")):
            found.append(fields.plain(fields.table(feature).get("tag")))
    return list(dict.fromkeys(tag.lower() for tag in found if tag))


def _media(raw: Any) -> list[Media]:
    embed = fields.table(raw)
    if isinstance(embed.get("media"), dict):
        embed = fields.table(embed["media"])
    items = fields.listed(embed.get("images")) or fields.listed(embed.get("items"))
    found = [_image(index, fields.table(item)) for index, item in enumerate(items)]
    if embed.get("playlist"):
        url, still = fields.url(embed["playlist"]), fields.url(embed.get("thumbnail"))
        found.append(Media(len(found), "video", url, still, alt=fields.plain(embed.get("alt"))))
    return found


def _image(index: int, item: Mapping[str, Any]) -> Media:
    ratio = fields.table(item.get("aspectRatio"))
    return Media(
        index=index,
        kind="image",
        url=fields.url(item.get("fullsize")),
        preview_url=fields.url(item.get("thumb") or item.get("thumbnail")),
        width=fields.side(ratio.get("width")),
        height=fields.side(ratio.get("height")),
        alt=fields.plain(item.get("alt")),
    )


def read_profile(raw: Any, odd: Oddities) -> Author | None:
    """The author in a profile view of any detail; None when it has no did."""
    profile = fields.table(raw)
    did = fields.identifier(profile.get("did"))
    if did is None:
        return None
    labels = set(_labels(profile))
    flags = {"no_unauthenticated"} if "!no-unauthenticated" in labels else set()
    if "bot" in labels:
        flags.add("bot")
    return Author(
        author_id=did,
        handle=fields.plain(profile.get("handle")),
        followers=fields.count(profile.get("followersCount"), "followers", odd),
        following=fields.count(profile.get("followsCount"), "following", odd),
        posts_count=fields.count(profile.get("postsCount"), "posts_count", odd),
        bot="bot" in labels,
        noindex="no_unauthenticated" in flags,
        created_at=fields.moment(profile.get("createdAt"), "account_created_at", odd),
        flags=frozenset(flags),
        person=did,
    )
