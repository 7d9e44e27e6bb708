"""Every byte of a folder, as far as a reader could ever get: unpacked, decoded, free pages too."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq


def contents(root: Path) -> Iterator[tuple[str, bytes]]:
    """(where, bytes) of every file, raw and once more as what it holds."""
    for path in sorted(p for p in root.rglob("*") if p.is_file()):
        where, raw = str(path.relative_to(root)), path.read_bytes()
        yield where, where.encode() + b"\n" + raw
        yield f"{where} (read)", _read(path, raw)


def _read(path: Path, raw: bytes) -> bytes:
    if raw[:4] == b"PAR1":
        return _rows(pq.ParquetFile(io.BytesIO(raw)).read())
    if raw[:6] == b"ARROW1":
        return _rows(pa.ipc.open_file(io.BytesIO(raw)).read_all())
    if raw[:2] == b"\x1f\x8b":
        return gzip.decompress(raw)
    if raw[:4] == b"PK\x03\x04":
        with zipfile.ZipFile(io.BytesIO(raw)) as file:
            return b"\n".join(file.read(name) for name in file.namelist())
    if path.suffix in {".json", ".jsonl"}:
        log = path.suffix == ".jsonl" or path.parent.name == "_delta_log"
        lines = raw.splitlines() if log else [raw]
        return "\n".join(str(json.loads(line)) for line in lines).encode()
    return b""


def _rows(table: pa.Table) -> bytes:
    out = []
    for name in table.column_names:
        for value in table[name].to_pylist():
            out.append(value if isinstance(value, bytes) else str(value).encode())
    return b"\n".join(out) + str(table.schema.metadata).encode()


def found(root: Path, words: dict[str, bytes]) -> list[tuple[str, str]]:
    """(what, where) of every word that can still be read."""
    return [
        (what, where)
        for where, text in contents(root)
        for what, word in words.items()
        if word.lower() in text.lower()
    ]
