"""``journal.sqlite``: what a crawl has read, where it stands, and the calls it made.

One thread writes. A page's rows, the counters and the chain's cursor change in one transaction,
so ``kill -9`` at any moment costs at most the pages in flight, and no row is stored twice.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from collectors.manners import OPTED_OUT, UNKEPT
from collectors.platforms.base import Chain, Page
from collectors.records import Author, Post
from likewise.errors import StudyError

if TYPE_CHECKING:
    from collectors.tokens import Lease

__all__ = ["Journal", "Progress", "StoredChain"]

T = TypeVar("T")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS chains (
    id INTEGER PRIMARY KEY, platform TEXT NOT NULL, host TEXT NOT NULL, kind TEXT NOT NULL,
    value TEXT NOT NULL, lo INTEGER, hi INTEGER, cursor TEXT, state TEXT NOT NULL DEFAULT 'open',
    reason TEXT, pages INTEGER NOT NULL DEFAULT 0, mark TEXT, steps INTEGER NOT NULL DEFAULT 0,
    span INTEGER NOT NULL DEFAULT 1, fresh INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS posts (
    platform TEXT, host TEXT, post_id TEXT, author_id TEXT NOT NULL, created_at INTEGER,
    collected_at INTEGER NOT NULL, chain INTEGER, kept INTEGER NOT NULL, sensitive INTEGER,
    flags TEXT NOT NULL, record TEXT NOT NULL,
    PRIMARY KEY (platform, host, post_id)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS authors (
    platform TEXT, host TEXT, author_id TEXT, source TEXT, pass INTEGER,
    fetched_at INTEGER NOT NULL, flags TEXT NOT NULL, record TEXT NOT NULL,
    PRIMARY KEY (platform, host, author_id, source, pass)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS wanted (
    platform TEXT, host TEXT, author_id TEXT, state TEXT NOT NULL DEFAULT 'wanted',
    PRIMARY KEY (platform, host, author_id)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS counters (
    platform TEXT, host TEXT, name TEXT, count INTEGER NOT NULL,
    PRIMARY KEY (platform, host, name)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS calls (
    id INTEGER PRIMARY KEY, token TEXT, buckets TEXT NOT NULL, started REAL NOT NULL, ended REAL);
CREATE TABLE IF NOT EXISTS tokens (
    platform TEXT, host TEXT, token TEXT, calls INTEGER, failures INTEGER, retired TEXT,
    PRIMARY KEY (platform, host, token)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS forgotten (digest TEXT PRIMARY KEY) WITHOUT ROWID;
"""

_FORGET = ("DELETE FROM posts ", "DELETE FROM authors ", "DELETE FROM wanted ")

LONGEST_WINDOW_S = 2 * 86400.0


@dataclass(frozen=True, slots=True)
class StoredChain:
    """A chain with its place in the journal."""

    id: int
    chain: Chain
    cursor: str | None
    pages: int


@dataclass(frozen=True, slots=True)
class Progress:
    """What storing a page led to: rows not seen in this chain before, and whether it ended."""

    fresh: int
    cursor: str | None


def digest(platform: str, host: str, author_id: str) -> str:
    """What is kept of a forgotten author."""
    return hashlib.sha256(f"{platform}\n{host}\n{author_id}".encode()).hexdigest()


