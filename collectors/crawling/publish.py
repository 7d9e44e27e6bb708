"""From the journal to the tables ``posts`` and ``authors``, in the order of their keys.

Rows are streamed, so memory does not depend on how many there are. The fingerprint holds a digest
of the rows: the same rows make the same table, others make another one.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import shutil
import sqlite3
import tempfile
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.json as pj
import pyarrow.parquet as pq

from collectors.crawling.federation import OUT, key_in_journal, unite
from collectors.crawling.manners import reason_to_drop
from collectors.imports.publishing import combined, imports_of, rows_of_imports
from likewise.funnel import Funnel
from likewise.study import Manifest, Study
from likewise.tables import AUTHORS, POSTS

if TYPE_CHECKING:
    from collectors.crawling.journal import Journal
    from collectors.platforms.base import Platform

__all__ = ["publish", "refresh_digests"]

_BATCH = 1024
"""Rows that are read at once: larger batches only cost memory."""
_BATCHES = 8
"""Batches of one row group."""
CODE = 1


@dataclass(frozen=True, slots=True)
class _Place:
    """What of a host belongs into the tables: dates, and the oldest post within ``max_posts``."""

    platform: str
    host: str
    since: int | None
    until: int | None
    most: int


def publish(
    study: Study, journal: Journal, platforms: Sequence[Platform], since: int | None
) -> Manifest:
    """Write ``posts`` and ``authors`` anew when their rows changed; returns posts' manifest."""
    places = [_place(platform, since) for platform in platforms]
    db = journal.db
    db.executescript(OUT)
    db.execute("BEGIN")
    funnel = _select(study, db, places, journal)
    db.execute("COMMIT")
    manifest = _write(
        study, "posts", POSTS.schema, lambda: _posts(db), funnel, _extra(journal, platforms)
    )
    authors_in = sum(_count_authors(db, place) for place in places)
    authors_out = db.execute(_AUTHORS_OUT).fetchone()[0]
    authors_funnel = Funnel(
        "collect", "author readings", authors_in, authors_out,
        {"no_post_kept": authors_in - authors_out},
    )  # fmt: skip
    _write(study, "authors", AUTHORS.schema, lambda: _authors(db), authors_funnel, {})
    return manifest


def _place(platform: Platform, since: int | None) -> _Place:
    source = platform.source
    until = None if source.until is None else micros(source.until)
    return _Place(platform.name, platform.host, since_of(platform, since), until, source.max_posts)


def micros(day: Any) -> int:
    """Microseconds since 1970 of the start of a day in UTC."""
    return int(dt.datetime(day.year, day.month, day.day, tzinfo=dt.UTC).timestamp()) * 1_000_000


def since_of(platform: Platform, since: int | None) -> int | None:
    """The oldest moment to collect: the earlier of ``likewise.toml`` and ``--since``."""
    given = platform.source.since
    if given is None:
        return None
    return micros(given) if since is None else min(micros(given), since)


# -- which posts ------------------------------------------------------------------------------


def _select(study: Study, db: sqlite3.Connection, places: list[_Place], journal: Journal) -> Funnel:
    """Fill the temporary table ``out`` with the keys that stay, and count the others."""
    dropped: Counter[str] = Counter()
    rows_in = 0
    for place in places:
        left = place.most
        lost = {
            name.removeprefix("dropped:"): n
            for name, n in journal.counters.of(place.platform, place.host).items()
            if name.startswith("dropped:")
        }
        dropped.update(lost)
        rows_in += sum(lost.values())
        cursor = db.execute(_NEWEST_FIRST, (place.platform, place.host))
        for post_id, author_id, created_at, sensitive, flags, author_flags in cursor:
            rows_in += 1
            reason = reason_to_drop(
                [*flags.split(), *(author_flags or "").split()],
                sensitive=bool(sensitive),
                section=study.config.collect,
            )
            reason = reason or _why_not(place, created_at, left)
            if reason is not None:
                dropped[reason] += 1
                continue
            left -= 1
            db.execute(
                "INSERT INTO out VALUES (?, ?, ?, ?, NULL, NULL, NULL)",
                (place.platform, place.host, post_id, author_id),
            )
    dropped["seen_elsewhere"] += unite(db)
    return Funnel("collect", "posts", rows_in, rows_in - sum(dropped.values()), dict(dropped))


_NEWEST_FIRST = """
SELECT post_id, author_id, created_at, sensitive, flags,
    (SELECT group_concat(a.flags, ' ') FROM authors a WHERE a.platform = p.platform
     AND a.host = p.host AND a.author_id = p.author_id)
FROM posts p WHERE platform = ? AND host = ? ORDER BY coalesce(created_at, 0) DESC, post_id
"""


def _why_not(place: _Place, created_at: int | None, left: int) -> str | None:
    if created_at is not None and place.since is not None and created_at < place.since:
        return "before_since"
    if created_at is not None and place.until is not None and created_at >= place.until:
        return "after_until"
    return "over_max_posts" if left <= 0 else None


# -- rows -------------------------------------------------------------------------------------


Row = tuple[str, str, int, str]
"""Platform, host, time of reading and the other columns as JSON."""


def _posts(db: sqlite3.Connection) -> Iterator[Row]:
    return db.execute(_POST_ROWS)


