"""``likewise upgrade``: a study of an older likewise as this one keeps it, in place.

The oldest layout kept ``tables/NAME/_table.json`` beside a folder of parts named by its
fingerprint: parts become parts of a Delta table without being copied; the old names go last. Until
``fetches`` were a table of their own, ``pictures`` held a row for each address, and the bytes of a
picture as often as it was posted: now they are there once. A killed conversion is taken up by the
next.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from likewise.errors import StudyError
from likewise.nights import forget_nights
from likewise.pictures import GROUP_ROWS, pictures_writer, split
from likewise.progress import progress
from likewise.store import OLD, Manifest, parquet_file, unique
from likewise.study import Study
from likewise.tables import FETCHED, FETCHES, PICTURES, TABLES
from likewise.whole import fingerprint
from likewise.working import changes_study

__all__ = ["upgrade"]


@changes_study("upgrade")
def upgrade(study: Study | str | os.PathLike[str]) -> list[str]:
    """Convert what is of an older layout; returns the names of these tables. Hold the lock.

    Nights before a conversion of ``pictures`` cannot be read any more; ``prune`` frees their room.

    Raises:
        StudyError: an old manifest, or a part that it names, is damaged.
    """
    opened = Study.open(study)
    tables = opened.root / "tables"
    old = sorted(path.parent for path in tables.glob(f"*/{OLD}") if not path.is_symlink())
    with progress("upgrade", len(old)) as bar:
        for folder in old:
            _convert(opened, folder)
            bar.advance()
    done = {folder.name for folder in old}
    if _pictures_once(opened) | _fetches_apart(opened):
        done |= {"fetches", "pictures"}
    return sorted(done)


def _convert(study: Study, folder: Path) -> None:
    try:
        raw = json.loads((folder / OLD).read_text(encoding="utf-8"))
        said = Manifest.from_dict(raw, str(folder / OLD))
    except (json.JSONDecodeError, UnicodeDecodeError, TypeError) as error:
        raise StudyError(
            f"{folder / OLD} is damaged: {error}", hint="delete the table's folder and run again"
        ) from error
    parts = sorted((folder / said.fingerprint).rglob("*.parquet"))
    # The folder of a log is there before its first commit: it alone does not say that one was made.
    if not any((folder / "_delta_log").glob("*.json")):
        adds, schema = [], TABLES[said.table].schema if said.table in TABLES else None
        for part in parts:
            try:
                with pq.ParquetFile(part) as file:
                    rows, schema = file.metadata.num_rows, file.schema_arrow
            except Exception as error:
                raise StudyError(
                    f"{part} is not a whole Parquet file: {error}",
                    hint=f"delete {folder} and make the table anew",
                ) from error
            bucket = part.parent.name.partition("bucket=")[2]
            name = unique(part.stem, int(bucket) if bucket else None)
            adds.append(study.store.put(part, said.table, name, rows))
        if schema is None:
            raise StudyError(f"{folder} holds no part", hint="delete it and run the stage again")
        said = replace(said, made=said.fingerprint)
        study.store.commit(said, adds, schema, key=f"upgrade {said.fingerprint}", new=True)
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink() and path.name != "_delta_log":
            shutil.rmtree(path)
    (folder / OLD).unlink()


# -- fetches and pictures apart -------------------------------------------------------------


def _pictures_once(study: Study) -> bool:
    """Make ``pictures`` hold each content once; whether it did not."""
    store = study.store
    manifest = store.manifest("pictures")
    if manifest is None or "url" not in store.schema("pictures").names:
        return False
    forget_nights(study)  # first: a killed conversion must not leave nights that show both layouts
    parts, adds, rows = store.parts("pictures"), [], 0
    seen: set[str] = set()
    n_buckets = _buckets(manifest)
    with progress("upgrade: each picture once", manifest.rows) as bar:
        for part in parts:
            with tempfile.TemporaryDirectory(dir=study.folder(".staging")) as scratch:
                staged = Path(scratch) / "pictures.parquet"
                written = 0
                with pictures_writer(staged) as writer:
                    for table in _wide(part, FETCHED.names, GROUP_ROWS):
                        pictures = split(table, n_buckets)[1]
                        new = [one not in seen for one in pictures["picture_id"].to_pylist()]
                        pictures = pictures.filter(pa.array(new, pa.bool_()))
                        seen.update(pictures["picture_id"].to_pylist())
                        if pictures.num_rows:
                            writer.write_table(pictures)
                        written += pictures.num_rows
                        bar.advance(table.num_rows)
                if written:
                    adds.append(store.put(staged, "pictures", unique("pictures"), written))
                rows += written
    said = Manifest(
        table="pictures",
        fingerprint=fingerprint(sorted(seen)),
        rows=rows,
        made_from={**manifest.made_from, "params": {}, "n_buckets": 0},
        extra={"wide": store.version("pictures")},
        published_at=manifest.published_at,
    )
    store.commit(said, adds, PICTURES.schema, key=f"once {manifest.fingerprint}")
    return True


def _fetches_apart(study: Study) -> bool:
    """Make ``fetches`` of what ``pictures`` was before; whether it was missing."""
    store = study.store
    manifest = store.manifest("pictures")
    if manifest is None or "wide" not in manifest.extra or store.open("fetches") is not None:
        return False
    wide = int(manifest.extra["wide"])
    said = store.manifest("pictures", wide)
    assert said is not None
    adds = []
    parts = store.parts("pictures", wide)
    with progress("upgrade: fetches", len(parts)) as bar:
        for part in parts:
            tables = list(_wide(part, FETCHES.schema.names, 16_384))
            rows = pa.concat_tables(tables) if tables else FETCHES.schema.empty_table()
            for bucket in pc.unique(rows["bucket"]).to_pylist():
                own = rows.filter(pc.equal(rows["bucket"], bucket))
                with tempfile.TemporaryDirectory(dir=study.folder(".staging")) as scratch:
                    staged = Path(scratch) / "fetches.parquet"
                    pq.write_table(own, staged, compression="zstd", write_page_checksum=True)
                    adds.append(store.put(staged, "fetches", unique("part", bucket), own.num_rows))
            bar.advance()
    said = replace(said, table="fetches")
    store.commit(said, adds, FETCHES.schema, key=f"apart {said.fingerprint}")
    return True


def _buckets(manifest: Manifest) -> int:
    return int(manifest.made_from.get("n_buckets", 0)) or 1


def _wide(part: str, columns: Sequence[str], at_once: int) -> Iterator[pa.Table]:
    """Rows of a part as ``FETCHED``, with these of its columns."""
    schema = pa.schema([FETCHED.field(name) for name in columns])
    try:
        with parquet_file(part) as file:
            for batch in file.iter_batches(at_once, columns=list(columns), use_threads=False):
                yield pa.Table.from_batches([batch]).select(list(columns)).cast(schema)
    except OSError as error:
        raise StudyError(
            f"{part} cannot be read: {error}",
            hint="likewise download, of the version that wrote it, fetches again what it held",
        ) from error
