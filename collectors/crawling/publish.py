"""From the journal to ``posts``, ``authors``, ``post_counts`` and ``licences``, in order of time.

Rows are streamed, so memory does not depend on how many there are. The manifest holds a digest of
the rows: the same rows make no version, others write the parts that hold them (``shards``). What
has not changed since the last publication is not looked at (``judging``).
"""

from __future__ import annotations

import datetime as dt
import json
import sqlite3
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from collectors.crawling.federation import key_in_journal
from collectors.crawling.judging import Changed, Place, dropped, judge, kept
from collectors.crawling.rows import COUNT, SOURCES, rows_at, rows_of, tables_of
from collectors.crawling.shards import DAY, Shard, cut, grown, total
from collectors.imports.places import SUFFIX
from collectors.imports.publishing import combined, digests, imports_of, without
from likewise.funnel import Funnel
from likewise.study import Manifest, Study, fingerprint
from likewise.tables import TABLES

if TYPE_CHECKING:
    from collectors.crawling.journal import Journal
    from collectors.platforms.base import Platform

__all__ = ["publish", "refresh_digests"]

_BATCHES = 8
"""Batches of one row group."""
_REPEATED = ("platform", "host", "source", "language", "visibility", "licence")
"""Columns whose values hardly differ; dictionaries of all others only take room."""
CODE = 2


def publish(
    study: Study, journal: Journal, platforms: Sequence[Platform], since: int | None
) -> Manifest:
    """Publish the tables whose rows changed; returns the manifest of ``posts``.

    Where nobody else has written into the tables since, only what the journal has noted as new is
    looked at. Verdicts and news change with the tables: a killed publication is done again.
    """
    places = [_place(platform, since) for platform in platforms]
    section = study.config.collect
    rules = fingerprint([CODE, places, section.include_bots, section.include_sensitive])
    db = journal.db
    with journal.transaction():
        before = json.loads(journal.meta("published", "{}"))
        known = bool(before) and before["parts"] == _parts(study)
        news = judge(db, places, section, anew=not known or before["rules"] != rules)
        changed = news if known else None
        manifest = _write_all(study, journal, platforms, places, changed)
        parts = _parts(study)
        told = {"parts": parts, "rules": rules} if parts else {}
        journal.set_meta("published", json.dumps(told))
    return manifest


def _parts(study: Study) -> str:
    """What the tables are made of: erasures, imports and repairs make it another one.

    Empty where a part does not hold the rows that it is named after: an erasure went through it.
    """
    names = {name: sorted(study.store.sizes(name)) for name in SOURCES}
    for name, parts in names.items():
        manifest = study.manifest(name)
        found = total(filter(None, map(Shard.of, parts)))
        if manifest is not None and manifest.extra.get("digest") != found:
            return ""
    return fingerprint(names)


def _write_all(
    study: Study,
    journal: Journal,
    platforms: Sequence[Platform],
    places: Sequence[Place],
    changed: Changed | None,
) -> Manifest:
    db = journal.db
    lost: Counter[str] = Counter()
    for place in places:
        counters = journal.counters.of(place.platform, place.host)
        lost.update(
            {n.removeprefix("dropped:"): k for n, k in counters.items() if n.startswith("dropped:")}
        )
    reasons, out = lost + dropped(db), kept(db)
    funnel = Funnel("collect", "posts", out + reasons.total(), out, dict(reasons))
    rows = {name: _shards(study, db, name, changed) for name in SOURCES}
    manifest = _write(study, "posts", db, rows["posts"], funnel, _extra(journal, platforms))
    for name, unit in (("authors", "author readings"), ("post_counts", "post readings")):
        read = sum(_count(db, name, place) for place in places)
        told = sum(one.rows for one in rows[name])
        readings = Funnel("collect", unit, read, told, {"no_post_kept": read - told})
        _write(study, name, db, rows[name], readings, {})
    licensed = sum(one.rows for one in rows["licences"])
    if licensed or study.manifest("licences") is not None:
        untold = {"no_licence_told": funnel.rows_out - licensed}
        licences = Funnel("collect", "licences", funnel.rows_out, licensed, untold)
        _write(study, "licences", db, rows["licences"], licences, {})
    return manifest


def _shards(
    study: Study, db: sqlite3.Connection, name: str, changed: Changed | None
) -> list[Shard]:
    """How the table is cut now; a part that is lost is made again."""
    gone = set(study.store.lost(name))
    there = {part: one.rows for part, one in study.store.facts(name).items() if part not in gone}
    young = None  # readings never change
    if name in ("posts", "licences"):
        young = time.time_ns() // 1000 - int(study.config.clean.min_age_days * DAY)
    if changed is None or gone:
        return cut(rows_of(db, name), list(there), CODE, young)
    within, at = partial(rows_of, db, name), partial(rows_at, db, name)
    return grown(there, changed.of(name), within, at, CODE, young)


