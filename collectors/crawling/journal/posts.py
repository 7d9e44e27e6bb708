"""Posts: stored once for each chain, read again for their counts, of which every reading stays."""

from __future__ import annotations

import json
import math
import sqlite3
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from collectors.crawling.journal.forgotten import digest
from collectors.crawling.journal.schema import encode, name_digest
from collectors.crawling.manners import UNKEPT
from collectors.platforms.base import Page
from collectors.platforms.records import Licence, Post

__all__ = ["Posts"]

COUNTS = ("likes", "comments", "shares", "views")

_KEY = "platform = ? AND host = ? AND post_id = ?"

_RECORD = 10
"""Place of the record among a row's columns."""

_ASKED = "likes_asked"
"""Flag of a post that has been asked for its likes, whatever came of it."""

_WITHOUT_LIKES = (
    "FROM posts WHERE platform = ? AND host = ? AND kept "
    f"AND json_extract(record, '$.likes') IS NULL AND flags NOT LIKE '%{_ASKED}%'"
)

_CAME_OF_AGE = (
    "FROM posts WHERE platform = ? AND host = ? AND kept AND since <= ? "
    "AND collected_at < since + ?"
)

_SAME = 86_400_000_000
"""Microseconds for which a page that shows the same counts as before is no new reading."""

_READ = """
INSERT INTO counts SELECT ?1, ?2, ?3, ?4, 'embedded', ?5, ?6, ?7, ?8
WHERE NOT EXISTS (SELECT 1 FROM posts
        WHERE platform = ?1 AND host = ?2 AND post_id = ?3 AND chain = ?9)
    AND NOT EXISTS (SELECT 1 FROM (SELECT * FROM counts
        WHERE platform = ?1 AND host = ?2 AND post_id = ?3 ORDER BY read_at DESC LIMIT 1)
    WHERE likes IS ?5 AND comments IS ?6 AND shares IS ?7 AND views IS ?8 AND read_at > ?4 - ?10)
ON CONFLICT DO NOTHING
"""
"""A page's counts, for posts that its chain has not stored yet and that show something new."""

_ASKED_FOR = """
INSERT INTO counts VALUES (?, ?, ?, ?, 'asked', ?, ?, ?, ?) ON CONFLICT DO UPDATE SET
    source = 'asked', likes = coalesce(excluded.likes, likes),
    comments = coalesce(excluded.comments, comments), shares = coalesce(excluded.shares, shares),
    views = coalesce(excluded.views, views)
"""
"""Counts that a post was asked for; two answers of one moment are one reading."""

_STORE = """
INSERT INTO posts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET
    uri = excluded.uri, created_at = excluded.created_at, since = excluded.since,
    collected_at = coalesce((SELECT max(read_at) FROM counts c WHERE c.platform = posts.platform
        AND c.host = posts.host AND c.post_id = posts.post_id), excluded.collected_at),
    chain = excluded.chain, kept = excluded.kept, sensitive = excluded.sensitive,
    flags = excluded.flags,
    record = CASE WHEN excluded.record = '' OR posts.record NOT LIKE '%"class:%'
        THEN excluded.record
        ELSE json_set(excluded.record, '$.labels', (
            SELECT json_group_array(value) FROM (
                SELECT value FROM json_each(excluded.record, '$.labels') UNION
                SELECT value FROM json_each(posts.record, '$.labels') WHERE value LIKE 'class:%')))
        END
WHERE posts.chain != excluded.chain
"""
"""A result of two searches is of both their classes, whichever found it last."""


_UNPUBLISH = (
    "INSERT OR IGNORE INTO news SELECT 'member', out_platform, out_host, out_author, 0 "
    f"FROM judged WHERE {_KEY} AND reason = ''",
    f"INSERT OR IGNORE INTO news SELECT 'at', '', '', '', at FROM judged WHERE {_KEY}",
    f"DELETE FROM judged WHERE {_KEY}",
)
"""Nothing but the key of a post may be kept; the next publication has to miss it."""