class Journal:
    """The journal of one study. Use as a context manager; ``run`` works from an event loop."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._jobs: queue.SimpleQueue[tuple[Callable[..., Any], tuple[Any, ...], Any] | None]
        self._jobs = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._next_call = 0
        self.pass_number = 0
        self._any_forgotten = False
        self.db = self._connect()

    def _connect(self) -> sqlite3.Connection:
        try:
            db = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=NORMAL")
            db.executescript(_SCHEMA)
        except sqlite3.DatabaseError as error:
            raise StudyError(
                f"{self.path} cannot be used: {error}",
                hint="move the file away to start the crawl anew; published tables stay",
            ) from error
        row = db.execute("SELECT max(id) FROM calls").fetchone()
        self._next_call = (row[0] or 0) + 1
        found = db.execute("SELECT EXISTS (SELECT 1 FROM forgotten), max(pass) FROM authors")
        self._any_forgotten, last = found.fetchone()
        self.pass_number = last or 0
        return db

    def __enter__(self) -> Journal:
        self._thread = threading.Thread(target=self._write, name="journal", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._jobs.put(None)
        if self._thread is not None:
            self._thread.join()
        self.db.close()

    # -- the writing thread ---------------------------------------------------------------

    def _write(self) -> None:
        while (job := self._jobs.get()) is not None:
            batch = [job]
            while len(batch) < 256 and not self._jobs.empty():
                following = self._jobs.get()
                if following is None:
                    self._jobs.put(None)
                    break
                batch.append(following)
            self._transact(batch)

    def _transact(self, batch: list[tuple[Callable[..., Any], tuple[Any, ...], Any]]) -> None:
        """Several jobs in one transaction; their results are told only once it is committed."""
        results: list[Any] = []
        failed: BaseException | None = None
        try:
            self.db.execute("BEGIN IMMEDIATE")
            results = [function(*arguments) for function, arguments, _ in batch]
            self.db.execute("COMMIT")
        except BaseException as error:  # noqa: BLE001 - handed to those who wait
            failed = _disk_error(self.path, error)
            results = [None] * len(batch)
            if self.db.in_transaction:
                self.db.execute("ROLLBACK")
        for (_, _, future), result in zip(batch, results, strict=True):
            if isinstance(future, threading.Event):
                future.set()
            elif future is not None:
                future.get_loop().call_soon_threadsafe(_finish, future, result, failed)

    async def run(self, function: Callable[..., T], *arguments: Any) -> T:
        """Run a method of this journal in the writing thread, within a transaction."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._jobs.put((function, arguments, future))
        return await future

    def flush(self) -> None:
        """Wait until everything that was handed over is written. Not for an event loop."""
        done = threading.Event()
        self._jobs.put((int, (), done))
        done.wait()

    # -- calls and tokens -----------------------------------------------------------------

    def call_started(self, lease: Lease) -> int:
        """Note a call before it is sent; returns its number. Does not wait."""
        number, self._next_call = self._next_call, self._next_call + 1
        keys = "\n".join(spec.key for spec in lease.specs)
        token = lease.token.id if lease.token else "anonymous"
        self._jobs.put((self._insert_call, (number, token, keys, lease.started), None))
        return number

    def call_ended(self, number: int, ended: float) -> None:
        """Note that a call was answered. Does not wait."""
        self._jobs.put((self._end_call, (number, ended), None))

    def _insert_call(self, number: int, token: str, keys: str, started: float) -> None:
        self.db.execute(
            "INSERT INTO calls VALUES (?, ?, ?, ?, NULL)", (number, token, keys, started)
        )

    def _end_call(self, number: int, ended: float) -> None:
        self.db.execute("UPDATE calls SET ended = ? WHERE id = ?", (ended, number))

    def calls(self) -> list[tuple[str, float | None]]:
        """(bucket, answered) of every call within the longest window."""
        self.db.execute("DELETE FROM calls WHERE started < ?", (time.time() - LONGEST_WINDOW_S,))
        rows = self.db.execute("SELECT buckets, ended FROM calls ORDER BY ended")
        return [(key, ended) for keys, ended in rows for key in keys.split("\n")]

    def note_tokens(
        self, platform: str, host: str, rows: Iterable[tuple[str, int, int, str | None]]
    ) -> None:
        """Add calls and failures to the tokens' figures."""
        self.db.executemany(
            "INSERT INTO tokens VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
            "calls = calls + excluded.calls, failures = failures + excluded.failures, "
            "retired = excluded.retired",
            [(platform, host, *row) for row in rows],
        )

    def token_figures(self, platform: str, host: str) -> dict[str, dict[str, Any]]:
        """Calls, failures and the reason of retirement of every token used so far."""
        rows = self.db.execute(
            "SELECT token, calls, failures, retired FROM tokens WHERE platform = ? AND host = ?",
            (platform, host),
        )
        return {t: {"calls": c, "failures": f, "retired": r} for t, c, f, r in rows}

    # -- chains ---------------------------------------------------------------------------

    def add_chains(self, platform: str, host: str, chains: Iterable[Chain]) -> None:
        """Plan chains."""
        self.db.executemany(
            "INSERT INTO chains (platform, host, kind, value, lo, hi) VALUES (?, ?, ?, ?, ?, ?)",
            [(platform, host, c.kind, c.value, c.lo, c.hi) for c in chains],
        )

    def planned(self, platform: str, host: str) -> list[Chain]:
        """Every chain ever planned for a host."""
        rows = self.db.execute(
            "SELECT kind, value, lo, hi FROM chains WHERE platform = ? AND host = ?",
            (platform, host),
        )
        return [Chain(*row) for row in rows]

    def open_chains(self, platform: str, host: str) -> list[StoredChain]:
        """Chains that have not ended, newest slices first; failed ones get another chance."""
        self.db.execute(
            "UPDATE chains SET state = 'open', reason = NULL "
            "WHERE platform = ? AND host = ? AND state = 'failed'",
            (platform, host),
        )
        rows = self.db.execute(
            "SELECT id, kind, value, lo, hi, cursor, pages FROM chains WHERE platform = ? AND "
            "host = ? AND state = 'open' ORDER BY hi DESC, id",
            (platform, host),
        )
        return [StoredChain(r[0], Chain(*r[1:5]), r[5], r[6]) for r in rows]

    def unfinished(self, platform: str, host: str) -> bool:
        """Whether chains have not ended, or authors have not been asked."""
        row = self.db.execute(
            "SELECT EXISTS (SELECT 1 FROM chains WHERE platform = ?1 AND host = ?2 AND "
            "state != 'done') OR EXISTS (SELECT 1 FROM wanted WHERE platform = ?1 AND host = ?2 "
            "AND state != 'asked')",
            (platform, host),
        ).fetchone()
        return bool(row[0])

    def end_chain(self, chain_id: int, state: str, reason: str | None = None) -> None:
        """Mark a chain as ``done`` or ``failed``."""
        self.db.execute(
            "UPDATE chains SET state = ?, reason = ? WHERE id = ?", (state, reason, chain_id)
        )

    def store_page(
        self, platform: str, host: str, at: StoredChain, page: Page, keep: Callable[[Post], bool]
    ) -> Progress:
        """Rows, counters and the cursor of a page, all or nothing.

        A cursor that comes back without a single new post in between ends the chain (Brent's
        cycle search: the cursor is compared with a mark that moves at powers of two).
        """
        fresh = self.store_posts(platform, host, page, keep, at.id)
        mark, steps, span, seen = self.db.execute(
            "SELECT mark, steps, span, fresh FROM chains WHERE id = ?", (at.id,)
        ).fetchone()
        seen, steps, cursor = seen + fresh, steps + 1, page.cursor
        if cursor is not None and cursor == mark and not seen:
            self.count(platform, host, {"cursor_repeated": 1})
            cursor = None
        if steps >= span or cursor is None:
            mark, steps, span, seen = cursor, 0, min(span * 2, 1 << 40), 0
        self.db.execute(
            "UPDATE chains SET cursor = ?, state = ?, pages = pages + 1, mark = ?, steps = ?, "
            "span = ?, fresh = ? WHERE id = ?",
            (cursor, "done" if cursor is None else "open", mark, steps, span, seen, at.id),
        )
        return Progress(fresh, cursor)

    # -- rows -----------------------------------------------------------------------------

    def store_posts(
        self, platform: str, host: str, page: Page, keep: Callable[[Post], bool], chain: int
    ) -> int:
        """Store posts and authors; returns the posts that this chain had not stored before."""
        now = time.time_ns() // 1000
        gone = self._forgotten(platform, host, {post.author_id for post in page.posts})
        rows = [
            _post_row(platform, host, p, now, chain, keep, p.author_id in gone) for p in page.posts
        ]
        before = self.db.total_changes
        self.db.executemany(
            "INSERT INTO posts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
            "created_at = excluded.created_at, collected_at = excluded.collected_at, "
            "chain = excluded.chain, kept = excluded.kept, sensitive = excluded.sensitive, "
            "flags = excluded.flags, record = excluded.record WHERE posts.chain != excluded.chain",
            rows,
        )
        fresh = self.db.total_changes - before
        self.store_authors(platform, host, page.authors, gone)
        self.count(platform, host, {f"dropped:{k}": v for k, v in page.dropped.items()})
        self.count(platform, host, {f"odd:{k}": v for k, v in page.oddities.items()})
        self.count(platform, host, {"pages": 1, "posts_again": len(rows) - fresh})
        return fresh

    def store_authors(
        self,
        platform: str,
        host: str,
        authors: Iterable[Author],
        gone: frozenset[str] = frozenset(),
    ) -> None:
        """Store what was read about authors; the last reading of a pass stays."""
        now = time.time_ns() // 1000
        latest = {(a.author_id, a.source): a for a in authors if a.author_id not in gone}
        self.db.executemany(
            "INSERT OR REPLACE INTO authors VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (platform, host, a.author_id, a.source, self.pass_number, now, *_author_row(a))
                for a in latest.values()
            ],
        )

    def want(self, platform: str, host: str, author_ids: Iterable[str]) -> None:
        """Remember authors whose account has to be asked; each is asked once."""
        self.db.executemany(
            "INSERT OR IGNORE INTO wanted (platform, host, author_id) VALUES (?, ?, ?)",
            [(platform, host, one) for one in author_ids],
        )

    def wanted(self, platform: str, host: str, most: int) -> list[str]:
        """At most that many authors who have not been asked yet, now marked as being asked."""
        rows = self.db.execute(
            "SELECT author_id FROM wanted WHERE platform = ? AND host = ? AND state = 'wanted' "
            "ORDER BY author_id LIMIT ?",
            (platform, host, most),
        ).fetchall()
        ids = [row[0] for row in rows]
        self._mark(platform, host, ids, "asking")
        return ids

    def count_wanted(self, platform: str, host: str) -> int:
        """Authors who have not been asked yet."""
        row = self.db.execute(
            "SELECT count(*) FROM wanted WHERE platform = ? AND host = ? AND state = 'wanted'",
            (platform, host),
        ).fetchone()
        return int(row[0])

    def ask_again(self) -> None:
        """Authors whose answer never came stand in the queue again."""
        self.db.execute("UPDATE wanted SET state = 'wanted' WHERE state != 'asked'")

    def answered(
        self, platform: str, host: str, ids: Sequence[str], authors: Iterable[Author]
    ) -> None:
        """Store accounts that were asked for; those that did not come are counted."""
        found = list(authors)
        self.store_authors(platform, host, found)
        self._mark(platform, host, ids, "asked")
        missing = len(set(ids) - {a.author_id for a in found})
        self.count(platform, host, {"authors_unknown": missing})

    def _mark(self, platform: str, host: str, ids: Iterable[str], state: str) -> None:
        self.db.executemany(
            "UPDATE wanted SET state = ? WHERE platform = ? AND host = ? AND author_id = ?",
            [(state, platform, host, one) for one in ids],
        )

    def _forgotten(self, platform: str, host: str, ids: set[str]) -> frozenset[str]:
        """Those of the authors whom the study has to forget."""
        if not self._any_forgotten:
            return frozenset()
        marks = self.db.execute("SELECT digest FROM forgotten").fetchall()
        known = {row[0] for row in marks}
        return frozenset(one for one in ids if digest(platform, host, one) in known)

    # -- forgetting and reading again -----------------------------------------------------

    def forget(self, platform: str, host: str, author_id: str) -> int:
        """Delete an author's rows; returns how many. Only a digest of the id is kept."""
        where = (platform, host, author_id)
        same = "WHERE platform = ? AND host = ? AND author_id = ?"
        before = self.db.total_changes
        self.db.execute("BEGIN IMMEDIATE")
        self.db.execute("INSERT OR IGNORE INTO forgotten VALUES (?)", (digest(*where),))
        for statement in _FORGET:
            self.db.execute(statement + same, where)
        self.db.execute("COMMIT")
        self.db.execute("VACUUM")
        self.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._any_forgotten = True
        return self.db.total_changes - before - 1

    def next_pass(self) -> None:
        """Readings of authors from now on stand beside the earlier ones."""
        row = self.db.execute("SELECT max(pass) FROM authors").fetchone()
        self.pass_number = (row[0] or 0) + 1

    def kept_after(self, platform: str, host: str, last: str, most: int) -> list[str]:
        """The next kept posts in the order of their ids."""
        rows = self.db.execute(
            "SELECT post_id FROM posts WHERE platform = ? AND host = ? AND post_id > ? AND kept "
            "ORDER BY post_id LIMIT ?",
            (platform, host, last, most),
        )
        return [row[0] for row in rows]

    def read_again(
        self, platform: str, host: str, ids: Sequence[str], page: Page, counted: Collection[str]
    ) -> None:
        """Store the ``counted`` columns of posts that were read again; the others stay.

        Of posts that did not come only the key stays.
        """
        for post in page.posts:
            self._read_post_again(platform, host, post, counted)
        self.store_authors(platform, host, page.authors)
        missing = set(ids) - {post.post_id for post in page.posts}
        self.db.executemany(
            "UPDATE posts SET kept = 0, flags = 'deleted_upstream', record = '', author_id = '' "
            "WHERE platform = ? AND host = ? AND post_id = ?",
            [(platform, host, one) for one in missing],
        )

    def _read_post_again(
        self, platform: str, host: str, post: Post, counted: Collection[str]
    ) -> None:
        key = (platform, host, post.post_id)
        row = self.db.execute(
            "SELECT record FROM posts WHERE platform = ? AND host = ? AND post_id = ?", key
        ).fetchone()
        if row is None or not row[0]:
            return
        record = json.loads(row[0])
        for name in counted:
            value = getattr(post, name)
            record.pop(name, None) if value is None else record.update({name: value})
        text = "" if post.flags & OPTED_OUT else json.dumps(record, ensure_ascii=False)
        self.db.execute(
            "UPDATE posts SET collected_at = ?, flags = ?, record = ? "
            "WHERE platform = ? AND host = ? AND post_id = ?",
            (time.time_ns() // 1000, " ".join(sorted(post.flags)), text, *key),
        )

    def deleted(self, platform: str, host: str) -> list[str]:
        """Posts that were deleted upstream."""
        rows = self.db.execute(
            "SELECT post_id FROM posts WHERE platform = ? AND host = ? "
            "AND flags = 'deleted_upstream'",
            (platform, host),
        )
        return [row[0] for row in rows]

    def count(self, platform: str, host: str, names: Mapping[str, int]) -> None:
        """Add to named counters."""
        self.db.executemany(
            "INSERT INTO counters VALUES (?, ?, ?, ?) "
            "ON CONFLICT DO UPDATE SET count = count + excluded.count",
            [(platform, host, name, n) for name, n in names.items() if n],
        )

    def counters(self, platform: str, host: str) -> dict[str, int]:
        """Every named counter of a host."""
        return dict(
            self.db.execute(
                "SELECT name, count FROM counters WHERE platform = ? AND host = ?", (platform, host)
            )
        )

    def newer(self, platform: str, host: str, moment: int, most: int) -> int:
        """Kept posts made at or after a moment, counted up to ``most``."""
        row = self.db.execute(
            "SELECT count(*) FROM (SELECT 1 FROM posts WHERE platform = ? AND host = ? AND kept "
            "AND created_at >= ? LIMIT ?)",
            (platform, host, moment, most),
        ).fetchone()
        return int(row[0])

    def kept(self, platform: str, host: str) -> int:
        """Posts that pass the rules of manners."""
        row = self.db.execute(
            "SELECT count(*) FROM posts WHERE platform = ? AND host = ? AND kept", (platform, host)
        ).fetchone()
        return int(row[0])

    def meta(self, key: str, default: str = "") -> str:
        """A remembered value."""
        row = self.db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return str(row[0]) if row else default

    def set_meta(self, key: str, value: str) -> None:
        """Remember a value."""
        self.db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))


