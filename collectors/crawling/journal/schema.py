"""The journal's tables; ``record`` columns hold JSON."""

from __future__ import annotations

import hashlib
import json
import sqlite3

from likewise.errors import StudyError

__all__ = ["FENCE", "SCHEMA", "check_version", "complete", "encode", "name_digest"]

encode = json.JSONEncoder(ensure_ascii=False).encode
"""A record as text. ``json.dumps`` would make an encoder for every record."""


def name_digest(name: str | None) -> str:
    """A name of the whole network as the journal keeps it: good for comparing, not for reading."""
    return "" if not name else hashlib.sha256(name.encode()).hexdigest()[:32]


FENCE = "fence"
"""Under this name a lent journal remembers the number of its newest lease (``handover``)."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS chains (
    id INTEGER PRIMARY KEY, platform TEXT NOT NULL, host TEXT NOT NULL, kind TEXT NOT NULL,
    value TEXT NOT NULL, lo INTEGER, hi INTEGER, cursor TEXT, state TEXT NOT NULL DEFAULT 'open',
    reason TEXT, pages INTEGER NOT NULL DEFAULT 0, mark TEXT, steps INTEGER NOT NULL DEFAULT 0,
    span INTEGER NOT NULL DEFAULT 1, fresh INTEGER NOT NULL DEFAULT 0,
    told INTEGER, seen INTEGER NOT NULL DEFAULT 0, lost TEXT NOT NULL DEFAULT '');
CREATE TABLE IF NOT EXISTS accounts (
    platform TEXT, host TEXT, value TEXT, author_id TEXT NOT NULL,
    PRIMARY KEY (platform, host, value)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS shut (
    bucket TEXT PRIMARY KEY, until REAL NOT NULL, noted REAL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS posts (
    platform TEXT, host TEXT, post_id TEXT, author_id TEXT NOT NULL, created_at INTEGER,
    collected_at INTEGER NOT NULL, chain INTEGER, kept INTEGER NOT NULL, sensitive INTEGER,
    flags TEXT NOT NULL, record TEXT NOT NULL, uri TEXT NOT NULL DEFAULT '',
    since INTEGER, PRIMARY KEY (platform, host, post_id)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS authors (
    platform TEXT, host TEXT, author_id TEXT, source TEXT, pass INTEGER,
    fetched_at INTEGER NOT NULL, flags TEXT NOT NULL, record TEXT NOT NULL,
    person TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (platform, host, author_id, source, pass)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS persons (
    person TEXT PRIMARY KEY, platform TEXT NOT NULL, host TEXT NOT NULL, author_id TEXT NOT NULL
    ) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS counts (
    platform TEXT, host TEXT, post_id TEXT, read_at INTEGER, source TEXT NOT NULL,
    likes INTEGER, comments INTEGER, shares INTEGER, views INTEGER,
    PRIMARY KEY (platform, host, post_id, read_at)) WITHOUT ROWID;
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
CREATE TABLE IF NOT EXISTS judged (
    platform TEXT, host TEXT, post_id TEXT, reason TEXT NOT NULL, at INTEGER NOT NULL,
    out_platform TEXT, out_host TEXT, out_post TEXT, out_author TEXT,
    PRIMARY KEY (platform, host, post_id)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS news (
    kind TEXT, platform TEXT, host TEXT, id TEXT, at INTEGER,
    PRIMARY KEY (kind, platform, host, id, at)) WITHOUT ROWID;
"""
"""``judged`` says of each post why it is not published (empty: it is) and under which keys it is;
``news`` what has changed since: see ``collectors.crawling.judging``."""

_ADDED = {
    "chains": {
        "told": "INTEGER",
        "seen": "INTEGER NOT NULL DEFAULT 0",
        "lost": "TEXT NOT NULL DEFAULT ''",
    },
    "posts": {"uri": "TEXT NOT NULL DEFAULT ''", "since": "INTEGER"},
    "authors": {"person": "TEXT NOT NULL DEFAULT ''"},
    "shut": {"noted": "REAL"},
}
"""Columns that journals of earlier versions lack."""


VERSION = 1
"""Raised whenever an older likewise would misread the journal; a column more is no reason."""


def check_version(db: sqlite3.Connection) -> None:
    """Raises StudyError where a newer likewise has written the journal; it stays as it is."""
    found = db.execute("PRAGMA user_version").fetchone()[0]
    if found > VERSION:
        raise StudyError(
            f"the journal is of a newer likewise (its version is {found}, known is {VERSION})",
            hint="install that likewise or a later one: pip install --upgrade likewise",
        )