_POST_ROWS = """
SELECT o.platform, o.host, p.collected_at, CASE WHEN o.in_post IS NULL THEN p.record
    ELSE json_set(p.record, '$.post_id', o.post_id, '$.author_id', o.author_id) END
FROM out o CROSS JOIN posts p ON p.platform = coalesce(o.in_platform, o.platform)
    AND p.host = coalesce(o.in_host, o.host) AND p.post_id = coalesce(o.in_post, o.post_id)
ORDER BY o.platform, o.host, o.post_id
"""

_AUTHORS = """
FROM (SELECT DISTINCT platform, host, author_id FROM out) o
    CROSS JOIN authors a USING (platform, host, author_id)
WHERE a.record != ''
"""
_AUTHORS_OUT = "SELECT count(*)" + _AUTHORS
_AUTHOR_ROWS = (
    "SELECT platform, host, a.fetched_at, a.record"
    + _AUTHORS
    + "ORDER BY platform, host, author_id, a.fetched_at, a.source"
)


def _authors(db: sqlite3.Connection) -> Iterator[Row]:
    return db.execute(_AUTHOR_ROWS)


def _count_authors(db: sqlite3.Connection, place: _Place) -> int:
    row = db.execute(
        "SELECT count(*) FROM authors WHERE platform = ? AND host = ?",
        (place.platform, place.host),
    ).fetchone()
    return int(row[0])


def _digest(rows: Iterator[Row]) -> str:
    found = hashlib.sha256()
    for platform, host, read_at, record in rows:
        found.update(f"{platform}\n{host}\n{read_at}\n{record}\n".encode())
    return found.hexdigest()


def _write(
    study: Study,
    name: str,
    schema: pa.Schema,
    rows: Callable[[], Iterator[Row]],
    funnel: Funnel,
    extra: dict[str, Any],
) -> Manifest:
    """Publish rows that are not published yet: collected rows replace the table."""
    digest = _digest(rows())
    manifest = study.manifest(name)
    there = manifest is not None and not study.store.lost(name)
    if manifest is not None and there and manifest.extra.get("digest") == digest:
        return manifest
    imports = imports_of(study)
    with tempfile.TemporaryDirectory(dir=study.folder(".staging"), prefix="imported-") as scratch:
        imported = rows_of_imports(study, name, Path(scratch))
        stage = study.begin(
            name, params={"rows": digest, "imports": _digests(imports)}, code=CODE, redo=True
        )
        with stage.staging() as folder:
            with pq.ParquetWriter(
                folder / "part-0000.parquet", schema, compression="zstd", write_page_checksum=True
            ) as writer:
                time_column = "collected_at" if name == "posts" else "fetched_at"
                tables = _tables(rows(), schema, time_column)
                while group := list(islice(tables, _BATCHES)):
                    writer.write_table(pa.concat_tables(group))
            if imported is not None:
                shutil.copyfile(imported, folder / "part-0001.parquet")
    if imports and name == "posts":
        extra = {**extra, "imports": imports, "collected": funnel.to_dict()}
        funnel = combined(funnel.to_dict(), imports)
    return stage.publish(funnel=funnel, digest=digest, **extra)


def _digests(imports: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    return {host: str(about["digest"]) for host, about in imports.items()}


def refresh_digests(study: Study, journal: Journal) -> None:
    """Note the rows that are left after an erasure, so that they count as published.

    The journal must have been published before by ``publish`` with the same connection or not at
    all; nothing else is changed.
    """
    db = journal.db
    db.executescript(OUT)
    for name in ("posts", "authors"):
        manifest = study.manifest(name)
        if manifest is None:
            continue
        rows = study.read(name, columns=["platform", "host", *_OUT_KEYS[name]]).to_pylist()
        if name == "posts":
            for row in rows:
                there = key_in_journal(db, row["post_id"]) or (None, None, None)
                db.execute("INSERT INTO out VALUES (?, ?, ?, ?, ?, ?, ?)", (*row.values(), *there))
        digest = _digest(_posts(db) if name == "posts" else _authors(db))
        said = replace(manifest, extra={**manifest.extra, "digest": digest})
        schema = {"posts": POSTS, "authors": AUTHORS}[name].schema
        study.store.commit(said, [], schema, key=f"digest {uuid.uuid4().hex}", mode="append")


_OUT_KEYS = {"posts": ["post_id", "author_id"], "authors": ["author_id"]}


def _tables(rows: Iterator[Row], schema: pa.Schema, time_column: str) -> Iterator[pa.Table]:
    """Rows as tables; Arrow reads the records, for Python would be several times slower."""
    wanted = [f for f in schema if f.name not in {"platform", "host", time_column}]
    inside = pa.schema([f.with_type(_as_json(f.type)) for f in wanted])
    options = pj.ParseOptions(explicit_schema=inside, unexpected_field_behavior="ignore")
    while batch := list(islice(rows, _BATCH)):
        platform, host, read_at, records = zip(*batch, strict=True)
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


def _extra(journal: Journal, platforms: Sequence[Platform]) -> dict[str, Any]:
    return {
        "counters": {f"{p.name} {p.host}": journal.counters.of(p.name, p.host) for p in platforms}
    }
