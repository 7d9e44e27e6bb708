"""The journal of one study: its parts, and what changes several of them at once.

One thread writes. A page's rows, the counters and the chain's cursor change in one transaction,
so ``kill -9`` at any moment costs at most the pages in flight, and no row is stored twice.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from collectors.crawling.journal.authors import Authors
from collectors.crawling.journal.budgets import Budgets
from collectors.crawling.journal.chains import Chains, StoredChain
from collectors.crawling.journal.counters import Counters
from collectors.crawling.journal.forgotten import Forgotten
from collectors.crawling.journal.posts import Posts
from collectors.crawling.journal.schema import FENCE, check_version, complete, name_digest
from collectors.crawling.journal.trouble import explained
from collectors.crawling.journal.writer import Writer
from collectors.platforms.base import Page
from collectors.platforms.records import Author, Post
from likewise.errors import StudyError

if TYPE_CHECKING:
    from collectors.crawling.leases import Lease

__all__ = ["Journal", "Progress"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Progress:
    """What storing a page led to: rows not seen in this chain before, and whether it ended.

    ``lost`` is what an ended chain did not bring, as (name, sentence).
    """

    fresh: int
    cursor: str | None
    lost: tuple[tuple[str, str], ...] = ()


class Journal:
    """The journal of one study. Use as a context manager; ``run`` works from an event loop.

    With a ``lease`` it is the journal that was lent of one host: nothing is written, and no call
    is noted, once the lease has ended or another has the host.

    Raises:
        StudyError: the file is no journal, or cannot be written.
        LeaseLostError: a later lease has written into it.
    """

    def __init__(self, path: Path, lease: Lease | None = None) -> None:
        self.path = path
        self.db = _connect(path, lease is not None)
        try:
            self.writer = Writer(self.db, path, None if lease is None else self._fenced(lease))
            self.counters = Counters(self.db)
            self.budgets = Budgets(self.db, self.writer, lease)
            self.chains = Chains(self.db, self.counters)
            self.posts = Posts(self.db)
            self.authors = Authors(self.db, self.counters)
            self.forgotten = Forgotten(self.db, path.with_name("forgotten.txt"))
        except BaseException as error:
            self.db.close()
            if (told := explained(path, error)) is not error:
                raise told from error
            raise

    def _fenced(self, lease: Lease) -> Callable[[], None]:
        """Take the file for this lease; what is returned is to be asked in every transaction."""

        def check() -> None:
            if int(self.meta(FENCE, "0")) != lease.number:
                lease.lose()

        with self.transaction():
            if int(self.meta(FENCE, "0")) > lease.number:
                lease.lose()
            self.set_meta(FENCE, str(lease.number))
        return check

    def __enter__(self) -> Journal:
        self.writer.start()
        return self

    def __exit__(
        self, kind: object = None, error: BaseException | None = None, trace: object = None
    ) -> None:
        self.writer.stop()
        self.db.close()
        if error is not None and (told := explained(self.path, error)) is not error:
            raise told from error

    async def run(self, function: Callable[..., T], *arguments: Any) -> T:
        """Run a method of this journal in the writing thread, within a transaction."""
        return await self.writer.run(function, *arguments)

    def flush(self) -> None:
        """Wait until everything that was handed over is written. Not for an event loop."""
        self.writer.flush()

    # -- what changes several parts -------------------------------------------------------

    def store_page(
        self, platform: str, host: str, at: StoredChain, page: Page, keep: Callable[[Post], bool]
    ) -> Progress:
        """Rows, counters and the cursor of a page, all or nothing."""
        gone = self._gone(platform, host, page) if self.forgotten.anybody else frozenset()
        fresh = self.posts.store(platform, host, page.posts, keep, at.id, gone)
        self.authors.store(platform, host, page.authors, gone)
        self.counters.add(platform, host, {f"dropped:{k}": v for k, v in page.dropped.items()})
        self.counters.add(platform, host, {f"odd:{k}": v for k, v in page.oddities.items()})
        again = len(page.posts) - fresh
        empty = int(page.cursor is not None and not page.posts and not page.dropped)
        pages = {"pages": 1, "pages_empty": empty, "posts_again": again}
        self.counters.add(platform, host, pages)
        account = page.account if at.chain.kind == "account" else None
        if account is not None and not self.forgotten.among(platform, host, {account}):
            self.chains.note_account(platform, host, at.chain.value, account)
        cursor, lost = self.chains.advance(platform, host, at.id, page, fresh)
        return Progress(fresh, cursor, lost)

    def _gone(self, platform: str, host: str, page: Page) -> frozenset[str]:
        persons = {author.author_id: name_digest(author.person) for author in page.authors}
        authors = persons.keys() | {post.author_id for post in page.posts}
        return self.forgotten.among(platform, host, authors, persons)

    def note_likes(self, platform: str, host: str, post_id: str, likes: int | None) -> None:
        """Store the likes of a post that was asked for them, and count the question."""
        self.posts.note_likes(platform, host, post_id, likes)
        outcome = "likes_unknown" if likes is None else "likes_told"
        self.counters.add(platform, host, {"likes_asked": 1, outcome: 1})

    def read_again(
        self, platform: str, host: str, page: Page, counted: Collection[str], age: int
    ) -> None:
        """Store what was read again of posts, and their authors."""
        self.posts.read_again(platform, host, page, counted, age)
        self.authors.store(platform, host, page.authors)

    def let_go(
        self, platform: str, host: str, reasons: Mapping[str, str], out: Mapping[str, Author]
    ) -> None:
        """Keep only the keys of posts (post -> why) and nothing of authors who opted out.

        Authors of whom no post is left are deleted. To be called when nothing is being written.
        """
        with self.transaction():
            self.posts.mark_gone(platform, host, reasons)
            self.authors.let_go(platform, host, out.values())

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing, from outside the event loop; the writing thread must be idle."""
        self.db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self.db.execute("ROLLBACK")
            raise
        self.db.execute("COMMIT")

    def scrub(self) -> bool:
        """Overwrite what was deleted: free pages, and the log of earlier changes.

        Returns:
            False when another process reads the journal: its log is emptied when that ends.
        """
        self.db.execute("PRAGMA secure_delete=ON")
        self.db.execute("VACUUM")
        [busy, *_] = self.db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        return not busy

    @property
    def settled(self) -> bool:
        """Whether the tables hold everything that the journal does."""
        return bool(
            self.db.execute(
                "SELECT EXISTS (SELECT 1 FROM meta WHERE key = 'published') "
                "AND NOT EXISTS (SELECT 1 FROM news)"
            ).fetchone()[0]
        )

    # -- remembered values ----------------------------------------------------------------

    def meta(self, key: str, default: str = "") -> str:
        """A remembered value."""
        row = self.db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return str(row[0]) if row else default

    def set_meta(self, key: str, value: str) -> None:
        """Remember a value."""
        self.db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))


BUSY_S = 5.0
"""Seconds to wait for another process that holds the journal."""


def _connect(path: Path, lent: bool) -> sqlite3.Connection:
    # SQLite takes an empty file for a new database; a crawl that has published was not there then.
    published = (path.parent / "tables" / "posts" / "_delta_log").is_dir()
    if published and path.is_file() and not path.stat().st_size:
        raise StudyError(
            f"{path} is empty, and posts have been published from it",
            hint="bring it back from a backup, or delete it to start the crawl anew",
        )
    db = None
    try:
        db = sqlite3.connect(path, BUSY_S, isolation_level=None, check_same_thread=False)
        check_version(db)
        # Readers beside the writer need the write-ahead log, which does not cross machines.
        db.execute(f"PRAGMA journal_mode={'DELETE' if lent else 'WAL'}")
        db.execute("PRAGMA synchronous=NORMAL")
        complete(db)
    except BaseException as error:
        if db is not None:
            db.close()
        told = explained(path, error)
        if told is error:
            raise
        raise told from error
    return db
