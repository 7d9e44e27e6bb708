"""Mastodon's archive: ``actor.json``, ``outbox.json`` and ``media_attachments/``.

Shape: Mastodon's ``app/services/backup_service.rb``. Likes and boosts of a post are in it where the
server's version writes them (``likes.totalItems``); how many followers the owner has never is.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import ClassVar
from urllib.parse import urlsplit

from collectors.imports import activitypub
from collectors.imports.base import Found, Options, RecordKind, Refusals, What
from collectors.imports.trees import Tree
from collectors.imports.values import dig, known_count, table_of
from collectors.platforms.records import Author

__all__ = ["MastodonArchive"]


class MastodonArchive(RecordKind):
    """One person's posts with their pictures."""

    name: ClassVar[str] = "mastodon-archive"
    platform: ClassVar[str] = "mastodon"
    title: ClassVar[str] = "Mastodon archive"

    def recognise(self, tree: Tree) -> What | None:
        outbox, actor = tree.find("outbox.json"), tree.find("actor.json")
        if outbox is None or actor is None:
            return None
        content = table_of(tree, actor, Refusals())
        return What(f"archive of {(content or {}).get('preferredUsername', 'somebody')}", tree.root)

    def read(self, tree: Tree, options: Options, refusals: Refusals) -> Iterator[Found]:
        path = tree.find("outbox.json")
        author = _owner(tree, options, refusals)
        entry = None if path is None else tree.entry(path)
        if path is None or author is None or entry is None:
            return
        outbox = table_of(tree, path, refusals)
        if outbox is None:
            return

        def locate(where: str) -> str | None:
            """Attachments lie beside the outbox under the end of their address."""
            inner = PurePosixPath(urlsplit(where).path.lstrip("/"))
            for start in range(len(inner.parts)):
                here = path.parent.joinpath(*inner.parts[start:])
                if tree.entry(here) is not None:
                    return tree.address(here)
            return None

        for post in activitypub.posts(outbox, author, tree.place(path), locate, refusals):
            yield Found(post, author, entry.changed)


def _owner(tree: Tree, options: Options, refusals: Refusals) -> Author | None:
    path = tree.find("actor.json")
    actor = None if path is None else table_of(tree, path, refusals)
    if actor is None:
        return None
    told = dig(actor, "followers", "totalItems")
    followers = options.constants.get("followers", told)
    author = activitypub.author_of(actor, known_count(followers))
    if author is None:
        refusals.add(tree.place(path or "actor.json"), "an actor without id")
    return author
