"""``export``: tables, a flat table of everything, and pictures, in files of other programs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from likewise.study import Study
from likewise.whole import write_bytes
from training.exporting.card import card
from training.exporting.files import write
from training.exporting.view import Filters, count, opened, select

__all__ = ["Exported", "export"]


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written: the file or folder, the card beside it, rows, and what is to be known."""

    path: Path
    card: Path
    rows: int
    notes: tuple[str, ...]


def export(
    study: Study | str | os.PathLike[str],
    what: str,
    output: str | os.PathLike[str],
    *,
    shape: str | None = None,
    filters: Filters | None = None,
) -> Exported:
    """Write posts, authors, pictures, labels, scores, reviews or everything to a file.

    Args:
        study: The study or its folder; it is only read.
        what: A table, or ``everything``: one row a picture, all that is known joined.
        output: File whose ending says the format, or a new folder with ``shape``.
        shape: ``imagefolder``, ``img2dataset``, ``fiftyone`` or ``cleanvision``: the pictures
            themselves, in a folder that such a tool reads.
        filters: Which rows.

    Raises:
        UsageError: an unknown table, format, shape or filter, or a folder that is not empty.
        MissingTableError: no stage has made the table yet.
    """
    import duckdb

    snapshot = Study.open(study, at="now")
    filters = filters or Filters()
    path = Path(output).absolute()
    with duckdb.connect() as db:
        names = opened(snapshot, db)
        query = select("everything" if shape else what, names, filters)
        rows = count(db, query)
        if shape is not None:
            from training.exporting.folders import write_folder

            snapshot.require("pictures")
            table = db.sql(query).to_arrow_table()
            rows = write_folder(snapshot, table.to_pylist(), shape, path)
            notes = []
        else:
            notes = write(db, query, rows, path)
    text = card(snapshot, shape or what, rows, _said(filters), notes)
    beside = path / "README.md" if path.is_dir() else path.with_name(f"{path.name}.card.md")
    write_bytes(beside, text.encode())
    return Exported(path, beside, rows, tuple(notes))


def _said(filters: Filters) -> Mapping[str, str]:
    return {name: value for name, value in asdict(filters).items() if value is not None}
