"""instaloader's folders: one JSON (``.json`` or ``.json.xz``) a post beside its files.

Shapes: instaloader's documentation, "Metadata JSON Files" and ``instaloader/structures.py``: an
object ``{"node": {...}, "instaloader": {"node_type": "Post" | "Profile" | "StoryItem", ...}}``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any, ClassVar

from collectors.imports.base import Found, Options, RecordKind, Refusals, What
from collectors.imports.trees import Entry, Tree
from collectors.imports.values import dig, first, known_count, objects, table_of
from collectors.platforms.fields import hashtags, moment, plain
from collectors.platforms.records import Author, Media, Oddities, Post

__all__ = ["Instaloader"]

_ENDINGS = (".json.xz", ".json")
_FILMS = (".mp4", ".webm")


class Instaloader(RecordKind):
    """Posts with likes; followers where the owner's profile was saved with them."""

    name: ClassVar[str] = "instaloader"
    platform: ClassVar[str] = "instagram"
    title: ClassVar[str] = "instaloader's folder"

    def recognise(self, tree: Tree) -> What | None:
        for entry in [e for e in tree.sample if _stem(e.path) is not None][:20]:
            content = table_of(tree, entry.path, Refusals())
            if content and isinstance(content.get("instaloader"), dict) and "node" in content:
                version = first(content, "instaloader.version") or "of unknown version"
                return What(f"records of instaloader {version}", tree.root)
        return None

    def read(self, tree: Tree, options: Options, refusals: Refusals) -> Iterator[Found]:  # noqa: ARG002
        for entry, node in _nodes(tree, refusals, {"Post"}):
            found = _post(tree, entry, node, refusals)
            if found is not None:
                yield found
        for place, reason in tree.refused:
            refusals.add(place, reason)

    def authors(self, tree: Tree, refusals: Refusals) -> Iterator[tuple[Author, int]]:  # noqa: ARG002
        # The posts' pass has named the files that are none.
        for entry, node in _nodes(tree, Refusals(), {"Profile"}):
            author = _author(node)
            if author is not None:
                yield author, entry.changed


def _stem(path: PurePosixPath) -> str | None:
    """Name without the ending of a record; None for other files."""
    for ending in _ENDINGS:
        if path.name.endswith(ending):
            return path.name.removesuffix(ending)
    return None


def _nodes(
    tree: Tree, refusals: Refusals, kinds: set[str]
) -> Iterator[tuple[Entry, Mapping[str, Any]]]:
    for entry in tree.files():
        if _stem(entry.path) is None:
            continue
        content = table_of(tree, entry.path, refusals)
        if content is None:
            continue
        kind = first(content, "instaloader.node_type")
        node = content.get("node")
        if kind in kinds and isinstance(node, dict):
            yield entry, node
        elif kind not in {"Post", "Profile", "StoryItem", "Hashtag", "FrozenNodeIterator"}:
            refusals.add(tree.place(entry.path), "no record of instaloader")


def _author(node: Mapping[str, Any]) -> Author | None:
    one = first(node, "id", "pk")
    if one is None:
        return None
    return Author(
        str(one),
        handle=plain(node.get("username")),
        followers=known_count(
            first(node, "edge_followed_by.count", "follower_count", "iphone_struct.follower_count")
        ),
        following=known_count(first(node, "edge_follow.count", "following_count")),
        posts_count=known_count(first(node, "edge_owner_to_timeline_media.count", "media_count")),
        source="import",
    )


def _post(tree: Tree, entry: Entry, node: Mapping[str, Any], refusals: Refusals) -> Found | None:
    code = first(node, "shortcode", "code", "id")
    owner = first(node, "owner", "iphone_struct.user")
    author = _author(owner) if isinstance(owner, dict) else None
    if code is None or author is None:
        refusals.add(tree.place(entry.path), "no shortcode or owner")
        return None
    caption = plain(
        first(node, "caption.text", "iphone_struct.caption.text")
        or dig(node, "edge_media_to_caption", "edges", 0, "node", "text")
        or (node.get("caption") if isinstance(node.get("caption"), str) else None)
    )
    likes = first(
        node, "edge_media_preview_like.count", "edge_liked_by.count", "iphone_struct.like_count",
        "like_count",
    )  # fmt: skip
    when = first(node, "taken_at_timestamp", "date", "taken_at")
    comments = first(
        node, "edge_media_to_comment.count", "edge_media_to_parent_comment.count", "comments"
    )
    post = Post(
        str(code),
        author.author_id,
        url=f"https://www.instagram.com/p/{code}/",
        created_at=moment(when, "date", Oddities()),
        likes=known_count(likes),
        comments=known_count(comments),
        views=known_count(first(node, "video_view_count", "iphone_struct.view_count")),
        tags=hashtags(caption),
        text=caption,
        media=_media(tree, entry.path, node),
        flags=frozenset({"not_public"}) if dig(owner, "is_private") is True else frozenset(),
    )
    return Found(post, author, entry.changed)


def _media(tree: Tree, path: PurePosixPath, node: Mapping[str, Any]) -> list[Media]:
    """Files that instaloader names after the record: ``NAME.jpg``, or ``NAME_1.jpg`` and so on."""
    stem = _stem(path) or ""
    children = [one.get("node") for one in objects(dig(node, "edge_sidecar_to_children", "edges"))]
    nodes = [one for one in children if isinstance(one, dict)] or [dict(node)]
    found = []
    for index, one in enumerate(nodes):
        # A post whose only child was saved alone has no number.
        names = [f"{stem}_{index + 1}", stem] if children else [stem]
        picture = _file(tree, path, names, (".jpg", ".webp", ".png", ".jpeg"))
        film = bool(one.get("is_video")) or _file(tree, path, names, _FILMS) is not None
        found.append(
            Media(
                index,
                "video" if film else "image",
                None if film or picture is None else tree.address(picture),
                tree.address(picture) if film and picture is not None else None,
                alt=plain(one.get("accessibility_caption")),
            )
        )
    return found


def _file(
    tree: Tree, path: PurePosixPath, names: list[str], endings: tuple[str, ...]
) -> PurePosixPath | None:
    for name in names:
        for ending in endings:
            here = path.with_name(name + ending)
            if tree.entry(here) is not None:
                return here
    return None
