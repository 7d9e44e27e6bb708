"""Take rows out of every table of a study, in place: each file is the old one or the new one.

The fingerprints stay, so what was computed from the other rows stays valid; the funnel of each
table names the rows that left as ``erased``. Thumbnails, galleries, kept raw pages and unfinished
downloads are deleted as a whole: they are made again on demand.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from likewise.study import Study, write_json

__all__ = ["Doomed", "erase"]

KEY = ("platform", "host", "post_id")
_KEPT_REPORTS = {"comparison.json", "figures"}


@dataclass(frozen=True, slots=True)
class Doomed:
    """Rows to erase on one host: everything of these authors, and these posts."""

    platform: str
    host: str
    author_ids: Collection[str] = ()
    post_ids: Collection[str] = ()


def erase(study: Study, doomed: Doomed) -> dict[str, int]:
    """Erase from all tables; returns the rows that left each of them.

    The journal is not touched. Tables must not be read by a running stage: hold the lock.
    """
    pictures = _pictures(study, doomed)
    erased: dict[str, int] = {}
    for folder in sorted((study.root / "tables").glob("*")):
        if folder.is_dir():
            erased[folder.name] = _erase_table(folder, doomed, pictures)
    if any(erased.values()):
        _delete_derived(study)
    return {name: count for name, count in erased.items() if count}


def _pictures(study: Study, doomed: Doomed) -> set[str]:
    """Pictures that nobody else's rows show."""
    theirs: set[str] = set()
    others: set[str] = set()
    columns = [*KEY, "author_id", "picture_id"]
    for part in sorted((study.root / "tables" / "pictures").rglob("*.parquet")):
        table = pq.read_table(part, columns=columns, partitioning=None)
        gone = _matches(table, doomed, set())
        theirs |= _ids(table.filter(gone))
        others |= _ids(table.filter(pc.invert(gone)))
    return theirs - others


def _ids(table: pa.Table) -> set[str]:
    return {one for one in table["picture_id"].to_pylist() if one is not None}


def _matches(table: pa.Table, doomed: Doomed, pictures: Collection[str]) -> pa.Array:
    """A boolean column: true for the rows that go."""
    names = set(table.column_names)
    gone = pa.chunked_array([pa.array([False] * table.num_rows, pa.bool_())])
    if {"platform", "host"} <= names:
        here = pc.and_(
            pc.equal(table["platform"], doomed.platform), pc.equal(table["host"], doomed.host)
        )
        for column, values in (("author_id", doomed.author_ids), ("post_id", doomed.post_ids)):
            if column in names and values:
                gone = pc.or_(gone, pc.and_(here, _among(table[column], values)))
    elif "author_id" in names and doomed.author_ids:
        gone = pc.or_(gone, _among(table["author_id"], doomed.author_ids))
    if "picture_id" in names and pictures:
        gone = pc.or_(gone, _among(table["picture_id"], pictures))
    return pc.fill_null(gone, False)


def _among(column: pa.ChunkedArray, values: Collection[str]) -> pa.ChunkedArray:
    return pc.is_in(column, value_set=pa.array(sorted(values), pa.string()))


def _erase_table(folder: Path, doomed: Doomed, pictures: set[str]) -> int:
    total = 0
    by_print: dict[str, int] = {}
    for part in sorted(folder.rglob("*.parquet")):
        count = _erase_part(part, doomed, pictures)
        fingerprint = part.relative_to(folder).parts[0]
        by_print[fingerprint] = by_print.get(fingerprint, 0) + count
        total += count
    manifest = folder / "_table.json"
    if total and manifest.is_file():
        content = json.loads(manifest.read_text(encoding="utf-8"))
        _amend(content, by_print.get(content["fingerprint"], 0))
        write_json(manifest, content)
    return total


def _amend(content: dict[str, object], count: int) -> None:
    """Bring a manifest's figures in line with the rows that are left."""
    content["rows"] = int(str(content["rows"])) - count
    funnel = content.get("funnel")
    if isinstance(funnel, dict) and funnel["rows_out"] >= count:
        funnel["rows_out"] -= count
        funnel["dropped"]["erased"] = funnel["dropped"].get("erased", 0) + count


def _erase_part(part: Path, doomed: Doomed, pictures: set[str]) -> int:
    """Rewrite a file without the rows that go; a file without any of them is not touched."""
    with pq.ParquetFile(part) as file:
        names = [n for n in (*KEY, "author_id", "picture_id") if n in file.schema_arrow.names]
        if not names or not _any(file, names, doomed, pictures):
            return 0
        staged = part.with_name(f".{part.name}.erasing")
        count = 0
        with pq.ParquetWriter(staged, file.schema_arrow, compression="zstd") as writer:
            for table in _groups(file):
                keep = table.filter(pc.invert(_matches(table, doomed, pictures)))
                count += table.num_rows - keep.num_rows
                writer.write_table(keep)
    os.replace(staged, part)
    part.with_name(f".{part.name}.crc").unlink(missing_ok=True)
    return count


def _any(file: pq.ParquetFile, names: list[str], doomed: Doomed, pictures: set[str]) -> bool:
    table = file.read(columns=names)
    return bool(pc.any(_matches(table, doomed, pictures)).as_py())


def _groups(file: pq.ParquetFile) -> Iterator[pa.Table]:
    for batch in file.iter_batches(batch_size=256):
        yield pa.Table.from_batches([batch])


def _delete_derived(study: Study) -> None:
    """Everything that may show a person and is made again by ``rank`` and ``report``."""
    reports = study.root / "reports"
    for path in sorted(reports.iterdir()) if reports.is_dir() else ():
        if path.name not in _KEPT_REPORTS:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    for name in ("raw", "spool"):
        shutil.rmtree(study.root / name, ignore_errors=True)
