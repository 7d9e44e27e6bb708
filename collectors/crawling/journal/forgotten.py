"""People whom a study has to forget: their rows go, a digest of their id stays."""

from __future__ import annotations

import hashlib
import sqlite3

__all__ = ["Forgotten"]

_DELETE = (
    "DELETE FROM posts ",
    "DELETE FROM authors ",
    "DELETE FROM wanted ",
    "DELETE FROM accounts ",
)


class Forgotten:
    """Digests of the authors that are never collected again."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._any = bool(db.execute("SELECT EXISTS (SELECT 1 FROM forgotten)").fetchone()[0])

    @property
    def anybody(self) -> bool:
        """Whether there is anybody to forget."""
        return self._any

    def among(self, platform: str, host: str, ids: set[str]) -> frozenset[str]:
        """Those of the authors whom the study has to forget."""
        if not self._any:
            return frozenset()
        known = {row[0] for row in self._db.execute("SELECT digest FROM forgotten")}
        return frozenset(one for one in ids if _digest(platform, host, one) in known)

    def forget(self, platform: str, host: str, author_id: str) -> int:
        """Delete an author's rows; returns how many. Only a digest of the id is kept.

        To be called within a transaction, and followed by ``Journal.scrub``.
        """
        where = (platform, host, author_id)
        same = "WHERE platform = ? AND host = ? AND author_id = ?"
        before = self._db.total_changes
        self._db.execute("INSERT OR IGNORE INTO forgotten VALUES (?)", (_digest(*where),))
        for statement in _DELETE:
            self._db.execute(statement + same, where)
        self._any = True
        return self._db.total_changes - before - 1


def _digest(platform: str, host: str, author_id: str) -> str:
    return hashlib.sha256(f"{platform}\n{host}\n{author_id}".encode()).hexdigest()
