"""Rows of the published tables as the journal holds them, in the order of their time.

Only keys are sorted; records are looked up in that order. ``out`` (``federation``) holds the posts
that are published, and under which keys.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import pyarrow as pa
import pyarrow.json as pj

from collectors.crawling.shards import Row

__all__ = ["COUNT", "SOURCES", "Source", "keys_of", "rows_of", "tables_of"]

BATCH = 1024
"""Rows that are read at once: larger batches only cost memory."""


@dataclass(frozen=True, slots=True)
class Source:
    """A table's rows in the journal: the column that says when they were read, and two queries.

    ``keys`` gives the time that a row is cut by, platform, host, and three columns more; ``rows``
    gives the rows of the table ``keys``, with a condition of their time behind.
    """

    time_column: str
    keys: str
    rows: str


POSTS = Source(
    "collected_at",
    """
    SELECT coalesce(t.created_at, 0), o.platform, o.host, o.post_id, '', 0
    FROM out o CROSS JOIN posts t ON t.platform = coalesce(o.in_platform, o.platform)
        AND t.host = coalesce(o.in_host, o.host) AND t.post_id = coalesce(o.in_post, o.post_id)
    """,
    """
    SELECT k.at, k.platform, k.host, t.collected_at, CASE WHEN o.in_post IS NULL THEN t.record
        ELSE json_set(t.record, '$.post_id', o.post_id, '$.author_id', o.author_id) END
    FROM keys k
        CROSS JOIN out o ON o.platform = k.platform AND o.host = k.host AND o.post_id = k.a
        CROSS JOIN posts t ON t.platform = coalesce(o.in_platform, o.platform)
            AND t.host = coalesce(o.in_host, o.host) AND t.post_id = coalesce(o.in_post, o.post_id)
    """,
)

AUTHORS = Source(
    "fetched_at",
    """
    SELECT a.fetched_at, platform, host, author_id, a.source, a.pass
    FROM (SELECT DISTINCT platform, host, author_id FROM out) o
        CROSS JOIN authors a USING (platform, host, author_id)
    WHERE a.record != ''
    """,
    """
    SELECT k.at, k.platform, k.host, k.at, t.record
    FROM keys k CROSS JOIN authors t ON t.platform = k.platform AND t.host = k.host
        AND t.author_id = k.a AND t.source = k.b AND t.pass = k.c
    """,
)

POST_COUNTS = Source(
    "read_at",
    """
    SELECT t.read_at, o.platform, o.host, o.post_id, '', 0
    FROM out o CROSS JOIN counts t ON t.platform = coalesce(o.in_platform, o.platform)
        AND t.host = coalesce(o.in_host, o.host) AND t.post_id = coalesce(o.in_post, o.post_id)
    """,
    """
    SELECT k.at, k.platform, k.host, k.at, json_object('post_id', k.a, 'author_id', o.author_id,
        'source', t.source, 'likes', t.likes, 'comments', t.comments, 'shares', t.shares,
        'views', t.views)
    FROM keys k
        CROSS JOIN out o ON o.platform = k.platform AND o.host = k.host AND o.post_id = k.a
        CROSS JOIN counts t ON t.platform = coalesce(o.in_platform, o.platform)
            AND t.host = coalesce(o.in_host, o.host) AND t.post_id = coalesce(o.in_post, o.post_id)
            AND t.read_at = k.at
    """,
)

LICENCES = Source(
    "collected_at",
    f"{POSTS.keys} WHERE json_extract(t.record, '$.licence') IS NOT NULL",
    """
    SELECT k.at, k.platform, k.host, t.collected_at, json_object('post_id', k.a,
        'author_id', o.author_id, 'licence', t.record ->> '$.licence.code',
        'licence_version', t.record ->> '$.licence.version',
        'licence_url', t.record ->> '$.licence.url',
        'licence_before', t.record ->> '$.licence.before',
        'title', t.record ->> '$.licence.title', 'creator', t.record ->> '$.licence.creator',
        'creator_url', t.record ->> '$.licence.creator_url',
        'landing_page', t.record ->> '$.url', 'source', t.record ->> '$.licence.source',
        'rank', t.record ->> '$.licence.rank', 'created_at', t.created_at)
    FROM keys k
        CROSS JOIN out o ON o.platform = k.platform AND o.host = k.host AND o.post_id = k.a
        CROSS JOIN posts t ON t.platform = coalesce(o.in_platform, o.platform)
            AND t.host = coalesce(o.in_host, o.host) AND t.post_id = coalesce(o.in_post, o.post_id)
    """,
)

SOURCES = {
    "posts": POSTS,
    "authors": AUTHORS,
    "post_counts": POST_COUNTS,
    "licences": LICENCES,
}

COUNT = {
    "authors": "SELECT count(*) FROM authors WHERE platform = ? AND host = ?",
    "post_counts": "SELECT count(*) FROM counts WHERE platform = ? AND host = ?",
}
"""Readings of a host, those of posts and authors that are not published among them."""

_KEYS = """
DROP TABLE IF EXISTS temp.keys;
CREATE TEMP TABLE keys (at, platform, host, a, b, c, PRIMARY KEY (at, platform, host, a, b, c))
    WITHOUT ROWID;
"""


def keys_of(db: sqlite3.Connection, name: str) -> int:
    """Make ``keys`` those of a table's rows; returns how many there are."""
    db.executescript(_KEYS)
    return db.execute(f"INSERT INTO keys {SOURCES[name].keys}").rowcount


def rows_of(
    db: sqlite3.Connection, name: str, low: int = -(1 << 63), high: int = (1 << 63) - 1
) -> Iterator[Row]:
    """Rows of a time, both ends included, in its order; ``keys`` must be those of the table."""
    return db.execute(
        f"{SOURCES[name].rows} WHERE k.at BETWEEN ? AND ? "
        "ORDER BY k.at, k.platform, k.host, k.a, k.b, k.c",
        (low, high),
    )


def tables_of(rows: Iterator[Row], schema: pa.Schema, name: str) -> Iterator[pa.Table]:
    """Rows as tables; Arrow reads the records, for Python would be several times slower."""
    time_column = SOURCES[name].time_column
    wanted = [f for f in schema if f.name not in {"platform", "host", time_column}]
    inside = pa.schema([f.with_type(_as_json(f.type)) for f in wanted])
    options = pj.ParseOptions(explicit_schema=inside, unexpected_field_behavior="ignore")
    while batch := list(islice(rows, BATCH)):
        _, platform, host, read_at, records = zip(*batch, strict=True)
        raw = "\n".join(records).encode()
        whole = pj.ReadOptions(use_threads=False, block_size=len(raw) + 1)
        read = pj.read_json(pa.BufferReader(raw), whole, options)
        found = dict(zip(read.column_names, read.columns, strict=True))
        found |= {"platform": pa.array(platform), "host": pa.array(host)}
        found[time_column] = pa.array(read_at)
        yield pa.table([found[f.name].cast(f.type) for f in schema], schema=schema)


def _as_json(kind: pa.DataType) -> pa.DataType:
    """Times stand in the records as microseconds."""
    return pa.int64() if pa.types.is_timestamp(kind) else kind
