"""One person and one post, through whatever servers of a network they were seen.

A post of a fediverse carries one address on every server, and so does its author's profile. Seen
through two servers of a study it is one row, and all posts of a person have one author: else the
same face would stand on both sides of a split. The first server that a study saw a person through
(the person's own, if it is among them) gives the author's key, for good. A post that was seen
through another server only keeps that server's number as ``ID@SERVER``.
"""

from __future__ import annotations

import sqlite3

__all__ = ["draw", "elsewhere_id", "key_in_journal", "unite"]


def elsewhere_id(post_id: str, host: str) -> str:
    """The id of a post whose author was first seen through another server than ``host``."""
    return f"{post_id}@{host}"


def key_in_journal(db: sqlite3.Connection, post_id: str) -> tuple[str, str, str] | None:
    """(platform, host, id) of a published id of that form; None for an ordinary one."""
    own, at, host = post_id.rpartition("@")
    if not at:
        return None
    row = db.execute(
        "SELECT platform, host, post_id FROM posts WHERE host = ? AND post_id = ?", (host, own)
    ).fetchone()
    return None if row is None else (row[0], row[1], row[2])


def draw(db: sqlite3.Connection, authors: str) -> None:
    """Give the persons of ``authors`` (a query of their keys) an author's key, for good."""
    db.execute("DROP TABLE IF EXISTS temp.who")
    db.execute(_TABLE)
    db.execute(_WHO.format(authors=authors))
    db.execute(_DRAW)


def unite(db: sqlite3.Connection) -> None:
    """Give each person in ``judging`` one key, and keep each post once."""
    draw(db, "SELECT DISTINCT platform, host, out_author AS author_id FROM judging WHERE reason=''")
    [places] = db.execute(_PLACES).fetchone()
    if places < 2:
        return
    db.execute(_ONCE)
    for *was, platform, host, author_id in db.execute(_MOVED).fetchall():
        same = (platform, host) == tuple(was[:2])
        post_id = was[2] if same else elsewhere_id(was[2], was[1])
        db.execute(_MOVE, (platform, host, post_id, author_id, *was))


_PLACES = "SELECT count(*) FROM (SELECT DISTINCT platform, host FROM judging WHERE reason = '')"

_TABLE = """
CREATE TEMP TABLE who (platform, host, author_id, person, home,
    PRIMARY KEY (platform, host, author_id)) WITHOUT ROWID
"""

_WHO = """
INSERT INTO who
SELECT a.platform, a.host, a.author_id, max(a.person) AS person,
    max(coalesce(json_extract(a.record, '$.handle'), '') NOT LIKE '%@%') AS home
FROM ({authors}) o CROSS JOIN authors a USING (platform, host, author_id)
WHERE a.person != '' AND a.record != ''
GROUP BY a.platform, a.host, a.author_id
"""
"""Persons of the posts; ``home``: the server calls the author by a name without a server."""

_DRAW = """
INSERT OR IGNORE INTO persons
SELECT person, platform, host, author_id FROM (
    SELECT *, row_number() OVER (
        PARTITION BY person ORDER BY home DESC, platform, host, author_id) AS turn FROM who)
WHERE turn = 1
"""

_ONCE = """
UPDATE judging SET reason = 'seen_elsewhere' WHERE (platform, host, post_id) IN (
    SELECT platform, host, post_id FROM (
        SELECT o.platform, o.host, o.post_id, row_number() OVER (
            PARTITION BY p.uri ORDER BY r.person IS NULL, o.platform, o.host, o.post_id) AS turn
        FROM judging o JOIN posts p USING (platform, host, post_id)
            LEFT JOIN who w ON (w.platform, w.host, w.author_id)
                = (o.platform, o.host, o.out_author)
            LEFT JOIN persons r ON r.person = w.person
                AND (r.platform, r.host) = (o.platform, o.host)
        WHERE o.reason = '' AND p.uri IN (
            SELECT p.uri FROM judging o JOIN posts p USING (platform, host, post_id)
            WHERE o.reason = '' AND p.uri != '' GROUP BY p.uri HAVING count(*) > 1))
    WHERE turn > 1)
"""
"""Of the copies of a post the one on the server that gave its author's key stays."""

_MOVED = """
SELECT o.platform, o.host, o.post_id, r.platform, r.host, r.author_id
FROM judging o JOIN who w ON (w.platform, w.host, w.author_id)
        = (o.platform, o.host, o.out_author)
    JOIN persons r ON r.person = w.person
WHERE o.reason = '' AND (r.platform, r.host, r.author_id) != (o.platform, o.host, o.out_author)
    AND EXISTS (SELECT 1 FROM authors a WHERE a.record != '' AND a.author_id = r.author_id
        AND a.platform = r.platform AND a.host = r.host)
"""

_MOVE = """
UPDATE judging SET out_platform = ?, out_host = ?, out_post = ?, out_author = ?
WHERE platform = ? AND host = ? AND post_id = ?
"""