def _place(platform: Platform, since: int | None) -> Place:
    source = platform.source
    until = None if source.until is None else micros(source.until)
    return Place(platform.name, platform.host, since_of(platform, since), until, source.max_posts)


def micros(day: Any) -> int:
    """Microseconds since 1970 of the start of a day in UTC."""
    return int(dt.datetime(day.year, day.month, day.day, tzinfo=dt.UTC).timestamp()) * 1_000_000


def since_of(platform: Platform, since: int | None) -> int | None:
    """The oldest moment to collect: the earlier of ``likewise.toml`` and ``--since``."""
    given = platform.source.since
    if given is None:
        return None
    return micros(given) if since is None else min(micros(given), since)


# -- rows -------------------------------------------------------------------------------------


def _count(db: sqlite3.Connection, name: str, place: Place) -> int:
    row = db.execute(COUNT[name], (place.platform, place.host)).fetchone()
    return int(row[0])


def _write(
    study: Study,
    name: str,
    db: sqlite3.Connection,
    shards: Sequence[Shard],
    funnel: Funnel,
    extra: dict[str, Any],
) -> Manifest:
    """Publish the shards that are not published yet, in parts of their own."""
    manifest = study.manifest(name)
    lost = set(study.store.lost(name)) if manifest is not None else set()
    there = [part for part in study.store.sizes(name) if part not in lost]
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
        if imports and name != "licences":  # imports tell none
            # The parts of imports stay; one that holds collected rows, too, is of an older version.
            others = [part for part in there if Shard.of(part) is None]
            rest = Path(scratch, f"imports-{fingerprint(digests(imports))}.parquet")
            collected = ~pc.ends_with(pc.field("host"), SUFFIX)
            kept += without(study, name, others, collected, rest)
            parts += [rest] if rest.is_file() else []
            kept += [part for part in lost if Shard.of(part) is None]
        if not parts and not kept:  # a table without rows has a schema, too
            parts.append(Path(scratch, "none.parquet"))
            _written(parts[-1], schema, iter(()))
        params = {"rows": digest, "imports": digests(imports)}
        stage = study.begin(name, params=params, code=CODE, redo=True)
        named = fingerprint([name, digest, digests(imports)])
        return stage.exchange(parts, kept, fingerprint=named, funnel=funnel, digest=digest, **extra)


def _written(path: Path, schema: pa.Schema, tables: Iterator[pa.Table]) -> None:
    # Parts are many and small: what the columns mean is said once, in the table's log.
    plain = pa.schema([_plain(field) for field in schema])
    with pq.ParquetWriter(
        path,
        plain,
        compression="zstd",
        write_page_checksum=True,
        use_dictionary=[name for name in _REPEATED if name in schema.names],
    ) as writer:
        while group := list(islice(tables, _BATCHES)):
            writer.write_table(pa.concat_tables(group).cast(plain))


def _plain(field: pa.Field) -> pa.Field:
    """The field without its documentation, in nested ones, too."""
    kind = field.type
    if pa.types.is_list(kind):
        kind = pa.list_(_plain(kind.value_field))
    elif pa.types.is_struct(kind):
        kind = pa.struct([_plain(inner) for inner in kind])
    return pa.field(field.name, kind, field.nullable)


def refresh_digests(study: Study, journal: Journal) -> None:
    """Note the rows that are left after an erasure, so that they count as published.

    The journal was ``settled`` before. Nothing but what the tables say of their rows is changed;
    the next publication looks at everything.
    """
    if study.manifest("posts") is None:
        return
    db = journal.db
    keys = study.read("posts", ["platform", "host", "post_id", "author_id"]).to_pylist()
    with journal.transaction():
        db.execute("DELETE FROM judged")
        for row in keys:
            own = key_in_journal(db, row["post_id"]) or tuple(row.values())[:3]
            db.execute(_AS_PUBLISHED, (*row.values(), *own))
        for name in SOURCES:
            manifest = study.manifest(name)
            if manifest is None:
                continue
            digest = total(cut(rows_of(db, name), (), CODE))
            said = replace(manifest, extra={**manifest.extra, "digest": digest})
            schema = TABLES[name].schema
            study.store.commit(said, [], schema, key=f"digest {uuid.uuid4().hex}", mode="append")
        journal.set_meta("published", "{}")


_AS_PUBLISHED = """
INSERT INTO judged SELECT platform, host, post_id, '', coalesce(created_at, 0), ?, ?, ?, ?
FROM posts WHERE platform = ? AND host = ? AND post_id = ? AND record != ''
"""


def _extra(journal: Journal, platforms: Sequence[Platform]) -> dict[str, Any]:
    return {
        "counters": {f"{p.name} {p.host}": journal.counters.of(p.name, p.host) for p in platforms}
    }
