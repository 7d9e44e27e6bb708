"""From a source's rows to the tables of posts and authors, beside what was collected.

An import owns the rows of its host: imported again, they are replaced. Readings of authors and of
counts stay, each with its time. Parts in which no row goes stay as they are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from collectors.imports.places import SUFFIX
from likewise.funnel import Funnel
from likewise.study import IMPORTED, Manifest, Study, fingerprint
from likewise.tables import POST_COUNTS, TABLES
from likewise.whole import sha256_of

__all__ = [
    "combined", "digests", "imports_of", "listed", "part_stem", "publish", "with_readings",
    "without", "written",
]  # fmt: skip

CODE = 1
ROWS = 8192
MOST_PARTS = 8
"""Parts of one import that are joined when there are more: each of its readings brings one."""
REPEATED = ("platform", "host", "source")
UNITS = {"authors": "author readings", "post_counts": "post readings"}


def imports_of(study: Study) -> dict[str, Mapping[str, Any]]:
    """Host -> what is known of the import, from the table ``posts``."""
    manifest = study.manifest("posts")
    return dict(manifest.extra.get("imports", {})) if manifest is not None else {}


def without(
    study: Study,
    table: str,
    names: Collection[str],
    doomed: pc.Expression,
    path: Path,
    again: Collection[str] = (),
) -> list[str]:
    """What is left of some parts of a table without the rows of a condition.

    The rows that stay, of parts from which others go, are written to ``path``; nothing is, where
    there are none.

    Args:
        study: Its lock is held.
        table: Name of the table.
        names: Names of the parts.
        doomed: Condition of the rows that go.
        path: The file for what has to be written anew.
        again: Parts among them that are written anew although they may lose nothing.

    Returns:
        Names of the parts that stay as they are.
    """
    kept, touched = [], []
    for part in study.parts(table) if names else ():
        name = part.rsplit("/", 1)[-1]
        if name not in names:
            continue
        if name in again or study.dataset(table, [part]).count_rows(filter=doomed):
            touched.append(part)
        else:
            kept.append(name)
    if not touched:
        return kept
    rest = study.dataset(table, touched)
    scanner = rest.scanner(filter=~doomed, batch_size=ROWS, use_threads=False)
    tables = (pa.Table.from_batches([batch]) for batch in scanner.to_batches() if batch.num_rows)
    if not written(path, TABLES[table].schema, tables):
        path.unlink()
    return kept


def written(path: Path, schema: pa.Schema, tables: Iterable[pa.Table]) -> int:
    """Write tables into one Parquet part; returns the rows."""
    rows = 0
    with _writer(path, schema) as writer:
        for table in tables:
            writer.write_table(table.cast(schema))
            rows += table.num_rows
    return rows


def _writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    # Ids, addresses and texts hardly repeat: dictionaries of them cost time, and even room.
    repeated = [name for name in REPEATED if name in schema.names]
    return pq.ParquetWriter(
        path, schema, compression="zstd", write_page_checksum=True, use_dictionary=repeated
    )


def with_readings(posts: Iterable[pa.Table], path: Path) -> Iterator[pa.Table]:
    """The rows of ``posts``, whose counts go to ``path`` on the way, as readings of their time."""
    with _writer(path, POST_COUNTS.schema) as writer:
        for table in posts:
            one = table.rename_columns(
                ["read_at" if name == "collected_at" else name for name in table.column_names]
            )
            one = one.append_column("source", pa.repeat(pa.scalar("imported"), len(one)))
            writer.write_table(one.select(POST_COUNTS.schema.names).cast(POST_COUNTS.schema))
            yield table


def combined(collected: Mapping[str, Any] | None, imports: Mapping[str, Any]) -> Funnel:
    """One funnel of what was collected and imported."""
    found = [Funnel.from_dict(collected)] if collected else []
    found += [Funnel.from_dict(about["funnel"]) for about in imports.values()]
    dropped: Counter[str] = Counter()
    for funnel in found:
        dropped.update(funnel.dropped)
    rows_in, rows_out = sum(f.rows_in for f in found), sum(f.rows_out for f in found)
    return Funnel("collect", "posts", rows_in, rows_out, dict(dropped))


def publish(
    study: Study,
    host: str,
    about: Mapping[str, Any],
    parts: Mapping[str, Path],
    scratch: Path,
) -> Manifest:
    """Put one import's rows into the tables; returns the manifest of ``posts``.

    Args:
        study: Its lock is held.
        host: The host of the import's rows.
        about: What the table says of the import: kind, source, root, funnel, notes.
        parts: ``authors``, ``post_counts`` and ``posts`` as Parquet files of their tables' schemas.
        scratch: An empty folder.
    """
    old = study.manifest("posts")
    extra = dict(old.extra) if old is not None else {}
    if "imports" not in extra:
        extra["collected"] = old.funnel if old is not None else None
    sums = {name: sha256_of(path) for name, path in parts.items()}
    digest = fingerprint([sums["posts"], sums["authors"]])
    before = extra.get("imports", {})
    extra["imports"] = imports = {**before, host: {**about, "digest": digest}}
    stem = part_stem(host)
    lost = any(study.store.lost(table, stem) for table in ("posts", *UNITS))
    if old is not None and before.get(host, {}).get("digest") == digest and not lost:
        return old
    manifests = {}
    for table in ("authors", "post_counts", "posts"):
        manifest = study.manifest(table)
        there = study.store.facts(table) if manifest is not None else {}
        gone = study.store.lost(table) if manifest is not None else []
        own = [name for name in there if name.startswith(stem)]
        rest = scratch / f"{stem}-rest.parquet"
        kept = without(
            study,
            table,
            [name for name in there if name not in gone],
            _replaced(table, parts[table], host) if there else pc.scalar(False),
            rest,
            again=own if len(own) > MOST_PARTS else (),
        )
        # What is lost and not of this import stays named: its loss is told, and its own import
        # or a collection brings it back.
        kept += [name for name in gone if name not in own]
        new = parts[table].rename(scratch / f"{stem}-{table}.parquet")
        files = [path for path in (rest, new) if path.is_file()]
        stage = study.begin(table, params={"imports": digests(imports)}, code=CODE, redo=True)
        if table == "posts":
            # As a collection names these rows: one without news makes nothing below anew.
            named = fingerprint([table, extra.get("digest"), digests(imports)])
            funnel, said = combined(extra.get("collected"), imports), extra
        else:
            named = fingerprint([manifest and manifest.fingerprint, sums[table]])
            count = sum(there[name].rows for name in kept)
            count += sum(pq.read_metadata(path).num_rows for path in files)
            funnel = Funnel("collect", UNITS[table], count, count)
            said = dict(manifest.extra) if manifest is not None else {}
        manifests[table] = stage.exchange(files, kept, fingerprint=named, funnel=funnel, **said)
        rest.unlink(missing_ok=True)
    return manifests["posts"]


def part_stem(host: str) -> str:
    """Begin of the names of the parts that hold an import's rows."""
    return f"{IMPORTED}{host.removesuffix(SUFFIX)[:80]}-{fingerprint(host)[:8]}"


def digests(imports: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Host -> digest of its rows."""
    return {host: str(about["digest"]) for host, about in imports.items()}


def _replaced(table: str, part: Path, host: str) -> pc.Expression:
    """Which rows of a table an import makes anew: its posts, and its readings of these moments."""
    mine = pc.field("host") == host
    if table == "posts":
        return mine
    column = "fetched_at" if table == "authors" else "read_at"
    moments = pa.array([], pa.timestamp("us", "UTC"))
    with pq.ParquetFile(part) as file:
        for batch in file.iter_batches(ROWS, columns=[column]):
            moments = pc.unique(pa.concat_arrays([moments, batch[column].cast(moments.type)]))
    return mine & pc.field(column).isin(moments)


def listed(pairs: Sequence[tuple[str, str]], path: Path) -> None:
    """Write what was not understood, one tab-separated line an item."""
    path.write_text("".join(f"{a}\t{b}\n" for a, b in pairs), encoding="utf-8")
