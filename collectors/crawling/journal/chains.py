"""Cursor chains: what is planned, where each stands, and when one goes round in circles."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass

from collectors.crawling.journal.counters import Counters
from collectors.platforms.base import Chain, Page

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

    def unfinished(self, platform: str, host: str) -> list[Chain]:
        """Chains that have not ended."""
        rows = self._db.execute(
            "SELECT kind, value, lo, hi FROM chains WHERE platform = ? AND host = ? AND "
            "state != 'done'",
            (platform, host),
        )
        return [Chain(*row) for row in rows]

    def end(self, chain_id: int, state: str, reason: str | None = None) -> None:
        """Mark a chain as ``done`` or ``failed``."""
        self._db.execute(
            "UPDATE chains SET state = ?, reason = ? WHERE id = ?", (state, reason, chain_id)
        )

    def advance(
        self, platform: str, host: str, chain_id: int, page: Page, fresh: int
    ) -> tuple[str | None, tuple[tuple[str, str], ...]]:
        """Move a chain on by one page with that many new posts.

        A cursor that comes back without a single new post in between ends the chain (Brent's
        cycle search: the cursor is compared with a mark that moves at powers of two).

        Returns:
            The next cursor, None at the end; and then what the chain did not bring, as
            (name, sentence).
        """
        mark, steps, span, since, told, seen, noted = self._db.execute(
            "SELECT mark, steps, span, fresh, told, seen, lost FROM chains WHERE id = ?",
            (chain_id,),
        ).fetchone()
        cursor, lost = page.cursor, dict(page.lost)
        since, steps = since + fresh, steps + 1
        told = page.total if told is None else told
        seen += fresh + page.dropped.total()
        if cursor is not None and cursor == mark and not since:
            self._counters.add(platform, host, {"cursor_repeated": 1})
            lost["cursor_repeated"] = "the server's pages go round in a circle without new posts"
            cursor = None
        if cursor is None and told is not None and seen < told:
            lost["fewer_than_total"] = f"{seen} of the {told} posts that the server counts came"
        if steps >= span or cursor is None:
            mark, steps, span, since = cursor, 0, min(span * 2, 1 << 40), 0
        self._counters.add(platform, host, {f"lost:{name}": 1 for name in lost})
        noted = "\n".join(filter(None, [noted, *(f"{n}: {lost[n]}" for n in lost)]))
        self._db.execute(
            "UPDATE chains SET cursor = ?, state = ?, pages = pages + 1, mark = ?, steps = ?, "
            "span = ?, fresh = ?, told = ?, seen = ?, lost = ? WHERE id = ?",
            (cursor, "done" if cursor is None else "open", mark, steps, span, since, told, seen,
             noted, chain_id),
        )  # fmt: skip
        ended = noted.splitlines() if cursor is None else []
        return cursor, tuple((name, rest) for name, _, rest in (x.partition(": ") for x in ended))

    def seen(self, platform: str, host: str, value: str) -> tuple[int, int]:
        """Posts that came in all chains of a tag or search, and on how many pages."""
        row = self._db.execute(
            "SELECT coalesce(sum(seen), 0), coalesce(sum(pages), 0) FROM chains "
            "WHERE platform = ? AND host = ? AND value = ?",
            (platform, host, value),
        ).fetchone()
        return int(row[0]), int(row[1])

    # -- accounts -------------------------------------------------------------------------

    def note_account(self, platform: str, host: str, value: str, account_id: str) -> None:
        """Remember whom a name meant when it was first looked up."""
        self._db.execute(
            "INSERT OR IGNORE INTO accounts VALUES (?, ?, ?, ?)",
            (platform, host, value, account_id),
        )

    def account(self, platform: str, host: str, value: str) -> str | None:
        """The id of the account that a name meant; None when it was never found."""
        row = self._db.execute(
            "SELECT author_id FROM accounts WHERE platform = ? AND host = ? AND value = ?",
            (platform, host, value),
        ).fetchone()
        return None if row is None else str(row[0])
