"""Instagram's "download your information" as JSON: the owner's posts and their pictures.

Shape: the export itself, ``content/posts_1.json`` or ``your_instagram_activity/.../posts_1.json``:
a list of ``{"media": [{"uri", "creation_timestamp", "title"}], "title", "creation_timestamp"}``.
It holds no likes. Text is UTF-8 written byte by byte.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any, ClassVar

from collectors.imports.base import Found, Options, RecordKind, Refusals, What
from collectors.imports.trees import Tree
from collectors.imports.values import dig, first, known_count, mended, objects, record
from collectors.platforms.fields import hashtags, moment, plain
from collectors.platforms.records import Author, Media, Oddities, Post

__all__ = ["InstagramDownload"]

_POSTS = re.compile(r"^posts_\d+\.json$")
_FILMS = (".mp4", ".mov", ".webm")


class InstagramDownload(RecordKind):
    """One person's posts, without likes."""

    name: ClassVar[str] = "instagram-download"
    platform: ClassVar[str] = "instagram"
    title: ClassVar[str] = "Instagram's download of one's information"

    def recognise(self, tree: Tree) -> What | None:
        files = [e.path for e in tree.sample if _POSTS.match(e.path.name)]
        return What(f"{len(files)} lists of posts", tree.root) if files else None

    def read(self, tree: Tree, options: Options, refusals: Refusals) -> Iterator[Found]:
        author = _owner(tree, options)
        for entry in [e for e in tree.files() if _POSTS.match(e.path.name)]:
            content = record(tree, entry.path, refusals)
            items = content if isinstance(content, list) else [content]
            for number, item in enumerate(items, 1):
                post = _post(tree, entry.path, item, author) if isinstance(item, dict) else None
                if post is None and content is not None:
                    refusals.add(f"{tree.place(entry.path)} item {number}", "no post with media")
                elif post is not None:
                    yield Found(post, author, entry.changed)


def _owner(tree: Tree, options: Options) -> Author:
    path = tree.find("personal_information.json")
    content = record(tree, path, Refusals()) if path is not None else None
    words = dig(content, "profile_user", 0, "string_map_data")
    named = dig(words, "Username", "value") if isinstance(words, dict) else None
    handle = plain(options.constants.get("author") or mended(named)) or "me"
    files = [e.path for e in tree.sample if re.match(r"^followers(_\d+)?\.json$", e.path.name)]
    lists = [record(tree, file, Refusals()) for file in files]
    people = [
        one if isinstance(one, list) else dig(one, "relationships_followers") for one in lists
    ]
    known = sum(len(one) for one in people if isinstance(one, list)) if files else None
    return Author(
        handle,
        handle=handle,
        followers=known_count(options.constants.get("followers", known)),
        source="import",
    )


def _post(tree: Tree, file: PurePosixPath, item: Mapping[str, Any], author: Author) -> Post | None:
    media = [one for one in objects(item.get("media")) if isinstance(one.get("uri"), str)]
    if not media:
        return None
    text = plain(mended(first(item, "title") or first(media[0], "title")))
    when = first(item, "creation_timestamp") or first(media[0], "creation_timestamp")
    return Post(
        media[0]["uri"],
        author.author_id,
        created_at=moment(when, "date", Oddities()),
        tags=hashtags(text),
        text=text,
        media=[_medium(tree, file, index, one["uri"]) for index, one in enumerate(media)],
    )


def _medium(tree: Tree, file: PurePosixPath, index: int, uri: str) -> Media:
    """Paths count from the export's root, which may lie in a folder of its own."""
    film = uri.lower().endswith(_FILMS)
    for folder in (PurePosixPath(), *file.parents):
        if not film and tree.entry(folder / uri) is not None:
            return Media(index, "image", tree.address(folder / uri))
    return Media(index, "video" if film else "image", None)
