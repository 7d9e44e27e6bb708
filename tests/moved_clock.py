"""A clock that a test sets, in a world that ends at ``EPOCH``."""

from __future__ import annotations

import datetime as dt

EPOCH = dt.datetime(2026, 1, 10, 12, tzinfo=dt.UTC)


class Clock:
    """What ``time.time_ns`` says, for everything that dates a row or plans a chain."""

    def __init__(self) -> None:
        self.now = EPOCH

    def __call__(self) -> int:
        return round(self.now.timestamp() * 1e9)

    def set(self, days_ago: float) -> None:
        self.now = EPOCH - dt.timedelta(days=days_ago)
