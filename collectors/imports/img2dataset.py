"""img2dataset's output: shards as Parquet tables, with pictures in tar files, folders or inside.

Shapes: img2dataset's README, "Output format": ``webdataset`` (00000.tar + 00000.parquet), ``files``
(00000/000000000.jpg + 00000.parquet), ``parquet`` (00000.parquet with the bytes). Columns that the
list of addresses had (``--save_additional_columns``) stand beside url, key, status, caption.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.parquet as pq

from collectors.imports import meanings
from collectors.imports.base import Found, Options, RecordKind, Refusals, What
from collectors.imports.places import address
from collectors.imports.sqltext import NO_LABEL
from collectors.imports.tables import cell
from collectors.imports.trees import Entry, Folder, TarTree, Tree
from collectors.imports.values import known_count
from collectors.platforms.fields import hashtags, moment, plain, side
from collectors.platforms.records import Author, Media, Oddities, Post
from likewise.errors import DataError

__all__ = ["Img2dataset"]

_SHARD = re.compile(r"^(\d{3,})\.parquet$")
_ENDINGS = (".jpg", ".png", ".webp", ".jpeg")
_OWN = {"key", "status", "error_message", "exif", "sha256", "md5", "original_width",
        "original_height", "width", "height"}  # fmt: skip
ROWS = 1000


class Img2dataset(RecordKind):
    """Shards with a table each."""

    name: ClassVar[str] = "img2dataset"
    platform: ClassVar[str] = "img2dataset"
    title: ClassVar[str] = "img2dataset's shards"

    def recognise(self, tree: Tree) -> What | None:
        shards = [e for e in tree.sample if _SHARD.match(e.path.name)]
        if not shards or not isinstance(tree, Folder):
            return None
        try:
            columns = _schema(tree, shards[0])
        except DataError:
            columns = ["key", "status"] if tree.find(shards[0].path.stem + "_stats.json") else []
        if not {"key", "status"} <= set(columns):
            return None
        return What(f"{len(shards)} shards of img2dataset", tree.root)

    def read(self, tree: Tree, options: Options, refusals: Refusals) -> Iterator[Found]:
        assert isinstance(tree, Folder)
        for shard in tree.files():
            if _SHARD.match(shard.path.name):
                yield from _shard(tree, shard, options, refusals)
        for place, reason in tree.refused:
            refusals.add(place, reason)


def _schema(tree: Folder, shard: Entry) -> list[str]:
    try:
        return list(pq.read_schema(tree.root / shard.path).names)
    except (pa.ArrowException, OSError) as error:
        raise DataError(str(error)) from error


def _shard(tree: Folder, shard: Entry, options: Options, refusals: Refusals) -> Iterator[Found]:
    try:
        columns = _schema(tree, shard)
        files = _Files(tree, shard.path, columns)
    except DataError as error:
        refusals.add(tree.place(shard.path), "shard cannot be read", str(error))
        return
    found = meanings.guess([c for c in columns if c not in _OWN], options.columns, {})
    wanted = [c for c in columns if c not in {"jpg", "png", "webp"}]
    try:
        number = 0
        for batch in pq.ParquetFile(tree.root / shard.path).iter_batches(ROWS, columns=wanted):
            for row in batch.to_pylist():
                number += 1
                place = f"{tree.place(shard.path)}:{number}"
                if row.get("status") != "success":
                    refusals.add(place, f"img2dataset: {row.get('status') or 'no status'}")
                    continue
                where = files.address(row, number - 1)
                if where is None:
                    refusals.add(place, "picture not in the shard")
                    continue
                yield _post(row, found, options, where, shard)
    except (pa.ArrowException, OSError) as error:
        refusals.add(tree.place(shard.path), "shard cannot be read", str(error))


class _Files:
    """Where the pictures of one shard lie: its tar file, its folder, or its own column."""

    def __init__(self, tree: Folder, shard: PurePosixPath, columns: list[str]) -> None:
        self._tree = tree
        self._shard = shard
        self._folder = shard.with_suffix("")
        self._column = next((c for c in ("jpg", "png", "webp") if c in columns), None)
        tar = shard.with_suffix(".tar")
        self._tar = TarTree(tree.root / tar) if tree.entry(tar) is not None else None

    def address(self, row: Mapping[str, Any], number: int) -> str | None:
        """Address of a row's picture; None when it is not there."""
        key = str(row.get("key") or "")
        if self._column is not None:
            return address(self._shard, column=self._column, row=number)
        for ending in _ENDINGS:
            if self._tar is not None and self._tar.entry(key + ending) is not None:
                inside = self._tar.address(key + ending).removeprefix("import:?")
                return f"{address(self._shard.with_suffix('.tar'))}?{inside}"
            if self._tree.entry(self._folder / (key + ending)) is not None:
                return self._tree.address(self._folder / (key + ending))
        return None


def _post(
    row: Mapping[str, Any], found: Mapping[str, str], options: Options, where: str, shard: Entry
) -> Found:
    def value(meaning: str) -> Any:
        given = options.constants.get(meaning)
        return given if given is not None else row.get(found.get(meaning, ""))

    author = value("author")
    key = f"{shard.path.stem}/{row['key']}"
    author_id = plain(str(author)) if author not in (None, "") else None
    text = plain(value("text"))
    tags = value("tags")
    words = tags if isinstance(tags, list) else re.split(r"[\s,;|#]+", str(tags or ""))
    label = plain(cell(value("label")))
    date = value("date")
    when = date.isoformat() if isinstance(date, dt.date) else date
    media = Media(0, "image", where, None, side(row.get("width")), side(row.get("height")))
    post = Post(
        key,
        (author_id or f"post:{key}").lstrip("@"),
        created_at=moment(when, "date", Oddities()),
        likes=known_count(value("likes")),
        comments=known_count(value("comments")),
        shares=known_count(value("shares")),
        views=known_count(value("views")),
        tags=[str(t).lower() for t in words if t] or hashtags(text),
        text=text,
        labels=[] if label is None or label in NO_LABEL else [f"class:{label}"],
        media=[media],
    )
    reading = Author(
        post.author_id,
        handle=author_id,
        followers=known_count(value("followers")),
        source="import",
    )
    return Found(post, reading, shard.changed)
