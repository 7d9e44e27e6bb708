"""gallery-dl's folders: ``FILE.json`` beside each FILE (option ``--write-metadata``).

Shapes: gallery-dl's documentation, ``docs/options.md``, and the keywords that
``gallery-dl --list-keywords`` prints for each site; keys are few and common, values may lack.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any, ClassVar

from collectors.imports.base import Found, Options, RecordKind, Refusals, What
from collectors.imports.trees import PICTURE_ENDINGS, Entry, Tree
from collectors.imports.values import first, known_count, table_of
from collectors.platforms.fields import flag, hashtags, identifier, moment, plain, strip_html, url
from collectors.platforms.records import Author, Media, Oddities, Post

__all__ = ["GalleryDl"]

_FILMS = (".mp4", ".webm", ".m4v", ".mov")

_LIKES = (
    "likes", "favorite_count", "favourites_count", "like_count", "likeCount", "total_bookmarks",
    "count_faves", "favorites", "stats.favourites", "note_count", "public_favorite_count",
)  # fmt: skip
_FOLLOWERS = (
    "followers_count", "followers", "follower_count", "followersCount", "edge_followed_by.count",
)  # fmt: skip


class GalleryDl(RecordKind):
    """Pictures with the site's own words about each."""

    name: ClassVar[str] = "gallery-dl"
    platform: ClassVar[str] = "gallery-dl"
    title: ClassVar[str] = "gallery-dl's folder"

    def recognise(self, tree: Tree) -> What | None:
        for entry in [e for e in tree.sample if _is_record(e.path)][:20]:
            content = table_of(tree, entry.path, Refusals())
            if content and isinstance(content.get("category"), str):
                return What(f"records of gallery-dl about {content['category']}", tree.root)
        return None

    def read(self, tree: Tree, options: Options, refusals: Refusals) -> Iterator[Found]:  # noqa: ARG002
        waiting: Found | None = None
        for entry in tree.files():
            if not _is_record(entry.path):
                continue
            found = _found(tree, entry, refusals)
            if found is None:
                continue
            # The files of one post stand one after another; their records repeat the post.
            if waiting is not None and waiting.post.post_id == found.post.post_id:
                for medium in found.post.media:
                    medium.index = len(waiting.post.media)
                    waiting.post.media.append(medium)
                continue
            if waiting is not None:
                yield waiting
            waiting = found
        if waiting is not None:
            yield waiting
        for place, reason in tree.refused:
            refusals.add(place, reason)


def _is_record(path: PurePosixPath) -> bool:
    inner = PurePosixPath(path.stem).suffix.lower()
    return path.suffix == ".json" and (inner in PICTURE_ENDINGS or inner in _FILMS)


def _found(tree: Tree, entry: Entry, refusals: Refusals) -> Found | None:
    content = table_of(tree, entry.path, refusals)
    if content is None:
        return None
    if not isinstance(content.get("category"), str):
        refusals.add(tree.place(entry.path), "no record of gallery-dl")
        return None
    person = first(content, "author", "account", "user", "owner", "blog")
    author = _author(content, person if isinstance(person, dict) else {})
    post_id = identifier(
        first(content, "post_shortcode", "shortcode", "post_id", "tweet_id", "post.cid", "id")
    )
    if post_id is None or author is None:
        refusals.add(tree.place(entry.path), "no id or author")
        return None
    text = strip_html(first(content, "description", "content", "caption", "text", "title"))
    tags = content.get("tags") or content.get("hashtags")
    words = [plain(t) for t in tags] if isinstance(tags, list) else []
    post = Post(
        f"{content['category']} {post_id}",
        author.author_id,
        url=url(first(content, "post_url", "url", "webpage_url", "page_url")),
        created_at=moment(first(content, "post_date", "date", "created_at"), "date", Oddities()),
        likes=known_count(first(content, *_LIKES)),
        comments=known_count(first(content, "comments_count", "replies_count", "reply_count")),
        shares=known_count(first(content, "retweet_count", "reblogs_count", "repostCount")),
        views=known_count(first(content, "view_count", "views", "total_view", "stats.views")),
        tags=[t.lower().lstrip("#") for t in words if t] or hashtags(text),
        text=text,
        sensitive=flag(first(content, "sensitive", "possibly_sensitive", "nsfw")),
        visibility=plain(content.get("visibility")),
        media=[_medium(tree, entry.path, content)],
        flags=_flags(content, person),
    )
    return Found(post, author, entry.changed)


def _flags(content: Mapping[str, Any], person: Any) -> frozenset[str]:
    """What the rules of manners look at, where the site tells it."""
    flags = set()
    if plain(content.get("visibility")) in {"private", "direct", "unlisted"}:
        flags.add("not_public")
    if isinstance(person, dict):
        flags |= {name for name in ("noindex", "bot") if person.get(name) is True}
        flags |= {"not_discoverable"} if person.get("discoverable") is False else set()
    return frozenset(flags)


def _author(content: Mapping[str, Any], person: Mapping[str, Any]) -> Author | None:
    one = identifier(first(person, "id", "did", "nsid", "name", "username")) or identifier(
        first(content, "owner_id", "user_id", "author_id", "username", "user", "author", "uploader")
    )
    if one is None:
        return None
    handle = first(person, "acct", "handle", "name", "username", "account")
    return Author(
        one,
        handle=plain(handle) or plain(first(content, "username", "uploader", "author")),
        followers=known_count(first(person, *_FOLLOWERS)),
        following=known_count(first(person, "friends_count", "following_count", "followsCount")),
        posts_count=known_count(first(person, "statuses_count", "postsCount", "media_count")),
        source="import",
    )


def _medium(tree: Tree, record: PurePosixPath, content: Mapping[str, Any]) -> Media:
    path = record.with_name(record.stem)
    film = path.suffix.lower() in _FILMS
    there = tree.entry(path) is not None
    return Media(
        0,
        "video" if film else "image",
        tree.address(path) if there and not film else None,
        alt=plain(content.get("alt") if isinstance(content.get("alt"), str) else None),
    )
