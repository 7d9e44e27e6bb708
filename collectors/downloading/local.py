"""Pictures of imports: read where they lie, by the rules that hold for fetched ones.

Only rows of imported hosts come here, and only files inside the folder or archive that the user
named can be read: a path is resolved first, links included.
"""

from __future__ import annotations

import os
import stat
import zipfile
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from collectors.downloading.fetch import Answer
from collectors.imports.places import parse

__all__ = ["LocalFiles"]


class LocalFiles:
    """Reads imported addresses below the roots of their hosts."""

    def __init__(self, roots: Mapping[str, str], max_bytes: int) -> None:
        self._roots = {host: Path(root) for host, root in roots.items()}
        self._max_bytes = max_bytes

    def read(self, host: str, url: str) -> Answer:
        """The file's content, or the named reason why there is none. Nothing is raised for it."""
        root = self._roots.get(host)
        if root is None:
            return Answer("import_unknown")
        try:
            path, where = parse(url)
            file = _inside(root, path)
        except (ValueError, OSError, RuntimeError):
            return Answer("file_missing")
        if file is None:
            return Answer("file_outside")
        try:
            return self._content(file, where)
        except FileNotFoundError:
            return Answer("file_missing")
        except (OSError, ValueError, KeyError, IndexError, RuntimeError, NotImplementedError):
            return Answer("file_unreadable")
        except zipfile.BadZipFile:
            return Answer("file_unreadable")

    def _content(self, file: Path, where: Mapping[str, str]) -> Answer:
        if "member" in where:
            with _archive(file).open(where["member"]) as member:
                return self._bounded(member.read(self._max_bytes + 1))
        if "column" in where:
            return self._bounded(_of_column(file, where["column"], int(where["row"])))
        # A name may have become a pipe since the import: opening it would wait for ever.
        with open(file, "rb", buffering=0, opener=_unblocked) as source:
            if not stat.S_ISREG(os.fstat(source.fileno()).st_mode):
                return Answer("file_unreadable")
            size = self._max_bytes + 1
            if "at" in where:
                source.seek(int(where["at"]))
                size = min(size, int(where["size"]))
            parts = []
            while size > 0 and (part := source.read(size)):
                parts.append(part)
                size -= len(part)
        return self._bounded(b"".join(parts))

    def _bounded(self, data: bytes) -> Answer:
        return Answer("too_large") if len(data) > self._max_bytes else Answer(None, body=data)


def _unblocked(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def _inside(root: Path, path: str) -> Path | None:
    """The file at a path below the root (or the root itself); None when it leads outside."""
    real_root = root.resolve()
    file = (real_root / path).resolve(strict=True) if path else real_root
    return file if file.is_relative_to(real_root) else None


@lru_cache(maxsize=4)
def _archive(path: Path) -> zipfile.ZipFile:
    return zipfile.ZipFile(path)


@lru_cache(maxsize=2)
def _group(path: Path, column: str, group: int) -> Any:
    with pq.ParquetFile(path) as file:
        return file.read_row_group(group, columns=[column])[column]


def _of_column(path: Path, column: str, row: int) -> bytes:
    """The bytes that a Parquet file holds in one row of a column."""
    about = pq.read_metadata(path)
    for group in range(about.num_row_groups):
        rows = about.row_group(group).num_rows
        if row < rows:
            value: bytes | None = _group(path, column, group)[row].as_py()
            return value or b""
        row -= rows
    raise IndexError(row)
