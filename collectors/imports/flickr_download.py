"""Flickr's "request my data": ``photo_ID.json`` files with counts, and pictures named by their id.

Shape: the export itself. Views, faves, comments and tags are in it; followers are when the zip
with ``followers_part*.json`` lies beside. Pictures come in zips of their own: unpack all into one
folder.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any, ClassVar

from collectors.imports.base import Found, Options, RecordKind, Refusals, What
from collectors.imports.trees import Tree
from collectors.imports.values import dig, first, known_count, objects, record, table_of
from collectors.platforms.fields import moment, plain, strip_html, url
from collectors.platforms.records import Author, Media, Oddities, Post

__all__ = ["FlickrDownload"]

_PHOTO = re.compile(r"^photo_(\d+)\.json$")
_PICTURE = re.compile(r"(?:^|_)(\d{6,})(?:_o)?\.[A-Za-z0-9]+$")
_FILMS = (".mp4", ".mov", ".avi")


class FlickrDownload(RecordKind):
    """One person's photographs with faves and views."""

    name: ClassVar[str] = "flickr-download"
    platform: ClassVar[str] = "flickr"
    title: ClassVar[str] = "Flickr's download of one's data"

    def recognise(self, tree: Tree) -> What | None:
        photos = [e for e in tree.sample if _PHOTO.match(e.path.name)]
        return What(f"{len(photos)} photographs' records", tree.root) if photos else None

    def read(self, tree: Tree, options: Options, refusals: Refusals) -> Iterator[Found]:
        author = _owner(tree, options, refusals)
        files = {
            match[1]: e.path
            for e in tree.files()
            if e.path.suffix != ".json" and (match := _PICTURE.search(e.path.name))
        }
        for entry in tree.files():
            if not _PHOTO.match(entry.path.name):
                continue
            content = table_of(tree, entry.path, refusals)
            if content is None:
                continue
            if not content.get("id"):
                refusals.add(tree.place(entry.path), "no id")
                continue
            post = _post(tree, content, author, files.get(str(content["id"])))
            yield Found(post, author, entry.changed)


def _owner(tree: Tree, options: Options, refusals: Refusals) -> Author:
    path = tree.find("account_profile.json")
    profile = table_of(tree, path, refusals) if path is not None else None
    one = plain(first(profile or {}, "nsid", "screen_name", "name")) or "me"
    lists = [e.path for e in tree.sample if e.path.name.startswith("followers_part")]
    counts = [_followers(record(tree, file, Refusals())) for file in lists]
    known = sum(c for c in counts if c is not None) if any(c is not None for c in counts) else None
    return Author(
        one,
        handle=plain(first(profile or {}, "screen_name", "name")),
        followers=known_count(options.constants.get("followers", known)),
        posts_count=known_count(dig(profile, "stats", "photos_count")),
        source="import",
    )


def _followers(content: Any) -> int | None:
    people = dig(content, "followers")
    return len(people) if isinstance(people, list | dict) else None


def _post(
    tree: Tree, content: Mapping[str, Any], author: Author, file: PurePosixPath | None
) -> Post:
    film = file is not None and file.suffix.lower() in _FILMS
    words = [plain(one.get("tag")) for one in objects(content.get("tags"))]
    public = content.get("privacy") in {"public", None}
    picture = tree.address(file) if file is not None and not film else None
    return Post(
        str(content["id"]),
        author.author_id,
        url=url(content.get("photopage")),
        created_at=moment(first(content, "date_imported", "date_taken"), "date", Oddities()),
        likes=known_count(content.get("count_faves")),
        comments=known_count(content.get("count_comments")),
        views=known_count(content.get("count_views")),
        tags=[word.lower() for word in words if word],
        text=strip_html(first(content, "description", "name")),
        visibility=plain(content.get("privacy")),
        sensitive=None if content.get("safety") is None else content["safety"] != "safe",
        media=[Media(0, "video" if film else "image", picture or url(content.get("original")))],
        flags=frozenset() if public else frozenset({"not_public"}),
    )
