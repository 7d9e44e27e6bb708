"""The one thread that writes: jobs in the order they came, many of them in one transaction."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from collectors.crawling.journal.trouble import explained

__all__ = ["Writer"]

T = TypeVar("T")

_Job = tuple[Callable[..., Any], tuple[Any, ...], Any]
"""A function, its arguments, and who waits for the result: a future, an event or None."""

_MOST = 256
"""Jobs of one transaction."""


class Writer:
    """Runs functions in a thread of its own, in transactions of ``db``.

    ``check`` is called at the begin of each, and raises where nothing may be written any more.
    """

    def __init__(
        self, db: sqlite3.Connection, path: Path, check: Callable[[], None] | None = None
    ) -> None:
        self._db = db
        self._path = path
        self._check = check
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._write, name="journal", daemon=True)

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def stop(self) -> None:
        """Finish the jobs that were handed over, then end."""
        self._jobs.put(None)
        self._thread.join()

    def hand_over(self, function: Callable[..., object], *arguments: Any) -> None:
        """Have a function run some time later; nobody waits for it."""
        self._jobs.put((function, arguments, None))

    async def run(self, function: Callable[..., T], *arguments: Any) -> T:
        """Run a function; its result is told only once its transaction is committed."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._jobs.put((function, arguments, future))
        return await future

    def flush(self) -> None:
        """Wait until everything that was handed over is written. Not for an event loop."""
        done = threading.Event()
        self._jobs.put((int, (), done))
        done.wait()

    def _write(self) -> None:
        while (job := self._jobs.get()) is not None:
            batch = [job]
            while len(batch) < _MOST and not self._jobs.empty():
                following = self._jobs.get()
                if following is None:
                    self._jobs.put(None)
                    break
                batch.append(following)
            self._transact(batch)

    def _transact(self, batch: list[_Job]) -> None:
        results: list[Any] = []
        failed: BaseException | None = None
        try:
            self._db.execute("BEGIN IMMEDIATE")
            if self._check is not None:
                self._check()
            results = [function(*arguments) for function, arguments, _ in batch]
            self._db.execute("COMMIT")
        except BaseException as error:  # noqa: BLE001 - handed to those who wait
            failed = explained(self._path, error)
            results = [None] * len(batch)
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
        for (_, _, waiting), result in zip(batch, results, strict=True):
            if isinstance(waiting, threading.Event):
                waiting.set()
            elif waiting is not None:
                # A loop that was ended by an error is closed: nobody waits any more.
                with contextlib.suppress(RuntimeError):
                    waiting.get_loop().call_soon_threadsafe(_finish, waiting, result, failed)


def _finish(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)
