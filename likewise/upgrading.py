"""``likewise upgrade``: tables of an older likewise as Delta tables, in place.

The older layout kept ``tables/NAME/_table.json`` beside a folder of parts named by its fingerprint.
Parts become parts of the Delta table without being copied; the old names go last. A killed
conversion is taken up by the next.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

from likewise.errors import StudyError
from likewise.progress import progress
from likewise.store import OLD, Manifest, unique
from likewise.study import Study
from likewise.tables import TABLES
from likewise.working import changes_study

__all__ = ["upgrade"]


@changes_study("upgrade")
def upgrade(study: Study | str | os.PathLike[str]) -> list[str]:
    """Convert what is of the older layout; returns the names of these tables. Hold the lock.

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
    return [folder.name for folder in old]


def _convert(study: Study, folder: Path) -> None:
    import pyarrow.parquet as pq

    try:
        raw = json.loads((folder / OLD).read_text(encoding="utf-8"))
        said = Manifest.from_dict(raw, str(folder / OLD))
    except (json.JSONDecodeError, UnicodeDecodeError, TypeError) as error:
        raise StudyError(
            f"{folder / OLD} is damaged: {error}", hint="delete the table's folder and run again"
        ) from error
    parts = sorted((folder / said.fingerprint).rglob("*.parquet"))
    if not (folder / "_delta_log").is_dir():
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
