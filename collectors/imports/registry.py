"""The kinds of sources by name, and which of them a source is."""

from __future__ import annotations

from pathlib import Path

from collectors.imports.base import Kind, TableKind, What
from collectors.imports.columnar import Database, Parquet
from collectors.imports.delimited import ENDINGS, Delimited
from collectors.imports.excel import Excel
from collectors.imports.flickr_download import FlickrDownload
from collectors.imports.folders import Classes, Pictures
from collectors.imports.gallery_dl import GalleryDl
from collectors.imports.img2dataset import Img2dataset
from collectors.imports.instagram_download import InstagramDownload
from collectors.imports.instaloader import Instaloader
from collectors.imports.json_table import JsonTable
from collectors.imports.mastodon_archive import MastodonArchive
from collectors.imports.pixelfed_export import PixelfedExport
from collectors.imports.trees import Tree
from likewise.errors import DataError, UsageError

__all__ = ["KINDS", "get", "recognise"]

KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        MastodonArchive(),
        PixelfedExport(),
        InstagramDownload(),
        FlickrDownload(),
        Instaloader(),
        GalleryDl(),
        Img2dataset(),
        Delimited(),
        Excel(),
        JsonTable(),
        Parquet(),
        Database(),
        Classes(),
        Pictures(),
    )
}
"""Name -> kind, those with the plainest signs first."""

_TABLES = {
    **dict.fromkeys(ENDINGS, "csv"),
    **dict.fromkeys((".xlsx", ".xlsm"), "excel"),
    **dict.fromkeys((".json", ".jsonl", ".ndjson"), "json"),
    ".parquet": "parquet",
    **dict.fromkeys((".db", ".sqlite", ".sqlite3", ".duckdb"), "database"),
}


def get(name: str) -> Kind:
    """The kind of that name. Raises UsageError."""
    if name not in KINDS:
        raise UsageError(f"there is no kind {name!r} of source; kinds are {', '.join(KINDS)}")
    return KINDS[name]


def recognise(tree: Tree, source: Path, name: str | None = None) -> tuple[Kind, What]:
    """What a source is, by its content; ``name`` says it beforehand.

    Raises:
        UsageError: there is no kind of that name.
        DataError: the source is of no known kind, or not of the named one.
    """
    alone = source.is_file() and tree.root != source
    if name is not None:
        kind = get(name)
        if alone and isinstance(kind, TableKind):
            return kind, What(f"as said: {kind.title}", source)
        what = kind.recognise_named(tree)
        if what is None:
            raise DataError(f"{source} holds nothing that a {kind.title} has")
        return kind, what
    if alone:
        return _alone(tree, source)
    for kind in KINDS.values():
        what = kind.recognise(tree)
        if what is not None:
            return kind, what
    if not tree.sample:
        raise DataError(f"{source} holds no file", hint="hidden files are not looked at")
    raise DataError(
        f"{source}: nothing in it is understood",
        hint="docs/importing.md shows what is; say it with --as KIND",
    )


def _alone(tree: Tree, source: Path) -> tuple[Kind, What]:
    """A single file: a table, or the list of posts of an archive that lies around it."""
    for kind in (MastodonArchive(), PixelfedExport(), InstagramDownload()):
        what = kind.recognise(tree)
        marks = {"outbox.json", "actor.json"} if kind.name != "instagram-download" else set()
        if what is not None and (source.name in marks or source.name.startswith("posts_1")):
            return KINDS[kind.name], what
    table = _TABLES.get(source.suffix.lower())
    if table is None:
        raise DataError(
            f"{source}: a file of this kind is not understood",
            hint=f"known endings are {', '.join(sorted(_TABLES))}; or say what it is: --as KIND",
        )
    return KINDS[table], What(KINDS[table].title, source)
