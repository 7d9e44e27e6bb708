"""CSV and TSV: encoding and separator found in the bytes, faults named with their line."""

from __future__ import annotations

import codecs
import csv
import io
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from collectors.imports.base import Options, Refusals, TableKind, What
from collectors.imports.sqltext import literal
from collectors.imports.tables import ROW, Rows
from collectors.imports.trees import Tree
from likewise.errors import DataError, UsageError

__all__ = ["Delimited"]

ENDINGS = frozenset({".csv", ".tsv", ".tab", ".txt"})
SEPARATORS = (",", ";", "\t", "|")
LOOK = 1 << 16
"""Bytes in which the separator is looked for."""
LONGEST = 10_000_000
"""Bytes of the longest line: more is an unclosed quote."""
CONTROLS = 0.02
"""Share of control characters that no text in Windows-1252 reaches; other files do."""
BUFFER = LONGEST + 2_000_000
"""Bytes that DuckDB reads at once: by itself it takes 32 times the longest line, several times."""


class Delimited(TableKind):
    """A text table with a header line."""

    name: ClassVar[str] = "csv"
    platform: ClassVar[str] = "table"
    title: ClassVar[str] = "CSV table"

    def recognise(self, tree: Tree) -> What | None:
        found = [e for e in tree.sample if e.path.suffix.lower() in ENDINGS - {".txt"}]
        if len(found) != 1:
            return None
        return What("a table beside its pictures", tree.root / found[0].path)

    def rows(self, path: Path, options: Options, scratch: Path, refusals: Refusals) -> Rows:
        encoding = options.encoding or _encoding(path)
        try:
            codecs.lookup(encoding)
        except LookupError:
            raise UsageError(
                f"--encoding {encoding}: there is no such encoding",
                hint="ordinary ones are utf-8, utf-16, cp1252 and latin-1",
            ) from None
        source = path
        if encoding not in {"utf-8", "utf-8-sig"}:
            source = _as_utf8(path, encoding, scratch / "table.csv")
            refusals.notes.append(f"{path.name} is read as {encoding}; another with --encoding")
        with source.open("rb") as file:
            start = file.read(LOOK)
        if not start.strip():
            raise DataError(f"{path} is empty, expected a header line and rows")
        separator = options.delimiter or _separator(start)
        columns = _header(path, source, separator)
        # Nothing is left to be guessed: a guess fails as a whole where one quote stays open.
        types = ", ".join(f"{literal(column)}: 'VARCHAR'" for column in columns)
        about = (
            f"auto_detect = false, columns = {{{types}}}, header = true, all_varchar = true, "
            f"delim = {literal(separator)}, quote = '\"', escape = '\"', store_rejects = true, "
            f"rejects_limit = {Refusals.MOST}, max_line_size = {LONGEST}, "
            f"buffer_size = {BUFFER}, null_padding = false"
        )
        read = f"read_csv({literal(str(source))}, {about})"
        return Rows(
            columns,
            f"(SELECT row_number() OVER () - 1 AS {ROW}, * FROM {read})",
            lambda numbers: _lines(source, separator, len(columns), numbers),
            lambda db: _unread(source, db),
        )


def _encoding(path: Path) -> str:
    """UTF-8 where every byte fits, UTF-16 where a mark or the zeros say so, else Windows-1252."""
    with path.open("rb") as file:
        start = file.read(4096)
        if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            return "utf-16"
        if start[1::2].count(0) > len(start) // 4:
            return "utf-16-le"
        if start[0::2].count(0) > len(start) // 4:
            return "utf-16-be"
        decoder = codecs.getincrementaldecoder("utf-8")()
        file.seek(0)
        try:
            while block := file.read(1 << 20):
                decoder.decode(block)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            controls = sum(byte < 9 or 13 < byte < 32 for byte in start)
            if controls > CONTROLS * len(start):
                raise DataError(
                    f"{path} holds no text, expected a table in rows of text",
                    hint="say what it is: --as excel, --as parquet, --as database, ...",
                ) from None
            return "cp1252"
    return "utf-8-sig" if start.startswith(codecs.BOM_UTF8) else "utf-8"


