"""Progress bars on standard error: live on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

__all__ = ["Bar", "console", "note", "progress"]

console = Console(stderr=True)
"""Everything that is not a result goes here; standard output holds results only."""


class Bar:
    """One task's bar. ``advance`` and ``update`` may be called from any thread."""

    def __init__(self, title: str, total: int | None, live: Progress | None) -> None:
        self.title = title
        self.total = total
        self.completed = 0
        self._live = live
        self._task = live.add_task(title, total=total) if live is not None else None
        self._printed = time.monotonic()

    def advance(self, steps: int = 1) -> None:
        """Count ``steps`` items as done."""
        self.update(self.completed + steps)

    def update(self, completed: int, *, total: int | None = None, title: str | None = None) -> None:
        """Set what is done; ``total`` and ``title`` may change on the way."""
        self.completed = completed
        self.total = total if total is not None else self.total
        self.title = title if title is not None else self.title
        if self._live is not None and self._task is not None:
            self._live.update(
                self._task, completed=completed, total=self.total, description=self.title
            )
        elif time.monotonic() - self._printed > 15:
            self._printed = time.monotonic()
            of = f"/{self.total}" if self.total else ""
            note(f"{self.title}: {completed}{of}")


@contextlib.contextmanager
def progress(title: str, total: int | None = None) -> Iterator[Bar]:
    """Show a bar while the block runs; ``total`` is None while it is not known."""
    if not sys.stderr.isatty():
        yield Bar(title, total, None)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as live:
        yield Bar(title, total, live)


def note(message: str) -> None:
    """One line for the person who watches."""
    console.print(message, markup=False, highlight=False, soft_wrap=True)