def complete(db: sqlite3.Connection) -> None:
    """Make every table, and add to those of an earlier version what they lack."""
    without_counts = not db.execute(
        "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'counts'"
    ).fetchone()
    db.executescript(f"{SCHEMA} PRAGMA user_version = {VERSION};")
    for table, columns in _ADDED.items():
        there = {row[1] for row in db.execute(f"PRAGMA table_info({table})")}
        for name, kind in columns.items():
            if name not in there:
                db.execute(f"ALTER TABLE {table} ADD COLUMN {name} {kind}")
                db.execute(_FILLED.get(name, ""))
    for statement in (_BY_AGE, *_BY_TIME, *_WATCHED):
        db.execute(statement)
    if without_counts:  # of each post the one reading that was kept
        db.execute(_FIRST_COUNTS)


_FILLED = {
    "since": "UPDATE posts SET since = coalesce(CASE WHEN record != '' "
    "THEN json_extract(record, '$.indexed_at') END, created_at)"
}
"""How added columns are filled from what is there."""

_BY_AGE = (
    "CREATE INDEX IF NOT EXISTS posts_by_age ON posts (platform, host, since, collected_at) "
    "WHERE kept"
)
"""Which posts have come of age is asked every night, and must not read their records."""

_BY_TIME = (
    "CREATE INDEX IF NOT EXISTS authors_by_time ON authors (fetched_at)",
    "CREATE INDEX IF NOT EXISTS counts_by_time ON counts (read_at)",
    "CREATE INDEX IF NOT EXISTS judged_by_time ON judged (at) WHERE reason = ''",
    "CREATE INDEX IF NOT EXISTS judged_by_author ON judged (out_platform, out_host, out_author) "
    "WHERE reason = ''",
    "CREATE INDEX IF NOT EXISTS judged_dropped ON judged (reason) WHERE reason != ''",
)
"""Published tables are cut by time, and only what changed of them is looked at again."""

_TOLD = "EXISTS (SELECT 1 FROM meta WHERE key = 'published')"
"""Nothing is noted before the first publication, nor after an erasure: all is looked at then."""


def _note(kind: str, row: str, columns: str, where: str = "true") -> str:
    # OR IGNORE would not help: the statement that fires a trigger decides about its conflicts.
    key = f"'{kind}', {columns.format(row)}"
    there = f"SELECT 1 FROM news WHERE (kind, platform, host, id, at) = ({key})"
    return f"INSERT INTO news SELECT {key} WHERE {where} AND NOT EXISTS ({there});"


def _watch(table: str, event: str, *notes: str) -> str:
    return (
        f"CREATE TRIGGER IF NOT EXISTS {table}_{event} AFTER {event.upper()} ON {table} "
        f"WHEN {_TOLD} BEGIN {' '.join(notes)} END"
    )


_POST = "{0}.platform, {0}.host, {0}.post_id, 0"
_AUTHOR = "{0}.platform, {0}.host, {0}.author_id, {0}.fetched_at"
_READING = "'', '', '', {0}.read_at"
# What one reading of an author flags holds for all posts: the same flags once more change nothing.
_NEW_FLAGS = (
    "new.flags != '' AND NOT EXISTS (SELECT 1 FROM authors a WHERE a.platform = new.platform "
    "AND a.host = new.host AND a.author_id = new.author_id AND a.flags = new.flags "
    "AND (a.source, a.pass) != (new.source, new.pass))"
)

_WATCHED = (
    _watch("posts", "insert", _note("post", "new", _POST)),
    _watch("posts", "update", _note("post", "new", _POST)),
    _watch("posts", "delete", _note("post", "old", _POST)),
    _watch(
        "authors",
        "insert",
        _note("author", "new", _AUTHOR),
        _note("flags", "new", _AUTHOR, _NEW_FLAGS),
    ),
    _watch(
        "authors",
        "delete",
        # Without the key: whoever leaves the study may not stay here.
        _note("author", "old", "'', '', '', {0}.fetched_at"),
        _note("all", "old", "'', '', '', 0", "old.flags != ''"),
    ),
    _watch("counts", "insert", _note("count", "new", _READING)),
    _watch("counts", "update", _note("count", "new", _READING)),
    _watch("counts", "delete", _note("count", "old", _READING)),
)
"""Whatever statement changes a row, the next publication looks at it."""

_FIRST_COUNTS = """
INSERT OR IGNORE INTO counts
SELECT platform, host, post_id, collected_at, 'embedded', json_extract(record, '$.likes'),
    json_extract(record, '$.comments'), json_extract(record, '$.shares'),
    json_extract(record, '$.views')
FROM posts WHERE kept AND record != ''
"""
