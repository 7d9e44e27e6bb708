"""Which posts of the journal are published, and what has changed since the last publication.

The table ``judged`` holds, of each post, the named reason why it is not published (empty: it is)
and the keys under which it is. Triggers note in ``news`` what was written since; a publication
judges these posts again and looks at those moments of the tables in which a row may have changed.
After changes of the rules, of the tables by others, and where a post hangs on others (several
servers, ``max_posts``), all posts are judged.
"""

from __future__ import annotations

import sqlite3
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from collectors.crawling.federation import draw, unite
from collectors.crawling.manners import reason_to_drop
from likewise.config import CollectSection

__all__ = ["Changed", "Place", "dropped", "judge", "kept"]


@dataclass(frozen=True, slots=True)
class Place:
    """What of a host belongs into the tables: dates, and the newest ``most`` posts."""

    platform: str
    host: str
    since: int | None
    until: int | None
    most: int


@dataclass(slots=True)
class Changed:
    """Moments (microseconds) in which a table's rows may differ from those published last."""

    posts: set[int] = field(default_factory=set)
    authors: set[int] = field(default_factory=set)
    post_counts: set[int] = field(default_factory=set)

    def of(self, table: str) -> list[int]:
        """Those of a table, in order; licences are cut as posts are."""
        return sorted(getattr(self, "posts" if table == "licences" else table))


def judge(
    db: sqlite3.Connection, places: Sequence[Place], section: CollectSection, *, anew: bool
) -> Changed:
    """Bring ``judged`` up to date, within a transaction of the caller's.

    ``anew``: the rules are others, or nothing is known of what has changed.
    """
    for statement in _SCRATCH:
        db.execute(statement)
    scope = f"touched CROSS JOIN {{}} {_KEY}"
    if anew or len(places) != 1 or not _only_news(db, places[0], section):
        _everything(db, places, section)
        scope = "{}"
    db.execute("UPDATE judging SET at = 0, out_platform = NULL, out_host = NULL, out_post = NULL, "
               "out_author = NULL WHERE reason != ''")  # fmt: skip
    return _apply(db, scope)


def kept(db: sqlite3.Connection) -> int:
    """Posts that are published."""
    row = db.execute("SELECT count(*) FROM judged WHERE reason = ''").fetchone()
    return int(row[0])


def dropped(db: sqlite3.Connection) -> Counter[str]:
    """Posts that are not, by reason."""
    rows = db.execute("SELECT reason, count(*) FROM judged WHERE reason != '' GROUP BY reason")
    return Counter(dict(rows))


_KEY = "USING (platform, host, post_id)"

_JUDGED = (
    "(platform, host, post_id, reason, at, out_platform, out_host, out_post, out_author, "
    "PRIMARY KEY (platform, host, post_id)) WITHOUT ROWID"
)

_SCRATCH = (
    "DROP TABLE IF EXISTS temp.judging",
    "DROP TABLE IF EXISTS temp.touched",
    "DROP TABLE IF EXISTS temp.suspects",
    f"CREATE TEMP TABLE judging {_JUDGED}",
    "CREATE TEMP TABLE touched (platform, host, post_id, "
    "PRIMARY KEY (platform, host, post_id)) WITHOUT ROWID",
    "CREATE TEMP TABLE suspects (platform, host, author_id, was, "
    "PRIMARY KEY (platform, host, author_id)) WITHOUT ROWID",
    "INSERT INTO touched SELECT platform, host, id FROM news WHERE kind = 'post'",
)
"""Verdicts of now; posts that were written since; authors who may have come or gone."""

_COLUMNS = """
SELECT p.post_id, p.author_id, p.created_at, p.sensitive, p.flags,
    (SELECT group_concat(a.flags, ' ') FROM authors a WHERE a.platform = p.platform
     AND a.host = p.host AND a.author_id = p.author_id)
"""

_NEWEST_FIRST = f"""{_COLUMNS} FROM posts p WHERE platform = ? AND host = ?
ORDER BY coalesce(created_at, 0) DESC, post_id
"""

_TOUCHED = f"""{_COLUMNS} FROM touched CROSS JOIN posts p USING (platform, host, post_id)
WHERE platform = ? AND host = ?
"""

_INTO = "INSERT INTO judging VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"


def _everything(db: sqlite3.Connection, places: Sequence[Place], section: CollectSection) -> None:
    """Judge all posts of the journal."""
    db.execute("DELETE FROM judging")
    for place in places:
        rows = db.execute(_NEWEST_FIRST, (place.platform, place.host))
        db.executemany(_INTO, _verdicts(rows, place, section, place.most))
    unite(db)


