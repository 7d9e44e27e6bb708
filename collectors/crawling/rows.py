"""Rows of the published tables as the journal holds them, in the order of their time.

Indexes of the time give the order, so that rows are streamed. ``judged`` (``judging``) holds the
posts that are published, and under which keys.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import pyarrow as pa
import pyarrow.json as pj

from collectors.crawling.shards import Row

__all__ = ["COUNT", "SOURCES", "Source", "rows_at", "rows_of", "tables_of"]

BATCH = 1024
"""Rows that are read at once: larger batches only cost memory."""


@dataclass(frozen=True, slots=True)
class Source:
    """A table's rows in the journal: the column that says when they were read, and a query.

    ``rows`` gives the time that a row is cut by (``at``), platform, host, the time of reading, and
    the other columns as JSON; it wants a condition of the time, and ends with the order.
    """

    time_column: str
    at: str
    rows: str
    order: str


_OF_POST = (
    "FROM judged v INDEXED BY judged_by_time CROSS JOIN posts t USING (platform, host, post_id)"
)
_OUT = "v.out_platform, v.out_host, v.out_post"

POSTS = Source(
    "collected_at",
    "v.at",
    f"""
    SELECT v.at, v.out_platform, v.out_host, t.collected_at,
        CASE WHEN v.out_post = v.post_id AND v.out_author = t.author_id THEN t.record
        ELSE json_set(t.record, '$.post_id', v.out_post, '$.author_id', v.out_author) END
    {_OF_POST} WHERE v.reason = '' AND {{when}}
    """,
    _OUT,
)

AUTHORS = Source(
    "fetched_at",
    "t.fetched_at",
    """
    SELECT t.fetched_at, t.platform, t.host, t.fetched_at, t.record
    FROM authors t INDEXED BY authors_by_time
    WHERE t.record != '' AND {when} AND EXISTS (SELECT 1 FROM judged v WHERE v.reason = ''
        AND (v.out_platform, v.out_host, v.out_author) = (t.platform, t.host, t.author_id))
    """,
    "t.platform, t.host, t.author_id, t.source, t.pass",
)

POST_COUNTS = Source(
    "read_at",
    "t.read_at",
    """
    SELECT t.read_at, v.out_platform, v.out_host, t.read_at, json_object('post_id', v.out_post,
        'author_id', v.out_author, 'source', t.source, 'likes', t.likes, 'comments', t.comments,
        'shares', t.shares, 'views', t.views)
    FROM counts t INDEXED BY counts_by_time CROSS JOIN judged v USING (platform, host, post_id)
    WHERE v.reason = '' AND {when}
    """,
    _OUT,
)

LICENCES = Source(
    "collected_at",
    "v.at",
    f"""
    SELECT v.at, v.out_platform, v.out_host, t.collected_at, json_object('post_id', v.out_post,
        'author_id', v.out_author, 'licence', t.record ->> '$.licence.code',
        'licence_version', t.record ->> '$.licence.version',
        'licence_url', t.record ->> '$.licence.url',
        'licence_before', t.record ->> '$.licence.before',
        'title', t.record ->> '$.licence.title', 'creator', t.record ->> '$.licence.creator',
        'creator_url', t.record ->> '$.licence.creator_url',
        'landing_page', t.record ->> '$.url', 'source', t.record ->> '$.licence.source',
        'rank', t.record ->> '$.licence.rank', 'created_at', t.created_at)
    {_OF_POST} WHERE v.reason = '' AND {{when}} AND json_extract(t.record, '$.licence') IS NOT NULL
    """,
    _OUT,
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


def rows_of(
    db: sqlite3.Connection, name: str, low: int = -(1 << 63), high: int = (1 << 63) - 1
) -> Iterator[Row]:
    """Rows of a time, both ends included, in its order; posts must be ``judged``."""
    return _rows(db, name, "{at} BETWEEN ? AND ?", (low, high))


def rows_at(db: sqlite3.Connection, name: str, moments: Sequence[int]) -> Iterator[Row]:
    """Rows of these moments, in their order; posts must be ``judged``."""
    when = "{at} IN (SELECT value FROM json_each(?))"
    return _rows(db, name, when, (json.dumps(list(moments)),))


def _rows(
    db: sqlite3.Connection, name: str, when: str, values: tuple[int | str, ...]
) -> Iterator[Row]:
    source = SOURCES[name]
    found = source.rows.format(when=when.format(at=source.at))
    return db.execute(f"{found} ORDER BY {source.at}, {source.order}", values)


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
