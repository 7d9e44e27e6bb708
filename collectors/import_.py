"""``import``: what people have already -> the tables ``posts`` and ``authors``."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from collectors.crawling.journal import Journal
from collectors.crawling.manners import reason_to_drop
from collectors.imports import meanings
from collectors.imports.base import Found, Kind, Options, RecordKind, Refusals, TableKind, What
from collectors.imports.ledger import Ledger, Said
from collectors.imports.places import host_name
from collectors.imports.publishing import listed, publish, with_readings, written
from collectors.imports.registry import recognise
from collectors.imports.trees import Tree, open_tree
from collectors.imports.unpacking import is_compressed_tar, unpack
from likewise.errors import DataError
from likewise.funnel import Funnel
from likewise.progress import Bar, progress
from likewise.study import Manifest, Study
from likewise.tables import AUTHORS, POSTS
from likewise.working import changes_study

if TYPE_CHECKING:
    from collectors.platforms.records import Post

__all__ = ["Imported", "import_"]

BATCH = 8192
"""Records of one row group."""


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import understood, and what it did not.

    ``meanings`` names the column of each meaning (tables only); ``forbids`` says what the source
    lacks; ``refused`` lists items with their reason, the first ones of ``n_refused``.
    """

    manifest: Manifest
    kind: str
    recognised: str
    host: str
    posts: int
    authors: int
    dropped: Mapping[str, int]
    meanings: Mapping[str, str]
    unused: tuple[str, ...]
    forbids: tuple[str, ...]
    notes: tuple[str, ...]
    refused: tuple[tuple[str, str], ...]
    reasons: Mapping[str, int]

    @property
    def n_refused(self) -> int:
        """Items that were not understood."""
        return sum(self.reasons.values())


@changes_study("import")
def import_(
    study: Study | str | os.PathLike[str],
    source: str | os.PathLike[str],
    *,
    kind: str | None = None,
    name: str | None = None,
    options: Options | None = None,
) -> Imported:
    """Take posts and authors of a table, folder or export into the study; nothing is fetched.

    Imported again under the same name, a source's posts replace its earlier ones.

    Args:
        study: The study or its folder.
        source: A file, a folder or an archive.
        kind: What it is, where that is not to be found out; see ``collectors.imports.KINDS``.
        name: Name of the source in the study; None takes that of the file or folder.
        options: What its columns and numbers mean.

    Raises:
        UsageError: there is no such source, kind, column or meaning.
        DataError: nothing in it is understood, or a number can be read in two ways.
    """
    opened = Study.open(study)
    options = options or Options()
    path = Path(source).expanduser().absolute()
    host = host_name(name or _name_of(path))
    packed = path
    if is_compressed_tar(packed):
        path = unpack(packed, opened.folder("imports") / host)
    tree = open_tree(path)
    try:
        found, what = recognise(tree, path, kind)
    except DataError as error:
        if path == packed:
            raise
        shutil.rmtree(path)
        raise DataError(str(error).replace(str(path), str(packed)), hint=error.hint) from error
    with (
        tempfile.TemporaryDirectory(dir=opened.folder(".staging"), prefix="import-") as folder,
        progress(f"import: {found.title}") as bar,
        Journal(opened.journal_path) as journal,
    ):
        work = _Source(opened, tree, found, what, host, options, journal, bar)
        return work.imported(path, Path(folder))


def _name_of(path: Path) -> str:
    return path.name if path.is_dir() else path.name.split(".", maxsplit=1)[0] or path.name


