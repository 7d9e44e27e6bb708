"""What the archives of the fediverse share: an actor and an outbox of ActivityStreams objects.

Source: W3C, Activity Streams 2.0 and ActivityPub 5.1 (outbox); the properties that Mastodon and
Pixelfed add are named in ``mastodon_archive`` and ``pixelfed_export``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from collectors.imports.base import Refusals
from collectors.imports.values import dig, first, known_count, objects
from collectors.platforms.fields import flag, moment, plain, side, strip_html, url
from collectors.platforms.records import Author, Media, Oddities, Post

__all__ = ["author_of", "post_of", "posts"]

_PUBLIC = {"https://www.w3.org/ns/activitystreams#Public", "as:Public", "Public"}

Locate = Callable[[str], str | None]
"""Turns an attachment's address into where its file lies; None when it is not there."""


def author_of(actor: Mapping[str, Any], followers: int | None) -> Author | None:
    """The archive's owner; None when the actor has no id."""
    one = plain(actor.get("id"))
    if one is None:
        return None
    name = plain(actor.get("preferredUsername"))
    host = urlsplit(one).hostname
    flags = set()
    if actor.get("indexable") is False and actor.get("discoverable") is False:
        flags.add("not_discoverable")
    bot = actor.get("type") in {"Service", "Application"}
    return Author(
        one,
        handle=f"{name}@{host}" if name and host else name,
        followers=followers,
        bot=bot,
        created_at=moment(actor.get("published"), "created", Oddities()),
        source="import",
        flags=frozenset(flags | ({"bot"} if bot else set())),
    )


def posts(
    outbox: Any, author: Author, file: str, locate: Locate, refusals: Refusals
) -> Iterator[Post]:
    """Own public posts of an outbox; boosts and others are counted as not understood."""
    items = dig(outbox, "orderedItems")
    if not isinstance(items, list):
        refusals.add(file, "no outbox: there is no list orderedItems")
        return
    for number, activity in enumerate(items, 1):
        note = activity.get("object") if isinstance(activity, dict) else None
        if isinstance(activity, dict) and activity.get("type") == "Announce":
            refusals.add(f"{file} item {number}", "a boost of another's post")
        elif not isinstance(note, dict) or "id" not in note:
            refusals.add(f"{file} item {number}", "no post")
        else:
            yield post_of(note, author, locate)


def post_of(note: Mapping[str, Any], author: Author, locate: Locate) -> Post:
    """One Note with its attachments."""
    to = note.get("to")
    cc = note.get("cc")
    receivers = {*(to if isinstance(to, list) else [to]), *(cc if isinstance(cc, list) else [cc])}
    public = bool(receivers & _PUBLIC)
    words = [
        plain(one.get("name")) for one in objects(note.get("tag")) if one.get("type") == "Hashtag"
    ]
    return Post(
        str(note["id"]),
        author.author_id,
        url=url(first(note, "url", "id")),
        created_at=moment(note.get("published"), "date", Oddities()),
        likes=known_count(dig(note, "likes", "totalItems")),
        comments=known_count(dig(note, "replies", "totalItems")),
        shares=known_count(dig(note, "shares", "totalItems")),
        tags=[word.lower().lstrip("#") for word in words if word],
        text=strip_html(note.get("content")),
        visibility="public" if public else "private",
        sensitive=flag(note.get("sensitive")),
        media=[_medium(k, one, locate) for k, one in enumerate(objects(note.get("attachment")))],
        flags=(frozenset() if public else frozenset({"not_public"})) | author.flags,
    )


def _medium(index: int, one: Mapping[str, Any], locate: Locate) -> Media:
    kind = str(one.get("mediaType") or "image/").split("/", maxsplit=1)[0]
    where = one.get("url")
    return Media(
        index,
        kind if kind in {"image", "video"} else "other",
        locate(where) if isinstance(where, str) else None,
        width=side(one.get("width")),
        height=side(one.get("height")),
        alt=plain(one.get("name")),
    )
