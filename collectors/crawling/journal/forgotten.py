"""People whom a study has to forget: their rows go, a digest of their id stays."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Collection, Mapping
from pathlib import Path

from likewise.whole import write_bytes

__all__ = ["Forgotten", "digest"]


_DELETE = (
    "DELETE FROM judged WHERE (platform, host, post_id) IN (SELECT platform, host, post_id "
    "FROM posts WHERE platform = ? AND host = ? AND author_id = ?)",
    "DELETE FROM counts WHERE (platform, host, post_id) IN (SELECT platform, host, post_id "
    "FROM posts WHERE platform = ? AND host = ? AND author_id = ?)",
    "DELETE FROM posts WHERE platform = ? AND host = ? AND author_id = ?",
    "DELETE FROM authors WHERE platform = ? AND host = ? AND author_id = ?",
    "DELETE FROM wanted WHERE platform = ? AND host = ? AND author_id = ?",
    "DELETE FROM accounts WHERE platform = ? AND host = ? AND author_id = ?",
    "DELETE FROM persons WHERE platform = ? AND host = ? AND author_id = ?",
)


class Forgotten:
    """Digests of the authors that are never collected again.

    They stand in the journal, and in a file ``beside`` it: a journal that is lost, or was put back
    from a copy, must not bring anybody back.
    """

    def __init__(self, db: sqlite3.Connection, beside: Path) -> None:
        self._db = db
        self._beside = beside
        kept = beside.read_text(encoding="ascii").split() if beside.is_file() else []
        missing = set(kept) - self._digests()
        db.executemany("INSERT OR IGNORE INTO forgotten VALUES (?)", [(one,) for one in missing])
        if self._digests() - set(kept):  # a journal of before there was the file
            self._keep()
        self._any = bool(db.execute("SELECT EXISTS (SELECT 1 FROM forgotten)").fetchone()[0])

    def _digests(self) -> set[str]:
        return {str(row[0]) for row in self._db.execute("SELECT digest FROM forgotten")}

    def _keep(self) -> None:
        text = "".join(f"{one}\n" for one in sorted(self._digests()))
        write_bytes(self._beside, text.encode("ascii"))

    @property
    def anybody(self) -> bool:
        """Whether there is anybody to forget."""
        return self._any

    def among(
        self, platform: str, host: str, ids: set[str], persons: Mapping[str, str] | None = None
    ) -> frozenset[str]:
        """Those of the authors whom the study has to forget.

        ``persons`` are digests of the authors' names in the whole network: who was forgotten on
        one server is left out on every other.
        """
        if not self._any:
            return frozenset()
        known = self._digests()
        there = persons or {}
        return frozenset(
            one for one in ids if digest(platform, host, one) in known or there.get(one) in known
        )

    def forget(self, platform: str, host: str, author_id: str, names: Collection[str]) -> int:
        """Delete what an author's rows and chains hold; returns how many rows went.

        Only a digest of the id is kept. To be called within a transaction, and followed by
        ``Journal.scrub``.
        """
        where = (platform, host, author_id)
        posts = self._db.execute(
            "SELECT post_id FROM posts WHERE platform = ? AND host = ? AND author_id = ?", where
        )
        marks = {str(row[0]) for row in posts} | {author_id}
        persons = self._db.execute(
            "SELECT DISTINCT person FROM authors WHERE platform = ? AND host = ? "
            "AND author_id = ? AND person != ''",
            where,
        ).fetchall()
        self._db.executemany(
            "INSERT OR IGNORE INTO forgotten VALUES (?)", [(digest(*where),), *persons]
        )
        self._keep()
        # The next publication looks at everything: news would name the person.
        self._db.execute("DELETE FROM meta WHERE key = 'published'")
        self._db.execute("DELETE FROM news")
        gone = sum(self._db.execute(statement, where).rowcount for statement in _DELETE)
        gone += self._forget_chains(platform, host, marks, {name.casefold() for name in names})
        self._any = True
        return gone

    def _forget_chains(
        self, platform: str, host: str, marks: Collection[str], names: Collection[str]
    ) -> int:
        """Delete chains that follow the author, and positions that are one of the author's posts.

        A feed that stood at such a post begins anew: it stores no row twice.
        """
        rows = self._db.execute(
            "SELECT id, kind, value, cursor, mark FROM chains WHERE platform = ? AND host = ?",
            (platform, host),
        ).fetchall()
        gone = 0
        for chain, kind, value, cursor, mark in rows:
            if kind == "account" and {value.removeprefix("@").casefold(), value} & {*names, *marks}:
                gone += self._db.execute("DELETE FROM chains WHERE id = ?", (chain,)).rowcount
            elif any(one in f"{cursor} {mark}" for one in marks):
                self._db.execute(
                    "UPDATE chains SET cursor = NULL, mark = NULL WHERE id = ?", (chain,)
                )
        return gone


def digest(platform: str, host: str, author_id: str) -> str:
    """What is kept of somebody who has to be forgotten."""
    return hashlib.sha256(f"{platform}\n{host}\n{author_id}".encode()).hexdigest()
