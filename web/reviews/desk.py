"""The reviews of every study of one server: its book, its queues, and who is asked what next."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
from dataclasses import dataclass, field, replace
from pathlib import Path

from collectors.crawling.reviews import REVIEWS_FILE, note_address
from likewise.errors import UsageError
from likewise.study import Study
from web.children import environment
from web.reviews.book import Book, open_book
from web.reviews.opinions import Outcome, Review, outcomes
from web.reviews.queues import Queues, open_queues, path_of
from web.snapshots import Served, Shelf, Snapshot

__all__ = ["Desk", "Desks", "Standing"]

log = logging.getLogger("likewise.web")


@dataclass(frozen=True, slots=True)
class Standing:
    """What stands of a study's reviews, as of line ``newest``."""

    newest: int
    lines: tuple[Review, ...]
    outcomes: dict[str, Outcome]


@dataclass(eq=False)
class Desk:
    """One study's reviews. Threads share it."""

    served: Served
    where: str | Path
    _book: Book | None = None
    _queues: dict[str, Queues] = field(default_factory=dict)
    _standing: Standing | None = None
    _job: subprocess.Popen[bytes] | None = None
    _lock: threading.RLock = field(default_factory=threading.RLock)

    @property
    def book(self) -> Book:
        """The book, opened when it is first needed.

        Raises:
            StorageError: the database cannot be used, or its address not be noted for ``forget``.
        """
        with self._lock:
            if self._book is None:
                book = open_book(self.where)
                if isinstance(self.where, str):
                    note_address(self.served.root, self.where)
                self._book = book
            return self._book

    def standing(self) -> Standing:
        """What stands now. Raises ReviewsUnavailableError."""
        state = self.book.state()
        with self._lock:
            known = self._standing
            if known is None or (known.newest, len(known.lines)) != state:
                lines = tuple(self.book.lines())
                newest = lines[-1].id if lines else 0
                known = self._standing = Standing(newest, lines, outcomes(lines))
            return known

    def queues(self, snapshot: Snapshot) -> Queues:
        """The queues of a snapshot; a process computes the beliefs where they are not there.

        Raises:
            MissingTableError: there are no labels yet.
        """
        with self._lock:
            found = self._queues.get(snapshot.id)
            made = found is not None and found.preparing and path_of(snapshot.study).is_file()
            if found is None or made:
                self._queues = {snapshot.id: open_queues(snapshot.study)}
                found = self._queues[snapshot.id]
            if found.preparing and not self._prepare(snapshot.study):
                why = "the beliefs could not be computed: the server's log says why"
                found = self._queues[snapshot.id] = replace(found, why_not=why)
            return found

    def _prepare(self, study: Study) -> bool:
        """Have the beliefs computed; False when that has failed."""
        if self._job is not None and (self._job.poll() is None or self._job.returncode):
            return self._job.returncode is None
        versions = json.dumps(dict(study.versions or {}))
        self._job = subprocess.Popen(  # noqa: S603 - this program's own module
            [sys.executable, "-m", "web.reviews.queues", str(study.root), versions],
            env=environment(),
            stdin=subprocess.DEVNULL,
        )
        return True

    def close(self) -> None:
        """Let go of the database and end what is being computed."""
        with self._lock:
            if self._job is not None and self._job.poll() is None:
                self._job.terminate()
                self._job.wait(10)
            if self._book is not None:
                self._book.close()
                self._book = None


class Desks:
    """The desks of a server's studies; also what lists ask about reviewed pictures.

    Raises:
        UsageError: several studies would share one database, whose lines name pictures only.
    """

    def __init__(self, shelf: Shelf, reviews: str | None) -> None:
        if reviews and len(shelf.served) > 1:
            raise UsageError(
                "one reviews database serves one study",
                hint="serve the studies one by one, or leave --reviews away",
            )
        self._of = {
            name: Desk(one, reviews or one.root / REVIEWS_FILE)
            for name, one in shelf.served.items()
        }

    def of(self, study: str) -> Desk:
        """The desk of a study that the server shows."""
        return self._of[study]

    def version(self, study: str) -> int:
        """Changes whenever ``pictures`` does."""
        return self.of(study).book.newest()

    def pictures(self, study: str) -> frozenset[str]:
        """Ids of the pictures that have a review that stands."""
        return frozenset(self.of(study).standing().outcomes)

    def close(self) -> None:
        """Close every desk."""
        for desk in self._of.values():
            desk.close()