class Posts:
    """The posts of all hosts; ``kept`` are those that pass the rules of manners."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def store(
        self,
        platform: str,
        host: str,
        posts: Sequence[Post],
        keep: Callable[[Post], bool],
        chain: int,
        gone: frozenset[str],
    ) -> int:
        """Store posts; returns how many of them this chain had not stored before.

        Of posts by authors in ``gone`` only the key is kept.
        """
        now = time.time_ns() // 1000
        rows = [_row(platform, host, p, now, chain, keep, p.author_id in gone) for p in posts]
        read = [
            (platform, host, p.post_id, now, p.likes, p.comments, p.shares, p.views, chain, _SAME)
            for p, row in zip(posts, rows, strict=True)
            if row[_RECORD]
        ]
        self._db.executemany(_READ, read)
        before = self._db.total_changes
        self._db.executemany(_STORE, rows)
        return self._db.total_changes - before

    def count_kept(self, platform: str, host: str) -> int:
        """Posts that pass the rules of manners."""
        row = self._db.execute(
            "SELECT count(*) FROM posts WHERE platform = ? AND host = ? AND kept", (platform, host)
        ).fetchone()
        return int(row[0])

    def count_newer(self, platform: str, host: str, moment: int, most: int) -> int:
        """Kept posts made at or after a moment, counted up to ``most``."""
        row = self._db.execute(
            "SELECT count(*) FROM (SELECT 1 FROM posts WHERE platform = ? AND host = ? AND kept "
            "AND created_at >= ? LIMIT ?)",
            (platform, host, moment, most),
        ).fetchone()
        return int(row[0])

    # -- likes that the pages left out ----------------------------------------------------

    def without_likes(self, platform: str, host: str, most: int) -> list[str]:
        """The newest kept posts that came without likes and have not been asked for them."""
        rows = self._db.execute(
            f"SELECT post_id {_WITHOUT_LIKES} ORDER BY created_at DESC, post_id LIMIT ?",
            (platform, host, most),
        )
        return [row[0] for row in rows]

    def count_without_likes(self, platform: str, host: str) -> int:
        """Kept posts that came without likes and have not been asked for them."""
        row = self._db.execute(f"SELECT count(*) {_WITHOUT_LIKES}", (platform, host)).fetchone()
        return int(row[0])

    def note_likes(self, platform: str, host: str, post_id: str, likes: int | None) -> None:
        """Store the likes of a post that was asked for them; only ``refresh`` asks it again."""
        key = (platform, host, post_id)
        [record] = self._db.execute(f"SELECT record FROM posts WHERE {_KEY}", key).fetchone()
        if likes is not None:
            now, told = time.time_ns() // 1000, json.loads(record)
            self._note_reading(key, now, {"likes": likes})
            if told.get("likes") != likes:
                self._db.execute(
                    f"UPDATE posts SET collected_at = ?, record = ? WHERE {_KEY}",
                    (now, encode({**told, "likes": likes}), *key),
                )
        self._db.execute(
            f"UPDATE posts SET flags = trim(replace(flags, ?, '') || ' ' || ?) WHERE {_KEY}",
            (_ASKED, _ASKED, *key),
        )

    def _note_reading(self, key: tuple[str, str, str], now: int, told: Mapping[str, Any]) -> None:
        """Counts that a post was asked for stand beside the earlier ones, the same or not."""
        self._db.execute(_ASKED_FOR, (*key, now, *map(told.get, COUNTS)))

    # -- reading again --------------------------------------------------------------------

    def kept_after(
        self, platform: str, host: str, last: str, most: int, *, read_before: float = math.inf
    ) -> list[str]:
        """The next kept posts, read before that moment (epoch seconds), in the order of ids."""
        rows = self._db.execute(
            "SELECT post_id FROM posts WHERE platform = ? AND host = ? AND post_id > ? AND kept "
            "AND coalesce((SELECT max(read_at) FROM counts c WHERE c.platform = posts.platform "
            "AND c.host = posts.host AND c.post_id = posts.post_id), collected_at) < ? "
            "ORDER BY post_id LIMIT ?",
            (platform, host, last, read_before * 1e6, most),
        )
        return [row[0] for row in rows]

    def came_of_age(self, platform: str, host: str, last: str, most: int, age: int) -> list[str]:
        """The next kept posts that are ``age`` microseconds old and were younger when read."""
        rows = self._db.execute(
            f"SELECT post_id {_CAME_OF_AGE} AND post_id > ? ORDER BY post_id LIMIT ?",
            (platform, host, time.time_ns() // 1000 - age, age, last, most),
        )
        return [row[0] for row in rows]

    def count_came_of_age(self, platform: str, host: str, age: int) -> int:
        """Kept posts that are ``age`` microseconds old and were younger when they were read."""
        row = self._db.execute(
            f"SELECT count(*) {_CAME_OF_AGE}", (platform, host, time.time_ns() // 1000 - age, age)
        ).fetchone()
        return int(row[0])

    def read_again(
        self, platform: str, host: str, page: Page, counted: Collection[str], age: int
    ) -> None:
        """Store the ``counted`` columns of posts that were read again; the others stay.

        A reading that says the same is a row of the history and changes nothing else, but for the
        first one at which the post is ``age`` microseconds old: labels ask for that.
        """
        for post in page.posts:
            self._update(platform, host, post, counted, age)

    def licences(self, platform: str, host: str, ids: Collection[str]) -> dict[str, str]:
        """Post -> the code of its licence, of those posts that have one."""
        rows = self._db.execute(
            "SELECT post_id, json_extract(record, '$.licence.code') FROM posts "
            "WHERE platform = ? AND host = ? AND record != '' "
            "AND post_id IN (SELECT value FROM json_each(?))",
            (platform, host, json.dumps(list(ids))),
        )
        return {post_id: code for post_id, code in rows if code}

    def mark_gone(self, platform: str, host: str, reasons: Mapping[str, str]) -> None:
        """Keep nothing but the keys of posts, and the flags that say why."""
        keys = [(platform, host, one) for one in reasons]
        for statement in _UNPUBLISH:
            self._db.executemany(statement, keys)
        self._db.executemany(f"DELETE FROM counts WHERE {_KEY}", keys)
        self._db.executemany(
            "UPDATE posts SET kept = 0, flags = ?, record = '', author_id = '', uri = '' "
            "WHERE platform = ? AND host = ? AND post_id = ?",
            [(why, platform, host, one) for one, why in reasons.items()],
        )

    def _update(
        self, platform: str, host: str, post: Post, counted: Collection[str], age: int
    ) -> None:
        key = (platform, host, post.post_id)
        row = self._db.execute(
            f"SELECT record, since, collected_at FROM posts WHERE {_KEY}", key
        ).fetchone()
        if row is None or not row[0]:
            return
        record, since, collected_at = json.loads(row[0]), row[1], row[2]
        told = {name: getattr(post, name) for name in counted}
        now = time.time_ns() // 1000
        self._note_reading(key, now, told)
        if told.get("licence") is not None:
            told["licence"] = _licence_now(told["licence"], record.get("licence"))
        changed = any(record.get(name) != value for name, value in told.items())
        of_age = since is not None and collected_at < since + age <= now
        if changed or of_age:
            collected_at = now
        for name, value in told.items():
            record.pop(name, None) if value is None else record.update({name: value})
        self._db.execute(
            f"UPDATE posts SET collected_at = ?, flags = ?, record = ? WHERE {_KEY}",
            (collected_at, " ".join(sorted(post.flags)), encode(record), *key),
        )

    def gone(self, platform: str, host: str) -> list[str]:
        """Posts of which only the key may be kept and no author is known any more."""
        rows = self._db.execute(
            "SELECT post_id FROM posts WHERE platform = ? AND host = ? AND NOT kept "
            "AND author_id = ''",
            (platform, host),
        )
        return [row[0] for row in rows]


def _licence_now(licence: Licence, before: Mapping[str, Any] | None) -> dict[str, Any]:
    """A licence that was read again: the place in its search stays, a change is noted."""
    now = asdict(licence)
    if before is None:
        return now
    now["rank"] = before.get("rank")
    changed = before["code"] != now["code"]
    if changed or "before" in before:
        now["before"] = before["code"] if changed else before["before"]
    return now


def _row(
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
    # The key tells such posts apart; ids may hold the author's (at://did:plc:.../...).
    post_id = f"forgotten:{digest(platform, host, post.post_id)}" if gone else post.post_id
    return (
        platform, host, post_id, "" if gone else post.author_id, post.created_at, now, chain,
        kept, post.sensitive, " ".join(sorted(flags)), "" if gone else _record(post),
        name_digest(post.uri) if kept else "",
        post.created_at if post.indexed_at is None else post.indexed_at,
    )  # fmt: skip


def _record(post: Post) -> str:
    """A post's columns as JSON; nothing for a post of which only the key may be kept."""
    if post.flags & UNKEPT or not post.media:
        return ""
    return encode(post.row())
