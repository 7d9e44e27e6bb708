"""A host's door: how many calls may be inside at once, and since when it has been shut.

Budgets say what a platform counts; the door is what its operators and likewise.toml ask for
besides. After a refusal for haste, or when a host fails again and again, one call goes in alone,
and the others follow once it was answered. All times are epoch seconds.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable

from likewise.progress import note

__all__ = ["TOLD_FROM_S", "Door", "moment", "waiting_line"]

TOLD_FROM_S = 1.0
"""Shorter waits are not worth a line."""

TROUBLED = 8
"""Failures in a row after which a host is asked by one call at a time."""


def moment(until: float) -> str:
    """A moment for people: the minute is rounded up, a day is named when it is another."""
    end = dt.datetime.fromtimestamp(math.ceil(until / 60) * 60).astimezone()
    today = dt.datetime.now().astimezone().date()
    return f"{end:%H:%M}" if end.date() == today else f"{end:%Y-%m-%d %H:%M}"


def waiting_line(host: str, until: float) -> str:
    """The sentence about a wait."""
    return f"waiting until {moment(until)}: host {host} allows no more calls"


class Door:
    """The door of one host. ``say`` gets each line about a wait once."""

    def __init__(
        self,
        host: str,
        *,
        at_once: int | None = None,
        per_second: float | None = None,
        say: Callable[[str], None] = note,
    ) -> None:
        self.host = host
        self.shut_until = -math.inf
        self.inside = 0
        self._at_once = math.inf if at_once is None else at_once
        self._pause = 0.0 if per_second is None else 1.0 / per_second
        self._next = -math.inf
        self._alone_since: float | None = None
        self._failed = 0
        self._say = say
        self._said = 0

    @property
    def alone(self) -> bool:
        """Whether one call at a time goes in until the host answers again."""
        return self._alone_since is not None

    def ready_at(self, now: float) -> float:
        """When one more call may go in; ``inf`` when that hangs on calls that are inside."""
        most = 1 if self.alone else self._at_once
        return math.inf if self.inside >= most else max(self.shut_until, self._next, now)

    def enter(self, now: float) -> None:
        """A call goes in."""
        self.inside += 1
        self._next = max(now, self._next) + self._pause

    def leave(self) -> None:
        """A call has been answered, has failed or was never sent."""
        self.inside -= 1

    def shut(self, until: float, now: float, *, whole: bool) -> None:
        """The host refused for haste; ``whole`` shuts it for every call until then."""
        if whole:
            self.shut_until = max(self.shut_until, until)
        self._alone_since = now

    def failed(self, now: float) -> None:
        """A call that started then brought no answer, or a server error."""
        self._failed += 1
        if self._failed >= TROUBLED and self._alone_since is None:
            self._alone_since = now

    def answered(self, started: float) -> None:
        """A call that started then was answered: later ones need not wait for each other."""
        self._failed = 0
        if self._alone_since is not None and started >= self._alone_since:
            self._alone_since = None

    def tell(self, until: float, now: float) -> None:
        """Say that calls wait until then, once for each minute."""
        if math.isinf(until) or until - now < TOLD_FROM_S:
            return
        minute = math.ceil(until / 60)
        if minute != self._said:
            self._said = minute
            self._say(waiting_line(self.host, until))
