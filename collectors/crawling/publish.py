"""From the journal to ``posts``, ``authors``, ``post_counts`` and ``licences``, in order of time.

Rows are streamed, so memory does not depend on how many there are. The manifest holds a digest of
the rows: the same rows make no version, others write the parts that hold them (``shards``).
"""

from __future__ import annotations

import datetime as dt
import sqlite3
import tempfile
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from collectors.crawling.federation import OUT, key_in_journal, unite
from collectors.crawling.manners import reason_to_drop
from collectors.crawling.rows import COUNT, SOURCES, keys_of, rows_of, tables_of
from collectors.crawling.shards import cut, total
from collectors.imports.publishing import combined, imports_of, rows_of_imports
from likewise.funnel import Funnel
from likewise.study import Manifest, Study, fingerprint
from likewise.tables import TABLES

if TYPE_CHECKING:
    from collectors.crawling.journal import Journal
    from collectors.platforms.base import Platform

__all__ = ["publish", "refresh_digests"]

_BATCHES = 8
"""Batches of one row group."""
CODE = 2


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
    """Publish the tables whose rows changed; returns the manifest of ``posts``."""
    places = [_place(platform, since) for platform in platforms]
    db = journal.db
    db.executescript(OUT)
    db.execute("BEGIN")
    funnel = _select(study, db, places, journal)
    db.execute("COMMIT")
    keys_of(db, "posts")
    manifest = _write(study, "posts", db, funnel, _extra(journal, platforms))
    for name, unit in (("authors", "author readings"), ("post_counts", "post readings")):
        read = sum(_count(db, name, place) for place in places)
        out = keys_of(db, name)
        readings = Funnel("collect", unit, read, out, {"no_post_kept": read - out})
        _write(study, name, db, readings, {})
    licensed = keys_of(db, "licences")
    if licensed or study.manifest("licences") is not None:
        untold = {"no_licence_told": funnel.rows_out - licensed}
        told = Funnel("collect", "licences", funnel.rows_out, licensed, untold)
        _write(study, "licences", db, told, {})
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


def _count(db: sqlite3.Connection, name: str, place: _Place) -> int:
    row = db.execute(COUNT[name], (place.platform, place.host)).fetchone()
    return int(row[0])


def _write(
    study: Study, name: str, db: sqlite3.Connection, funnel: Funnel, extra: dict[str, Any]
) -> Manifest:
    """Publish the rows of ``keys`` that are not published yet, in parts of their own."""
    manifest = study.manifest(name)
    lost = set(study.store.lost(name)) if manifest is not None else set()
    there = [part for part in study.store.sizes(name) if part not in lost]
    shards = cut(rows_of(db, name), there, CODE)
    digest = total(shards)
    schema = TABLES[name].schema
    imports = imports_of(study)
    if imports and name == "posts":
        extra = {**extra, "imports": imports, "collected": funnel.to_dict()}
        funnel = combined(funnel.to_dict(), imports)
    if manifest is not None and not lost and manifest.extra.get("digest") == digest:
        if manifest.funnel == funnel.to_dict():
            return manifest
        # The same rows, of which more have been left out: nothing below has to be made anew.
        said = replace(manifest, funnel=funnel.to_dict(), extra={**manifest.extra, **extra})
        study.store.commit(said, [], schema, key=f"funnel {uuid.uuid4().hex}", mode="append")
        return said
    kept = [part for one in shards for part in one.parts]
    with tempfile.TemporaryDirectory(dir=study.folder(".staging"), prefix="publish-") as scratch:
        parts = []
        for one in shards:
            if not one.parts:
                parts.append(Path(scratch, f"{one.stem}.parquet"))
                tables = tables_of(rows_of(db, name, one.low, one.high), schema, name)
                _written(parts[-1], schema, tables)
        stem = f"imports-{fingerprint(_digests(imports))}"
        mine = [part for part in there if part.startswith(stem)]
        kept += mine
        # Imports tell no licences.
        known = mine or name == "licences"
        imported = None if known else rows_of_imports(study, name, Path(scratch))
        if imported is not None:
            parts.append(imported.rename(Path(scratch, f"{stem}.parquet")))
        if not parts and not kept:  # a table without rows has a schema, too
            parts.append(Path(scratch, "none.parquet"))
            _written(parts[-1], schema, iter(()))
        params = {"rows": digest, "imports": _digests(imports)}
        stage = study.begin(name, params=params, code=CODE, redo=True)
        named = fingerprint([name, digest, _digests(imports)])
        return stage.exchange(parts, kept, fingerprint=named, funnel=funnel, digest=digest, **extra)


def _written(path: Path, schema: pa.Schema, tables: Iterator[pa.Table]) -> None:
    with pq.ParquetWriter(path, schema, compression="zstd", write_page_checksum=True) as writer:
        while group := list(islice(tables, _BATCHES)):
            writer.write_table(pa.concat_tables(group))


def _digests(imports: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    return {host: str(about["digest"]) for host, about in imports.items()}


def refresh_digests(study: Study, journal: Journal) -> None:
    """Note the rows that are left after an erasure, so that they count as published.

    The journal must have been published before by ``publish`` with the same connection or not at
    all; nothing else is changed.
    """
    db = journal.db
    db.executescript(OUT)
    if study.manifest("posts") is None:
        return
    keys = study.read("posts", ["platform", "host", "post_id", "author_id"]).to_pylist()
    for row in keys:
        there = key_in_journal(db, row["post_id"]) or (None, None, None)
        db.execute("INSERT INTO out VALUES (?, ?, ?, ?, ?, ?, ?)", (*row.values(), *there))
    for name in SOURCES:
        manifest = study.manifest(name)
        if manifest is None:
            continue
        keys_of(db, name)
        digest = total(cut(rows_of(db, name), (), CODE))
        said = replace(manifest, extra={**manifest.extra, "digest": digest})
        schema = TABLES[name].schema
        study.store.commit(said, [], schema, key=f"digest {uuid.uuid4().hex}", mode="append")


def _extra(journal: Journal, platforms: Sequence[Platform]) -> dict[str, Any]:
    return {
        "counters": {f"{p.name} {p.host}": journal.counters.of(p.name, p.host) for p in platforms}
    }
