"""The entities of Mastodon's API, as Mastodon and the servers that speak it send them.

Sources: docs.joinmastodon.org (entities/Status, entities/Account, entities/MediaAttachment).
"""

from __future__ import annotations

import re
from typing import Any

from collectors.platforms import fields
from collectors.platforms.base import Page
from collectors.platforms.records import Author, Media, Oddities, Post

__all__ = ["read_account", "read_status"]

_NOBOT = re.compile(r"#?\bno_?bots?\b", re.IGNORECASE)


def read_status(status: Any, page: Page) -> None:
    """Append a Status entity's post and author to the page, or count why it cannot be one."""
    status = fields.table(status)
    account = fields.table(status.get("account"))
    author = read_account(account, page.oddities)
    post_id = fields.identifier(status.get("id"))
    if post_id is None or author is None:
        page.dropped["malformed"] += 1
        return
    if status.get("reblog"):
        page.dropped["reblog"] += 1
        return
    odd = page.oddities
    flags = set(author.flags)
    visibility = fields.plain(status.get("visibility"))
    if visibility not in {None, "public"}:
        flags.add("not_public")
    page.authors.append(author)
    page.posts.append(
        Post(
            post_id=post_id,
            author_id=author.author_id,
            url=fields.url(status.get("url") or status.get("uri")),
            created_at=fields.moment(status.get("created_at"), "created_at", odd),
            likes=fields.count(status.get("favourites_count"), "likes", odd),
            comments=fields.count(status.get("replies_count"), "comments", odd),
            shares=fields.count(status.get("reblogs_count"), "shares", odd),
            tags=_tags(status),
            text=fields.strip_html(status.get("content"), odd),
            language=fields.plain(status.get("language")),
            visibility=visibility,
            sensitive=fields.flag(status.get("sensitive")),
            media=_media(status),
            flags=frozenset(flags),
            uri=fields.plain(status.get("uri")) or fields.plain(status.get("url")),
        )
    )


def _tags(status: Any) -> list[str]:
    names = [fields.plain(fields.table(t).get("name")) for t in fields.listed(status.get("tags"))]
    return list(dict.fromkeys(name.lower() for name in names if name))


_KINDS = {"image": "image", "video": "video", "gifv": "gifv"}


def _media(status: Any) -> list[Media]:
    found = []
    for index, raw in enumerate(fields.listed(status.get("media_attachments"))):
        item = fields.table(raw)
        size = fields.table(fields.table(item.get("meta")).get("original"))
        found.append(
            Media(
                index=index,
                kind=_KINDS.get(str(item.get("type")), "other"),
                url=fields.url(item.get("url")) or fields.url(item.get("remote_url")),
                preview_url=fields.url(item.get("preview_url")),
                width=fields.side(size.get("width")),
                height=fields.side(size.get("height")),
                alt=fields.plain(item.get("description")),
            )
        )
    return found


def read_account(raw: Any, oddities: Oddities) -> Author | None:
    """The author in an Account entity; None when it has no id."""
    account = fields.table(raw)
    author_id = fields.identifier(account.get("id"))
    if author_id is None:
        return None
    flags = set()
    if account.get("noindex") is True or account.get("indexable") is False:
        flags.add("noindex")
    if account.get("discoverable") is False:
        flags.add("not_discoverable")
    if account.get("bot") is True:
        flags.add("bot")
    if _NOBOT.search(_bio(account)):
        flags.add("nobot")
    if account.get("suspended") is True:
        flags.add("suspended")
    return Author(
        author_id=author_id,
        handle=fields.plain(account.get("acct")),
        followers=fields.count(account.get("followers_count"), "followers", oddities),
        following=fields.count(account.get("following_count"), "following", oddities),
        posts_count=fields.count(account.get("statuses_count"), "posts_count", oddities),
        bot=fields.flag(account.get("bot")),
        noindex="noindex" in flags,
        created_at=fields.moment(account.get("created_at"), "account_created_at", oddities),
        flags=frozenset(flags),
        # Servers that tell both agree on the address of the profile more often than on the other.
        person=fields.plain(account.get("url")) or fields.plain(account.get("uri")),
    )


def _bio(account: Any) -> str:
    """The bio and the profile fields as text, where people write #nobot."""
    pairs = [fields.table(pair) for pair in fields.listed(account.get("fields"))]
    texts = [account.get("note"), *(pair.get("value") for pair in pairs)]
    texts += [pair.get("name") for pair in pairs]
    return " ".join(fields.strip_html(text) or "" for text in texts)
