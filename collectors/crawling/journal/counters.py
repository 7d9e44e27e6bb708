"""Named counters of each host."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping

__all__ = ["Counters"]


class Counters:
    """What happened how often, under a name."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def add(self, platform: str, host: str, names: Mapping[str, int]) -> None:
        """Add to named counters."""
        self._db.executemany(
            "INSERT INTO counters VALUES (?, ?, ?, ?) "
            "ON CONFLICT DO UPDATE SET count = count + excluded.count",
            [(platform, host, name, n) for name, n in names.items() if n],
        )

    def of(self, platform: str, host: str) -> dict[str, int]:
        """Every named counter of a host."""
        return dict(
            self._db.execute(
                "SELECT name, count FROM counters WHERE platform = ? AND host = ?", (platform, host)
            )
        )
