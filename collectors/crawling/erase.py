"""Take rows out of every table of a study, and out of its earlier versions.

Parts that hold a row are written anew without it; one commit a table exchanges them, and then
every file that the new version does not name is deleted. So nights before an erasure cannot be
read any more: they would show the rows. The fingerprints stay, so what was computed from the other
rows stays valid; the funnel of each table names the rows that left as ``erased``. Thumbnails,
galleries, kept raw pages and unfinished downloads are deleted: they are made again on demand.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from collectors.attribution import write_attribution
from collectors.crawling.federation import elsewhere_id
from collectors.crawling.reviews import erase_reviews
from collectors.crawling.traces import delete_derived
from likewise.nights import forget_nights
from likewise.store import Manifest, open_input, open_part, parquet_file, unique
from likewise.study import Study
from likewise.tables import POST_KEY

__all__ = ["Doomed", "erase", "pictures_of"]


@dataclass(frozen=True, slots=True)
class Doomed:
    """Rows to erase on one host: everything of these authors, and these posts."""

    platform: str
    host: str
    author_ids: Collection[str] = ()
    post_ids: Collection[str] = ()


def erase(study: Study, doomed: Doomed) -> dict[str, int]:
    """Erase from all tables and reviews; returns the rows that left each of them.

    The journal is not touched. Tables must not be read by a running stage: hold the lock.

    Raises:
        StorageError: a database of reviews cannot be reached: nothing was erased.
    """
    pictures = pictures_of(study, doomed)
    # Reviews come first: once the tables have let a picture go, nobody would find its lines.
    erased = {"lines of reviews": erase_reviews(study, pictures)}
    # Fetches come last: until then a run that was killed finds the person's pictures again.
    for name in sorted(study.store.names(), key=lambda name: name == "fetches"):
        erased[name] = _erase_table(study, name, doomed, pictures)
    if any(erased.values()):
        forget_nights(study)
        delete_derived(study)
        write_attribution(study)
    return {name: count for name, count in erased.items() if count}


def pictures_of(study: Study, *doomed: Doomed) -> set[str]:
    """Pictures that they have posted and that no other post shows now.

    Raises:
        StudyError: there are pictures, but no ``fetches`` that tell whose they are: the study is of
            an older layout, or its first download was killed between the two.
    """
    if study.manifest("pictures") is None:
        return set()
    study.require("fetches")
    theirs: set[str] = set()
    others: set[str] = set()
    columns = [*POST_KEY, "author_id", "picture_id", "status"]
    now = set(study.store.parts("fetches"))
    for part in study.store.every_part("fetches"):
        with parquet_file(part) as file:
            table = file.read(columns=columns)
        gone = _matches(table, doomed[0], set())
        for more in doomed[1:]:
            gone = pc.or_(gone, _matches(table, more, set()))
        theirs |= _ids(table.filter(gone))
        if part in now:
            shows = pc.equal(table["status"], "ok")
            others |= _ids(table.filter(pc.and_(pc.invert(gone), shows)))
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
        if "post_id" in names and doomed.post_ids:
            # So they stand in the tables when their author was first seen through another server.
            elsewhere = [elsewhere_id(one, doomed.host) for one in doomed.post_ids]
            gone = pc.or_(gone, _among(table["post_id"], elsewhere))
    elif "author_id" in names and doomed.author_ids:
        gone = pc.or_(gone, _among(table["author_id"], doomed.author_ids))
    if "picture_id" in names and pictures:
        gone = pc.or_(gone, _among(table["picture_id"], pictures))
    return pc.fill_null(gone, False)


def _among(column: pa.ChunkedArray, values: Collection[str]) -> pa.ChunkedArray:
    return pc.is_in(column, value_set=pa.array(sorted(values), pa.string()))


def _erase_table(study: Study, name: str, doomed: Doomed, pictures: set[str]) -> int:
    """Take the rows out of the newest version, and older versions that hold them off the store."""
    store = study.store
    manifest, current = store.manifest(name), store.parts(name)  # of every maker
    assert manifest is not None
    held = [part for part in store.every_part(name) if _holds(part, doomed, pictures)]
    if not held:
        return 0
    adds, removes, count, schema = [], {}, 0, None
    for part in (part for part in current if part in held):
        relative = part.removeprefix(store.place(name)).lstrip("/")
        staged = study.folder(".staging") / f"erasing-{uuid.uuid4().hex[:12]}.parquet"
        gone, left, schema, size = _without(part, staged, doomed, pictures)
        if left:
            stem, _, _ = relative.removesuffix(".parquet").rpartition("-")
            adds.append(store.put(staged, name, unique(stem), left))
        staged.unlink()
        removes[relative] = size
        count += gone
    if schema is not None:
        manifest = _amended(manifest, count)
        key = f"erase {uuid.uuid4().hex}"
        store.commit(manifest, adds, schema, key=key, mode="append", removes=removes)
    store.vacuum(name, keep=())
    return count


def _amended(manifest: Manifest, count: int) -> Manifest:
    """The manifest with its figures in line with the rows that are left."""
    funnel = manifest.funnel
    if funnel is not None and funnel["rows_out"] >= count:
        dropped = {**funnel["dropped"], "erased": funnel["dropped"].get("erased", 0) + count}
        funnel = {**funnel, "rows_out": funnel["rows_out"] - count, "dropped": dropped}
    return replace(manifest, rows=manifest.rows - count, funnel=funnel)


def _holds(part: str, doomed: Doomed, pictures: set[str]) -> bool:
    with pq.ParquetFile(open_part(part)) as file:
        names = [n for n in (*POST_KEY, "author_id", "picture_id") if n in file.schema_arrow.names]
        return bool(names) and _any(file, names, doomed, pictures)


def _without(
    part: str, staged: Path, doomed: Doomed, pictures: set[str]
) -> tuple[int, int, pa.Schema, int]:
    """Write a part without the rows that go: rows gone, rows left, schema, bytes before."""
    gone = left = 0
    with open_input(part) as source, pq.ParquetFile(source) as file:
        schema, size = file.schema_arrow, int(source.size())
        with pq.ParquetWriter(
            staged, schema, compression="zstd", write_page_checksum=True
        ) as writer:
            for table in _groups(file):
                keep = table.filter(pc.invert(_matches(table, doomed, pictures)))
                gone += table.num_rows - keep.num_rows
                left += keep.num_rows
                writer.write_table(keep)
    return gone, left, schema, size


def _any(file: pq.ParquetFile, names: list[str], doomed: Doomed, pictures: set[str]) -> bool:
    table = file.read(columns=names)
    return bool(pc.any(_matches(table, doomed, pictures)).as_py())


def _groups(file: pq.ParquetFile) -> Iterator[pa.Table]:
    for batch in file.iter_batches(batch_size=256):
        yield pa.Table.from_batches([batch])
