"""Folders of pictures: alone, or sorted into one folder a class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import ClassVar

from collectors.imports.base import Found, Options, RecordKind, Refusals, What
from collectors.imports.trees import Entry, Tree
from collectors.platforms.fields import plain
from collectors.platforms.records import Author, Media, Post

__all__ = ["Classes", "Pictures"]


class Pictures(RecordKind):
    """Pictures without a word about them; each is a post of its own."""

    name: ClassVar[str] = "pictures"
    platform: ClassVar[str] = "folder"
    title: ClassVar[str] = "folder of pictures"

    def recognise(self, tree: Tree) -> What | None:
        if any(entry.is_picture for entry in tree.sample):
            return What("pictures, without a table or records", tree.root)
        return None

    def read(self, tree: Tree, options: Options, refusals: Refusals) -> Iterator[Found]:
        for entry in tree.files():
            if entry.is_picture:
                yield _post(tree, entry, options, [])
            else:
                refusals.add(tree.place(entry.path), "no picture by its name")
        for place, reason in tree.refused:
            refusals.add(place, reason)


class Classes(RecordKind):
    """One folder a class: the folder's name is the picture's label."""

    name: ClassVar[str] = "classes"
    platform: ClassVar[str] = "folder"
    title: ClassVar[str] = "one folder a class"

    def recognise(self, tree: Tree) -> What | None:
        # Deeper folders may be days or parts of a set as well: a person says if they are classes.
        pictures = [entry for entry in tree.sample if entry.is_picture]
        if any(len(entry.path.parts) != 2 for entry in pictures):
            return None
        return self.recognise_named(tree)

    def recognise_named(self, tree: Tree) -> What | None:
        """Folders at any depth: ``animal/cat`` is a class of a taxonomy."""
        pictures = (entry for entry in tree.sample if entry.is_picture)
        classes = Counter(_class(entry) for entry in pictures if len(entry.path.parts) > 1)
        if not classes:
            return None
        names = ", ".join(f"{name} ({n:,})" for name, n in classes.most_common(8))
        more = f" and {len(classes) - 8} more" if len(classes) > 8 else ""
        folder = "folder" if len(classes) == 1 else "folders"
        return What(f"{len(classes)} {folder} of pictures: {names}{more}", tree.root)

    def read(self, tree: Tree, options: Options, refusals: Refusals) -> Iterator[Found]:
        for entry in tree.files():
            if not entry.is_picture:
                refusals.add(tree.place(entry.path), "no picture by its name")
                continue
            if len(entry.path.parts) < 2:
                refusals.add(tree.place(entry.path), "in no class folder")
                continue
            yield _post(tree, entry, options, [f"class:{_class(entry)}"])
        for place, reason in tree.refused:
            refusals.add(place, reason)


def _class(entry: Entry) -> str:
    return " ".join((plain("/".join(entry.path.parts[:-1])) or "unnamed").split())


def _post(tree: Tree, entry: Entry, options: Options, labels: list[str]) -> Found:
    name = plain(str(entry.path)) or f"bytes {str(entry.path).encode(errors='replace').hex()}"
    post = Post(
        name,
        f"post:{name}",
        labels=labels,
        media=[Media(0, "image", tree.address(entry.path))],
    )
    del options
    return Found(post, Author(post.author_id, source="import"), entry.changed)
