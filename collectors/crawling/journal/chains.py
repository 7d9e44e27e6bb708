"""Cursor chains: what is planned, where each stands, and when one goes round in circles."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass

from collectors.crawling.journal.counters import Counters
from collectors.platforms.base import Chain

__all__ = ["Chains", "StoredChain"]


@dataclass(frozen=True, slots=True)
class StoredChain:
    """A chain with its place in the journal."""

    id: int
    chain: Chain
    cursor: str | None
    pages: int


class Chains:
    """The chains of all hosts."""

    def __init__(self, db: sqlite3.Connection, counters: Counters) -> None:
        self._db = db
        self._counters = counters

    def add(self, platform: str, host: str, chains: Iterable[Chain]) -> None:
        """Plan chains."""
        self._db.executemany(
            "INSERT INTO chains (platform, host, kind, value, lo, hi) VALUES (?, ?, ?, ?, ?, ?)",
            [(platform, host, c.kind, c.value, c.lo, c.hi) for c in chains],
        )

    def planned(self, platform: str, host: str) -> list[Chain]:
        """Every chain ever planned for a host."""
        rows = self._db.execute(
            "SELECT kind, value, lo, hi FROM chains WHERE platform = ? AND host = ?",
            (platform, host),
        )
        return [Chain(*row) for row in rows]

    def reopen(self, platform: str, host: str) -> list[StoredChain]:
        """Chains that have not ended, newest slices first; failed ones get another chance."""
        self._db.execute(
            "UPDATE chains SET state = 'open', reason = NULL "
            "WHERE platform = ? AND host = ? AND state = 'failed'",
            (platform, host),
        )
        rows = self._db.execute(
            "SELECT id, kind, value, lo, hi, cursor, pages FROM chains WHERE platform = ? AND "
            "host = ? AND state = 'open' ORDER BY hi DESC, id",
            (platform, host),
        )
        return [StoredChain(r[0], Chain(*r[1:5]), r[5], r[6]) for r in rows]

    def unfinished(self, platform: str, host: str) -> bool:
        """Whether chains have not ended."""
        row = self._db.execute(
            "SELECT EXISTS (SELECT 1 FROM chains WHERE platform = ? AND host = ? AND "
            "state != 'done')",
            (platform, host),
        ).fetchone()
        return bool(row[0])

    def end(self, chain_id: int, state: str, reason: str | None = None) -> None:
        """Mark a chain as ``done`` or ``failed``."""
        self._db.execute(
            "UPDATE chains SET state = ?, reason = ? WHERE id = ?", (state, reason, chain_id)
        )

    def advance(
        self, platform: str, host: str, chain_id: int, cursor: str | None, fresh: int
    ) -> str | None:
        """Move a chain on by one page with that many new posts; None when it has ended.

        A cursor that comes back without a single new post in between ends the chain (Brent's
        cycle search: the cursor is compared with a mark that moves at powers of two).
        """
        mark, steps, span, seen = self._db.execute(
            "SELECT mark, steps, span, fresh FROM chains WHERE id = ?", (chain_id,)
        ).fetchone()
        seen, steps = seen + fresh, steps + 1
        if cursor is not None and cursor == mark and not seen:
            self._counters.add(platform, host, {"cursor_repeated": 1})
            cursor = None
        if steps >= span or cursor is None:
            mark, steps, span, seen = cursor, 0, min(span * 2, 1 << 40), 0
        self._db.execute(
            "UPDATE chains SET cursor = ?, state = ?, pages = pages + 1, mark = ?, steps = ?, "
            "span = ?, fresh = ? WHERE id = ?",
            (cursor, "done" if cursor is None else "open", mark, steps, span, seen, chain_id),
        )
        return cursor
