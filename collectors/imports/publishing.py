"""From a source's rows to the tables of posts and authors, beside what was collected.

An import owns the rows of its host: imported again, they are replaced. Readings of authors and of
counts stay, each with its time. Collected rows and other imports are carried over as they are.
"""

from __future__ import annotations

import hashlib
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from collectors.imports.places import SUFFIX
from likewise.funnel import Funnel
from likewise.study import Manifest, Study, fingerprint
from likewise.tables import POST_COUNTS, TABLES

__all__ = ["CODE", "combined", "imports_of", "listed", "publish", "rows_of_imports", "written"]

CODE = 1
ROWS = 8192
COUNTS = ("likes", "comments", "shares", "views")
REPEATED = ("platform", "host", "source")
UNITS = {"authors": "author readings", "post_counts": "post readings"}


def imports_of(study: Study) -> dict[str, Mapping[str, Any]]:
    """Host -> what is known of the import, from the table ``posts``."""
    manifest = study.manifest("posts")
    return dict(manifest.extra.get("imports", {})) if manifest is not None else {}


def rows_of_imports(study: Study, table: str, folder: Path) -> Path | None:
    """The imported rows of a published table, copied to a file; None when there are none."""
    if not imports_of(study) or study.manifest(table) is None:
        return None
    return _kept(study, table, pc.ends_with(pc.field("host"), SUFFIX), folder)


def _kept(study: Study, table: str, condition: pc.Expression, folder: Path) -> Path | None:
    schema = TABLES[table].schema
    scanner = study.dataset(table).scanner(filter=condition, batch_size=ROWS, use_threads=False)
    tables = (pa.Table.from_batches([batch]) for batch in scanner.to_batches() if batch.num_rows)
    path = folder / f"kept-{table}.parquet"
    return path if written(path, schema, tables) else None


def written(path: Path, schema: pa.Schema, tables: Iterable[pa.Table]) -> int:
    """Write tables into one Parquet part; returns the rows."""
    rows = 0
    # Ids, addresses and texts hardly repeat: dictionaries of them cost time, and even room.
    repeated = [name for name in REPEATED if name in schema.names]
    with pq.ParquetWriter(
        path, schema, compression="zstd", write_page_checksum=True, use_dictionary=repeated
    ) as writer:
        for table in tables:
            writer.write_table(table.cast(schema))
            rows += table.num_rows
    return rows


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
        parts: ``posts`` and ``authors`` as Parquet files of their tables' schemas.
        scratch: An empty folder.
    """
    old = study.manifest("posts")
    extra = dict(old.extra) if old is not None else {}
    if "imports" not in extra:
        extra["collected"] = old.funnel if old is not None else None
    digest = _digest(parts.values())
    imports = {**extra.get("imports", {}), host: {**about, "digest": digest}}
    if old is not None and extra.get("imports", {}).get(host, {}).get("digest") == digest:
        return old
    extra["imports"] = imports
    parts = {**parts, "post_counts": _readings(parts["posts"], scratch)}
    keep = {
        "posts": pc.field("host") != host,
        "authors": _other_readings(parts["authors"], host, "fetched_at"),
        "post_counts": _other_readings(parts["post_counts"], host, "read_at"),
    }
    manifests = {}
    for table in ("authors", "post_counts", "posts"):
        there = study.manifest(table) is not None
        kept = _kept(study, table, keep[table], scratch) if there else None
        files = [path for path in (kept, parts[table]) if path is not None]
        rows = fingerprint({"parts": [_digest([path]) for path in files]})
        stage = study.begin(table, params={"rows": rows}, code=CODE, redo=True)
        with stage.staging() as folder:
            for number, path in enumerate(files):
                shutil.copyfile(path, folder / f"part-{number:04d}.parquet")
        if table == "posts":
            funnel = combined(extra.get("collected"), imports)
            manifests[table] = stage.publish(funnel=funnel, **extra)
        else:
            count = sum(pq.read_metadata(path).num_rows for path in files)
            funnel = Funnel("collect", UNITS[table], count, count)
            before = study.manifest(table)
            said = dict(before.extra) if before is not None else {}
            manifests[table] = stage.publish(funnel=funnel, **said)
    return manifests["posts"]


def _readings(posts: Path, scratch: Path) -> Path:
    """The counts of imported posts as readings of their time."""
    path = scratch / "readings.parquet"
    with pq.ParquetFile(posts) as file:
        columns = [*POST_COUNTS.schema.names[:4], "collected_at", *COUNTS]
        tables = (
            pa.Table.from_batches([batch]).rename_columns({"collected_at": "read_at"})
            for batch in file.iter_batches(ROWS, columns=columns)
        )
        source = pa.scalar("imported")
        written(
            path,
            POST_COUNTS.schema,
            (
                one.append_column("source", pa.repeat(source, len(one))).select(
                    POST_COUNTS.schema.names
                )
                for one in tables
            ),
        )
    return path


def _other_readings(part: Path, host: str, column: str) -> pc.Expression:
    """Readings that this import does not make anew: other hosts', and those of other moments."""
    moments = pc.unique(pq.read_table(part, columns=[column])[column])
    return (pc.field("host") != host) | ~pc.field(column).isin(moments)


def _digest(paths: Iterable[Path]) -> str:
    found = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            found.update(hashlib.file_digest(file, "sha256").digest())
    return found.hexdigest()[:16]


def listed(pairs: Sequence[tuple[str, str]], path: Path) -> None:
    """Write what was not understood, one tab-separated line an item."""
    path.write_text("".join(f"{a}\t{b}\n" for a, b in pairs), encoding="utf-8")