def _as_utf8(path: Path, encoding: str, target: Path) -> Path:
    """The file in UTF-8. DuckDB reads other encodings only with an extension from the network."""
    try:
        with (
            path.open(encoding=encoding, newline="") as source,
            target.open("w", encoding="utf-8", newline="") as sink,
        ):
            while block := source.read(1 << 20):
                sink.write(block.removeprefix("\ufeff"))
    except UnicodeDecodeError as error:
        line = target.read_bytes().count(b"\n") + 1 if target.exists() else 1
        raise DataError(
            f"{path}: after line {line}: not {encoding} ({error})",
            hint="say which encoding it is: --encoding NAME",
        ) from error
    return target


def _separator(start: bytes) -> str:
    """The separator that cuts the first lines into the most columns, equally many in each."""
    text = start.decode("utf-8-sig", errors="replace")
    if len(start) == LOOK:
        text = text[: text.rfind("\n") + 1] or text
    best = (0.0, 1, ",")
    for separator in SEPARATORS:
        widths = [len(row) for row in csv.reader(io.StringIO(text), delimiter=separator) if row]
        if not widths or widths[0] < 2:
            continue
        same = Counter(widths)[widths[0]] / len(widths)
        best = max(best, (round(same, 1), widths[0], separator))
    return best[2]


def _header(path: Path, source: Path, separator: str) -> list[str]:
    csv.field_size_limit(LONGEST)
    with source.open(encoding="utf-8-sig", newline="") as file:
        try:
            columns = [name.strip() for name in next(csv.reader(file, delimiter=separator))]
        except (csv.Error, StopIteration) as error:
            raise DataError(f"{path}:1: no header line: {error}") from error
    named = [name or f"column{place}" for place, name in enumerate(columns, 1)]
    twice = [name for name, times in Counter(map(str.lower, named)).items() if times > 1]
    if twice:
        raise DataError(
            f"{path}:1: several columns are called {twice[0]!r}",
            hint="give each column a name of its own",
        )
    return named


def _lines(source: Path, separator: str, width: int, numbers: Sequence[int]) -> Mapping[int, int]:
    """Lines at which rows start. A slow pass over the file, made only where a row is faulty."""
    wanted, last = set(numbers), max(numbers, default=-1)
    found: dict[int, int] = {}
    with source.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, delimiter=separator)
        for number, line in _numbered(reader, width):
            if number in wanted:
                found[number] = line
            if number >= last:
                break
    return found


def _numbered(reader: Any, width: int) -> Iterator[tuple[int, int]]:
    """Number and first line of each row of the right width, as DuckDB counts them."""
    next(reader)
    number, start = 0, reader.line_num + 1
    for row in reader:
        if len(row) == width:
            yield number, start
            number += 1
        start = reader.line_num + 1


def _unread(source: Path, db: Any) -> Sequence[tuple[int, str]]:
    """Lines that gave no row. DuckDB counts rows as lines: its byte positions say the lines."""
    rows = db.execute(
        "SELECT line_byte_position, any_value(error_message) FROM reject_errors GROUP BY 1 "
        "ORDER BY 1"
    ).fetchall()
    found, line, at = [], 1, 0
    with source.open("rb") as file:
        for position, message in rows:
            while at < position - 1 and (block := file.read(min(1 << 20, position - 1 - at))):
                line, at = line + block.count(b"\n"), at + len(block)
            # Where lines end in CR LF, DuckDB's position is that of the LF before the row.
            file.seek(max(at - 1, 0))
            ends = file.read(2) == b"\r\n"
            file.seek(at)
            found.append((line + ends, str(message).split("\n", maxsplit=1)[0]))
    return found