def _only_news(db: sqlite3.Connection, place: Place, section: CollectSection) -> bool:
    """Judge what was written since; False where other posts hang on that."""
    if db.execute("SELECT 1 FROM news WHERE kind = 'all'").fetchone():
        return False
    if db.execute("SELECT 1 FROM judged WHERE reason = 'over_max_posts'").fetchone():
        return False
    if db.execute("SELECT 1 FROM news WHERE kind = 'flags'").fetchone():
        db.execute(
            "INSERT OR IGNORE INTO touched SELECT platform, host, post_id FROM posts WHERE "
            "(platform, host, author_id) IN (SELECT platform, host, id FROM news "
            "WHERE kind = 'flags')"
        )
    where = (place.platform, place.host)
    rows = db.execute(_TOUCHED, where)
    db.executemany(_INTO, _verdicts(rows, place, section, sys.maxsize))
    more = (
        "SELECT (SELECT count(*) FROM judging WHERE reason = '') - (SELECT count(*) FROM touched "
        "CROSS JOIN judged USING (platform, host, post_id) WHERE reason = '')"
    )
    if kept(db) + int(db.execute(more).fetchone()[0]) > place.most:
        return False
    # Who was read anew may have told a person only now.
    draw(
        db,
        "SELECT platform, host, out_author AS author_id FROM judging WHERE reason = '' "
        "UNION SELECT platform, host, id FROM news n WHERE kind = 'author' AND EXISTS (SELECT 1 "
        "FROM judged WHERE reason = '' AND (out_platform, out_host, out_author) "
        "= (n.platform, n.host, n.id))",
    )
    return True


def _verdicts(
    rows: sqlite3.Cursor, place: Place, section: CollectSection, left: int
) -> Iterator[tuple[Any, ...]]:
    """Rows of ``judging``; the newest posts come first, ``left`` of them may stay."""
    for post_id, author_id, created_at, sensitive, flags, author_flags in rows:
        key = (place.platform, place.host, post_id)
        reason = reason_to_drop(
            [*flags.split(), *(author_flags or "").split()],
            sensitive=bool(sensitive),
            section=section,
        )
        reason = reason or _why_not(place, created_at, left)
        left -= reason is None
        yield (*key, reason or "", created_at or 0, *key, author_id)


def _why_not(place: Place, created_at: int | None, left: int) -> str | None:
    if created_at is not None and place.since is not None and created_at < place.since:
        return "before_since"
    if created_at is not None and place.until is not None and created_at >= place.until:
        return "after_until"
    return "over_max_posts" if left <= 0 else None


# -- from verdicts to what may have changed ----------------------------------------------------

_ROW = "platform, host, post_id, reason, at, out_platform, out_host, out_post, out_author"

_PUBLISHED = (
    "EXISTS (SELECT 1 FROM judged WHERE reason = '' AND (out_platform, out_host, out_author) "
    "= (s.platform, s.host, s.author_id))"
)

_SUSPECTS = (
    "INSERT OR IGNORE INTO suspects SELECT platform, host, id, 1 FROM news WHERE kind = 'member'",
    f"""
    INSERT OR IGNORE INTO suspects SELECT s.*, {_PUBLISHED} FROM (
        SELECT out_platform AS platform, out_host AS host, out_author AS author_id FROM gone
        WHERE reason = ''
        UNION SELECT out_platform, out_host, out_author FROM come WHERE reason = '') s
    """,
)

_REPLACED = (
    "DELETE FROM judged WHERE (platform, host, post_id) IN (SELECT platform, host, post_id "
    "FROM gone)",
    "INSERT INTO judged SELECT * FROM come ORDER BY at",
)


def _apply(db: sqlite3.Connection, scope: str) -> Changed:
    """Replace the verdicts that are others now; returns the moments that have to be looked at."""
    for name, these, those in (("gone", "judged", "judging"), ("come", "judging", "judged")):
        db.execute(f"DROP TABLE IF EXISTS temp.{name}")
        db.execute(f"CREATE TEMP TABLE {name} {_JUDGED}")
        sides = (f"SELECT {_ROW} FROM {scope.format(one)}" for one in (these, those))
        db.execute(f"INSERT INTO {name} {' EXCEPT '.join(sides)}")
    for statement in (*_SUSPECTS, *_REPLACED):
        db.execute(statement)
    changed = Changed()
    changed.posts.update(_moments(db, "SELECT at FROM gone UNION SELECT at FROM come"))
    changed.posts.update(_moments(db, f"SELECT at FROM touched CROSS JOIN judged {_KEY}"))
    changed.posts.update(_moments(db, "SELECT at FROM news WHERE kind = 'at'"))
    changed.authors.update(_moments(db, "SELECT at FROM news WHERE kind = 'author'"))
    changed.authors.update(
        _moments(
            db,
            "SELECT fetched_at FROM suspects s CROSS JOIN authors USING (platform, host, author_id)"
            f" WHERE was != {_PUBLISHED}",
        )
    )
    changed.post_counts.update(_moments(db, "SELECT at FROM news WHERE kind = 'count'"))
    for name in ("gone", "come"):
        read = f"SELECT read_at FROM {name} CROSS JOIN counts {_KEY} WHERE reason = ''"
        changed.post_counts.update(_moments(db, read))
    db.execute("DELETE FROM news")
    return changed


def _moments(db: sqlite3.Connection, query: str) -> Iterator[int]:
    return (row[0] for row in db.execute(query))
