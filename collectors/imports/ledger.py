"""What a source's records have said so far, in a scratch file: memory does not grow with them.

A downloader's folder may hold millions of records. SQLite keeps them in the order of their keys,
behind a cache of a few megabytes, for a few microseconds each.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import pyarrow as pa

from likewise.tables import AUTHORS

if TYPE_CHECKING:
    from collectors.platforms.records import Author, Post

__all__ = ["Ledger", "Said"]

COLUMNS = tuple(n for n in AUTHORS.schema.names if n not in {"platform", "host", "fetched_at"})
FLAGS = frozenset(n for n in COLUMNS if pa.types.is_boolean(AUTHORS.schema.field(n).type))

_SCHEMA = f"""
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
CREATE TABLE said (id PRIMARY KEY, author, date, likes) WITHOUT ROWID;
CREATE TABLE people (read_at, {", ".join(COLUMNS)}, PRIMARY KEY (author_id, read_at)) WITHOUT ROWID;
"""
_PERSON = f"INSERT OR REPLACE INTO people VALUES ({', '.join('?' * (len(COLUMNS) + 1))})"
_PEOPLE = f"SELECT read_at, {', '.join(COLUMNS)} FROM people ORDER BY author_id, read_at"


class Said(NamedTuple):
    """What two records of one post must agree on."""

    author: str
    date: int | None
    likes: int | None


class Ledger:
    """The posts and people of a source that have been read. A context manager."""

    def __init__(self, path: Path) -> None:
        # Nothing outlives the run, so nothing is committed.
        self._db = sqlite3.connect(path)
        self._db.executescript(_SCHEMA)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._db.close()

    def first(self, post: Post) -> Said | None:
        """What an earlier record said of the post; None when this is the first one."""
        row = (post.post_id, post.author_id, post.created_at, post.likes)
        if self._db.execute("INSERT OR IGNORE INTO said VALUES (?, ?, ?, ?)", row).rowcount:
            return None
        query = "SELECT author, date, likes FROM said WHERE id = ?"
        return Said(*self._db.execute(query, (post.post_id,)).fetchone())

    def meet(self, author: Author, read_at: int) -> None:
        """Keep a reading of an author; a later one of the same moment takes its place."""
        self._db.execute(_PERSON, (read_at, *(getattr(author, name) for name in COLUMNS)))

    def people(self) -> Iterator[dict[str, Any]]:
        """The readings as rows of ``authors``, without platform and host, in order of their ids."""
        for row in self._db.execute(_PEOPLE):
            known = {
                name: bool(value) if name in FLAGS else value
                for name, value in zip(("fetched_at", *COLUMNS), row, strict=True)
                if value is not None
            }
            yield known