def _disk_error(path: Path, error: BaseException) -> BaseException:
    """A full or read-only disk, told as such."""
    if not isinstance(error, sqlite3.OperationalError):
        return error
    return StudyError(
        f"{path}: {error}", hint="mend the disk and run the command again; nothing read is lost"
    )


def _finish(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)


def _post_row(
    platform: str,
    host: str,
    post: Post,
    now: int,
    chain: int,
    keep: Callable[[Post], bool],
    gone: bool,
) -> tuple[Any, ...]:
    flags = post.flags | ({"forgotten"} if gone else set())
    flags |= set() if post.media else {"no_media"}
    kept = not gone and keep(post)
    return (
        platform, host, post.post_id, "" if gone else post.author_id, post.created_at, now, chain,
        kept, post.sensitive, " ".join(sorted(flags)), "" if gone else _record(post),
    )  # fmt: skip


def _record(post: Post) -> str:
    """A post's columns as JSON; nothing for a post of which only the key may be kept."""
    if post.flags & UNKEPT or not post.media:
        return ""
    return json.dumps(post.row(), ensure_ascii=False)


def _author_row(author: Author) -> tuple[str, str]:
    out = author.flags & OPTED_OUT
    record = "" if out else json.dumps(author.row(), ensure_ascii=False)
    return " ".join(sorted(author.flags)), record
