"""Excel workbooks, read as a stream by openpyxl."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from collectors.imports.base import Options, Refusals, TableKind, What
from collectors.imports.tables import Rows, spooled
from collectors.imports.trees import Tree
from likewise.errors import DataError, UsageError

__all__ = ["Excel"]

UNPACKED = 2_000_000_000
"""Bytes that a workbook may unpack to."""


COMPOUND = bytes.fromhex("D0CF11E0A1B11AE1")
"""First bytes of Microsoft's compound files ([MS-CFB] 2.2): .xls, and every encrypted .xlsx."""


class Excel(TableKind):
    """One sheet of an .xlsx workbook; its first row is the header."""

    name: ClassVar[str] = "excel"
    platform: ClassVar[str] = "table"
    title: ClassVar[str] = "Excel workbook"

    def recognise(self, tree: Tree) -> What | None:
        found = [e for e in tree.sample if e.path.suffix.lower() in {".xlsx", ".xlsm"}]
        if len(found) != 1:
            return None
        return What("a workbook beside its pictures", tree.root / found[0].path)

    def rows(self, path: Path, options: Options, scratch: Path, refusals: Refusals) -> Rows:
        import openpyxl
        from openpyxl.utils.exceptions import InvalidFileException

        try:
            with zipfile.ZipFile(path) as packed:
                size = sum(info.file_size for info in packed.infolist())
            if size > UNPACKED:
                raise DataError(f"{path} unpacks to {size:,} bytes, at most {UNPACKED:,} are read")
            book = openpyxl.load_workbook(path, read_only=True, data_only=True)
        except zipfile.BadZipFile as error:
            with path.open("rb") as file:
                compound = file.read(len(COMPOUND)) == COMPOUND
            if compound:
                raise DataError(
                    f"{path} is protected by a password, or a workbook of before Excel 2007",
                    hint="open it and save it as .xlsx without a password, or as CSV",
                ) from error
            raise DataError(
                f"{path} is no whole Excel workbook: {error}", hint="is it a text table? --as csv"
            ) from error
        except (InvalidFileException, KeyError, OSError, ValueError) as error:
            raise DataError(f"{path} is no whole Excel workbook: {error}") from error
        try:
            sheet = book[options.sheet] if options.sheet else book.worksheets[0]
        except KeyError:
            raise UsageError(
                f"{path}: there is no sheet {options.sheet!r}; there are "
                f"{', '.join(book.sheetnames)}"
            ) from None
        if options.sheet is None and len(book.sheetnames) > 1:
            refusals.notes.append(
                f"sheet {book.sheetnames[0]!r} is read, of {', '.join(book.sheetnames)}; "
                "another with --sheet"
            )
        cells = sheet.iter_rows(values_only=True)
        header = next(cells, None)
        if not header or not any(header):
            raise DataError(f"{path}:1: no header row in sheet {sheet.title!r}")
        columns = [
            str(n).strip() if n is not None else f"column{k}" for k, n in enumerate(header, 1)
        ]
        if len(set(columns)) != len(columns):
            raise DataError(f"{path}:1: two columns have the same name")
        return spooled(_records(cells, columns), columns, scratch / "table.parquet")


def _records(cells: Iterator[Any], columns: list[str]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for line, row in enumerate(cells, 2):
        if any(value is not None for value in row):
            yield line, dict(zip(columns, row, strict=False))
