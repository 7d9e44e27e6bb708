"""Pixelfed's data export: ``outbox.json`` or ``statuses.json``, ``followers.json`` beside it.

Shape: Pixelfed's ``SettingsController`` (data export): statuses are an ActivityPub outbox,
followers a list of addresses. Pictures are not part of it: their addresses are, and ``download``
fetches them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any, ClassVar

from collectors.imports import activitypub
from collectors.imports.base import Found, Options, RecordKind, Refusals, What
from collectors.imports.trees import Tree
from collectors.imports.values import known_count, objects, record
from collectors.platforms.fields import plain, url
from collectors.platforms.records import Author

__all__ = ["PixelfedExport"]

_NAMES = ("outbox.json", "statuses.json", "pixelfed-statuses.json")
_ACTORS = ("account.json", "actor.json", "pixelfed-account.json")


class PixelfedExport(RecordKind):
    """One person's posts; the pictures stay on the server."""

    name: ClassVar[str] = "pixelfed-export"
    platform: ClassVar[str] = "pixelfed"
    title: ClassVar[str] = "Pixelfed export"

    def recognise(self, tree: Tree) -> What | None:
        path = _outbox(tree)
        content = None if path is None else record(tree, path, Refusals())
        if path is None or not _items(content):
            return None
        return What(f"export with {len(_items(content)):,} posts", tree.root)

    def read(self, tree: Tree, options: Options, refusals: Refusals) -> Iterator[Found]:
        path = _outbox(tree)
        entry = None if path is None else tree.entry(path)
        if path is None or entry is None:
            return
        content = record(tree, path, refusals)
        author = _owner(tree, content, options)
        if author is None:
            refusals.add(tree.place(path), "it does not say whose posts these are")
            return
        outbox = {"orderedItems": _items(content)}
        for post in activitypub.posts(outbox, author, tree.place(path), url, refusals):
            yield Found(post, author, entry.changed)


def _outbox(tree: Tree) -> PurePosixPath | None:
    names = [e.path for e in tree.sample if e.path.name in _NAMES]
    named = [e.path for e in tree.sample if e.path.name.endswith("statuses.json")]
    return next(iter([*names, *named]), None)


def _items(content: Any) -> list[Any]:
    """Activities of an outbox, or a bare list of notes, as activities."""
    found = content.get("orderedItems") if isinstance(content, dict) else content
    items = objects(found)
    return [one if "object" in one else {"type": "Create", "object": one} for one in items]


def _owner(tree: Tree, content: Any, options: Options) -> Author | None:
    path = next((p for n in _ACTORS if (p := tree.find(n)) is not None), None)
    actor = record(tree, path, Refusals()) if path is not None else None
    if not isinstance(actor, dict) or not plain(actor.get("id")):
        notes = [one.get("object") for one in _items(content)]
        made_by = [n.get("attributedTo") for n in notes if isinstance(n, dict)]
        actor = {"id": next((one for one in made_by if isinstance(one, str)), None)}
    listed = tree.find("followers.json")
    people = record(tree, listed, Refusals()) if listed is not None else None
    known = len(people) if isinstance(people, list) else None
    return activitypub.author_of(actor, known_count(options.constants.get("followers", known)))
