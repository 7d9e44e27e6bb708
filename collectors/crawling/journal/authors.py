"""Readings of authors, and the queue of those whose account has to be asked."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Sequence

from collectors.crawling.journal.counters import Counters
from collectors.crawling.journal.schema import encode, name_digest
from collectors.crawling.manners import OPTED_OUT
from collectors.platforms.records import Author

__all__ = ["Authors"]


_FRESH = 30 * 86_400_000_000
"""Microseconds for which a reading that says the same is not stored again."""


class Authors:
    """What was read about authors; each reading stands beside the earlier ones.

    The column ``pass`` numbers the readings of an author from one source, from 1.
    """

    def __init__(self, db: sqlite3.Connection, counters: Counters) -> None:
        self._db = db
        self._counters = counters

    def store(
        self,
        platform: str,
        host: str,
        authors: Iterable[Author],
        gone: frozenset[str] = frozenset(),
    ) -> None:
        """Store what was read about authors, unless it says what the last reading said."""
        now = time.time_ns() // 1000
        latest = {(a.author_id, a.source): a for a in authors if a.author_id not in gone}
        for author in latest.values():
            number, told = self._last(platform, host, author)
            columns = _columns(author)
            if told is not None and told[:3] == columns and now - told[3] < _FRESH:
                continue
            where = (platform, host, author.author_id, author.source)
            self._db.execute(
                "INSERT INTO authors VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (*where, number + 1, now, *columns),
            )

    def _last(
        self, platform: str, host: str, author: Author
    ) -> tuple[int, tuple[str, str, str, int] | None]:
        """Number of the last reading, and its flags, record, person and time; None without one."""
        row = self._db.execute(
            "SELECT pass, flags, record, person, fetched_at FROM authors WHERE platform = ? "
            "AND host = ? AND author_id = ? AND source = ? ORDER BY pass DESC LIMIT 1",
            (platform, host, author.author_id, author.source),
        ).fetchone()
        return (0, None) if row is None else (row[0], row[1:])

    def let_go(self, platform: str, host: str, out: Iterable[Author]) -> None:
        """Delete what was read of authors who opted out, and of those without a post left."""
        out = list(out)
        self._db.executemany(
            "DELETE FROM authors WHERE platform = ? AND host = ? AND author_id = ?",
            [(platform, host, a.author_id) for a in out],
        )
        self._db.execute(
            "DELETE FROM authors WHERE platform = ?1 AND host = ?2 AND author_id NOT IN "
            "(SELECT author_id FROM posts WHERE platform = ?1 AND host = ?2)",
            (platform, host),
        )
        self._db.execute(
            "DELETE FROM persons WHERE platform = ?1 AND host = ?2 AND author_id NOT IN "
            "(SELECT author_id FROM authors WHERE platform = ?1 AND host = ?2)",
            (platform, host),
        )
        self.store(platform, host, out)

    def identities(self, platform: str, host: str, author_id: str) -> list[tuple[str, str, str]]:
        """The author, and the same person as other servers of the study know them."""
        where = (platform, host, author_id)
        rows = self._db.execute(
            "SELECT DISTINCT platform, host, author_id FROM authors WHERE person IN (SELECT person "
            "FROM authors WHERE platform = ? AND host = ? AND author_id = ? AND person != '')",
            where,
        )
        return sorted({where, *rows.fetchall()})

    # -- accounts to be asked -------------------------------------------------------------

    def want(self, platform: str, host: str, author_ids: Iterable[str]) -> None:
        """Remember authors whose account has to be asked; each is asked once."""
        self._db.executemany(
            "INSERT OR IGNORE INTO wanted (platform, host, author_id) VALUES (?, ?, ?)",
            [(platform, host, one) for one in author_ids],
        )

    def count_wanted(self, platform: str, host: str) -> int:
        """Authors who have not been asked yet."""
        row = self._db.execute(
            "SELECT count(*) FROM wanted WHERE platform = ? AND host = ? AND state = 'wanted'",
            (platform, host),
        ).fetchone()
        return int(row[0])

    def unfinished(self, platform: str, host: str) -> bool:
        """Whether authors have not been asked, or not answered."""
        row = self._db.execute(
            "SELECT EXISTS (SELECT 1 FROM wanted WHERE platform = ? AND host = ? "
            "AND state != 'asked')",
            (platform, host),
        ).fetchone()
        return bool(row[0])

    def take_wanted(self, platform: str, host: str, most: int) -> list[str]:
        """At most that many authors who have not been asked yet, now marked as being asked."""
        rows = self._db.execute(
            "SELECT author_id FROM wanted WHERE platform = ? AND host = ? AND state = 'wanted' "
            "ORDER BY author_id LIMIT ?",
            (platform, host, most),
        ).fetchall()
        ids = [row[0] for row in rows]
        self._mark(platform, host, ids, "asking")
        return ids

    def ask_again(self) -> None:
        """Authors whose answer never came stand in the queue again."""
        self._db.execute("UPDATE wanted SET state = 'wanted' WHERE state != 'asked'")

    def answered(
        self, platform: str, host: str, ids: Sequence[str], authors: Iterable[Author]
    ) -> None:
        """Store accounts that were asked for; those that did not come are counted."""
        found = list(authors)
        self.store(platform, host, found)
        self._mark(platform, host, ids, "asked")
        missing = len(set(ids) - {a.author_id for a in found})
        figures = {"authors_asked": len(ids), "authors_unknown": missing}
        self._counters.add(platform, host, figures)

    def _mark(self, platform: str, host: str, ids: Iterable[str], state: str) -> None:
        self._db.executemany(
            "UPDATE wanted SET state = ? WHERE platform = ? AND host = ? AND author_id = ?",
            [(state, platform, host, one) for one in ids],
        )


def _columns(author: Author) -> tuple[str, str, str]:
    """Flags, the columns as JSON, and the person; nothing of whom nothing may be kept of."""
    out = author.flags & OPTED_OUT
    record = "" if out else encode(author.row())
    return " ".join(sorted(author.flags)), record, "" if out else name_digest(author.person)