class _Source:
    """One source on its way into the tables."""

    def __init__(
        self,
        study: Study,
        tree: Tree,
        kind: Kind,
        what: What,
        host: str,
        options: Options,
        journal: Journal,
        bar: Bar,
    ) -> None:
        self.study, self.tree, self.kind, self.what = study, tree, kind, what
        self.host, self.options = host, options
        self.journal, self.bar = journal, bar
        self.refusals = Refusals()
        self.dropped: Counter[str] = Counter()
        self.has: set[str] = set(options.constants)
        self.meanings: Mapping[str, str] = {}
        self.unused: tuple[str, ...] = ()

    def imported(self, source: Path, scratch: Path) -> Imported:
        """Read, judge and publish."""
        parts = {n: scratch / f"{n}.parquet" for n in ("posts", "post_counts", "authors")}
        root = self.tree.root
        if isinstance(self.kind, TableKind):
            root = (self.options.pictures or self.what.path.parent).absolute()
            posts, authors = self._table(self.kind, root, parts, scratch)
        else:
            assert isinstance(self.kind, RecordKind)
            posts, authors = self._records(self.kind, parts, scratch)
        if not posts and not authors:
            raise DataError(f"{source}: nothing in it is understood{self._why()}")
        dropped = {**self.refusals.reasons, **self.dropped}
        rows_in = posts + sum(dropped.values())
        about = {
            "kind": self.kind.name,
            "source": str(source),
            "root": str(root),
            "platform": self.kind.platform,
            "posts": posts,
            "funnel": Funnel("import", "posts", rows_in, posts, dropped).to_dict(),
            "notes": self.refusals.notes,
        }
        manifest = publish(self.study, self.host, about, parts, scratch)
        if self.refusals.listed:
            listed(self.refusals.listed, self.study.folder("logs") / f"{self.host}.tsv")
        classes = self.study.config.question.kind != "likes"
        return Imported(
            manifest=manifest,
            kind=self.kind.name,
            recognised=self.what.words,
            host=self.host,
            posts=posts,
            authors=authors,
            dropped=dict(self.dropped),
            meanings=self.meanings,
            unused=self.unused,
            forbids=tuple(meanings.missing(self.has, classes=classes)) if posts else (),
            notes=tuple(self.refusals.notes),
            refused=tuple(self.refusals.listed),
            reasons=dict(self.refusals.reasons),
        )

    def _why(self) -> str:
        reasons = self.refusals.reasons + self.dropped
        first = [f"{place}: {reason}" for place, reason in self.refusals.listed[:5]]
        counted = ", ".join(f"{times:,} {reason}" for reason, times in reasons.most_common(5))
        return (f" ({counted})" if counted else ": it holds no row") + "".join(
            f"\n  {line}" for line in first
        )

    # -- tables ---------------------------------------------------------------------------

    def _table(
        self, kind: TableKind, root: Path, parts: Mapping[str, Path], scratch: Path
    ) -> tuple[int, int]:
        import duckdb

        from collectors.imports import tabular
        from collectors.imports.paths import Pictures

        path = self.what.path
        rows = kind.rows(path, self.options, scratch, self.refusals)
        place = tabular.Place(
            kind.platform,
            self.host,
            path.name,
            path.stat().st_mtime_ns // 1000,
            Pictures(root),
            self.study.config.collect,
            self._gone if self.journal.forgotten.anybody else None,
        )
        with duckdb.connect(str(scratch / "import.duckdb")) as db:
            tabular.prepare(db, self.options, scratch)
            table = tabular.loaded(db, rows, place, self.options, self.refusals)
            posts = self._written(table.posts(), parts)
            authors = written(parts["authors"], AUTHORS.schema, table.authors())
        self.dropped.update(table.dropped)
        self.has |= table.has
        self.meanings, self.unused = table.meanings, tuple(table.unused)
        return posts, authors

    def _gone(self, ids: set[str]) -> frozenset[str]:
        return self.journal.forgotten.among(self.kind.platform, self.host, ids)

    def _written(self, tables: Iterator[pa.Table], parts: Mapping[str, Path]) -> int:
        """Posts and the readings of their counts; returns the posts."""
        return written(
            parts["posts"], POSTS.schema, with_readings(self._counted(tables), parts["post_counts"])
        )

    def _counted(self, tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
        for table in tables:
            self.bar.advance(table.num_rows)
            yield table

    # -- records --------------------------------------------------------------------------

    def _records(
        self, kind: RecordKind, parts: Mapping[str, Path], scratch: Path
    ) -> tuple[int, int]:
        with Ledger(scratch / "records.sqlite") as ledger:
            rows = _tables(self._kept(kind, ledger), POSTS.schema)
            posts = self._written(rows, parts)
            for author, read_at in kind.authors(self.tree, self.refusals):
                if author.followers is not None:
                    self.has.add("followers")
                ledger.meet(author, read_at)
            place = {"platform": self.kind.platform, "host": self.host}
            people = _tables(({**row, **place} for row in ledger.people()), AUTHORS.schema)
            authors = written(parts["authors"], AUTHORS.schema, people)
        return posts, authors if posts else 0

    def _kept(self, kind: RecordKind, ledger: Ledger) -> Iterator[dict[str, Any]]:
        """Rows of the posts that go on."""
        for read in kind.read(self.tree, self.options, self.refusals):
            found = self._with_constants(read)
            self._look(found)
            if self._given_before(found.post, ledger):
                continue
            reason = self._reason(found)
            if reason is not None:
                self.dropped[reason] += 1
                continue
            if found.author is not None:
                ledger.meet(found.author, found.read_at)
            yield self._post_row(found)

    def _with_constants(self, found: Found) -> Found:
        """What the user says of the whole source, where its records leave it open."""
        given = self.options.constants
        post, author = found.post, found.author
        if "author" in given and post.author_id.startswith("post:"):
            post.author_id = given["author"]
            author = None if author is None else replace(author, author_id=given["author"])
        if "date" in given and post.created_at is None:
            from collectors.platforms.fields import moment
            from collectors.platforms.records import Oddities

            post.created_at = moment(given["date"], "date", Oddities())
        if "followers" in given and author is not None and author.followers is None:
            author = replace(author, followers=int(given["followers"]))
        # A record older than its post was given a wrong time (by unpacking, say).
        late = post.created_at is not None and post.created_at > found.read_at
        return Found(post, author, time.time_ns() // 1000 if late else found.read_at)

    def _look(self, found: Found) -> None:
        """Note what the source tells at all."""
        post, author = found.post, found.author
        told = {
            "likes": post.likes is not None,
            "views": post.views is not None,
            "date": post.created_at is not None,
            "author": not post.author_id.startswith("post:"),
            "picture": any(medium.url for medium in post.media),
            "label": any(label.startswith("class:") for label in post.labels),
            "tags": bool(post.tags),
            "followers": author is not None and author.followers is not None,
        }
        self.has |= {name for name, known in told.items() if known}

    def _given_before(self, post: Post, ledger: Ledger) -> bool:
        """Count a post whose id an earlier record had; list it where they contradict each other."""
        first = ledger.first(post)
        if first is None:
            return False
        now = Said(post.author_id, post.created_at, post.likes)
        other = [name for name, a, b in zip(Said._fields, first, now, strict=True) if a != b]
        if other:
            why = f"id given before with another {', '.join(other)}"
            self.refusals.add(f"{self.tree.root.name}: {post.post_id}", why)
        else:
            self.dropped["id given before"] += 1
        return True

    def _reason(self, found: Found) -> str | None:
        post = found.post
        flags = set(post.flags) | (set() if post.media else {"no_media"})
        flags |= found.author.flags if found.author is not None else set()
        if self.journal.forgotten.anybody and self._gone({post.author_id}):
            flags.add("forgotten")
        section = self.study.config.collect
        return reason_to_drop(flags, sensitive=bool(post.sensitive), section=section)

    def _post_row(self, found: Found) -> dict[str, Any]:
        place = {"platform": self.kind.platform, "host": self.host}
        return {**found.post.row(), **place, "collected_at": found.read_at}


def _tables(rows: Iterator[dict[str, Any]], schema: pa.Schema) -> Iterator[pa.Table]:
    for first in rows:
        batch = [first, *islice(rows, BATCH - 1)]
        yield pa.Table.from_pylist(batch, schema=schema)
