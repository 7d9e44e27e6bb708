"""Calls that draw on budgets, and the figures of each token."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collectors.budgets.pool import Lease
    from collectors.crawling.journal.writer import Writer
    from collectors.crawling.leases import Lease as HostLease

__all__ = ["Budgets"]

LONGEST_WINDOW_S = 2 * 86400.0


class Budgets:
    """Every call of the last two days, so that a restart does not spend a budget twice."""

    def __init__(
        self, db: sqlite3.Connection, writer: Writer, held: HostLease | None = None
    ) -> None:
        self._db = db
        self._writer = writer
        self._held = held
        row = db.execute("SELECT max(id) FROM calls").fetchone()
        self._next_call = (row[0] or 0) + 1

    def call_started(self, lease: Lease) -> int:
        """Note a call before it is sent; returns its number. Does not wait.

        Raises:
            LeaseLostError: the host may not be asked any more.
        """
        if self._held is not None:
            self._held.check()
        number, self._next_call = self._next_call, self._next_call + 1
        keys = "\n".join(spec.key for spec in lease.specs)
        token = lease.token.id if lease.token else "anonymous"
        self._writer.hand_over(self._insert, number, token, keys, lease.started)
        return number

    def call_ended(self, number: int, ended: float) -> None:
        """Note that a call was answered. Does not wait."""
        self._writer.hand_over(self._end, number, ended)

    def _insert(self, number: int, token: str, keys: str, started: float) -> None:
        self._db.execute(
            "INSERT INTO calls VALUES (?, ?, ?, ?, NULL)", (number, token, keys, started)
        )

    def _end(self, number: int, ended: float) -> None:
        self._db.execute("UPDATE calls SET ended = ? WHERE id = ?", (ended, number))

    def calls(self) -> list[tuple[str, float | None]]:
        """(bucket, answered) of every call within the longest window."""
        self._db.execute("DELETE FROM calls WHERE started < ?", (time.time() - LONGEST_WINDOW_S,))
        rows = self._db.execute("SELECT buckets, ended FROM calls ORDER BY ended")
        return [(key, ended) for keys, ended in rows for key in keys.split("\n")]

    def note_shut(self, key: str, until: float, now: float) -> None:
        """Note until when a server has shut a bucket. Does not wait."""
        self._writer.hand_over(self._shut, key, until, now)

    def _shut(self, key: str, until: float, now: float) -> None:
        self._db.execute("INSERT OR REPLACE INTO shut VALUES (?, ?, ?)", (key, until, now))

    def shut(self) -> dict[str, float]:
        """Buckets that are still shut, and until when.

        What was noted in the future was noted by a clock that has been set back: it lasts as long
        as it was to last, from now on.
        """
        now = time.time()
        self._db.execute(
            "UPDATE shut SET until = ?1 + until - noted, noted = ?1 WHERE noted > ?1", (now,)
        )
        rows = self._db.execute("SELECT bucket, until FROM shut WHERE until > ?", (now,))
        return dict(rows.fetchall())

    def note_tokens(
        self, platform: str, host: str, rows: Iterable[tuple[str, int, int, str | None]]
    ) -> None:
        """Add calls and failures to the tokens' figures."""
        self._db.executemany(
            "INSERT INTO tokens VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
            "calls = calls + excluded.calls, failures = failures + excluded.failures, "
            "retired = excluded.retired",
            [(platform, host, *row) for row in rows],
        )

    def token_figures(self, platform: str, host: str) -> dict[str, dict[str, Any]]:
        """Calls, failures and the reason of retirement of every token used so far."""
        rows = self._db.execute(
            "SELECT token, calls, failures, retired FROM tokens WHERE platform = ? AND host = ?",
            (platform, host),
        )
        return {t: {"calls": c, "failures": f, "retired": r} for t, c, f, r in rows}
