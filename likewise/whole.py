"""Files written whole, and names for content: a reader sees the old file or the new one."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = [
    "fingerprint",
    "sha256_of",
    "sweep",
    "whole_file",
    "whole_folder",
    "write_bytes",
    "write_json",
]


def fingerprint(parts: Mapping[str, Any] | Sequence[Any]) -> str:
    """16 hexadecimal digits of the sha256 of ``parts`` as canonical JSON."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def sha256_of(path: Path) -> str:
    """sha256 of a file's bytes, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A place beside ``path`` to write a file, which takes its name when the block ends well.

    A reader sees the old file or the new one, never a part; after an error the old one stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = _beside(path)
    try:
        yield staged
        _sync(staged)  # else a power cut may leave the name with nothing in it
        os.replace(staged, path)
        _sync(path.parent)
    finally:
        staged.unlink(missing_ok=True)


@contextlib.contextmanager
def whole_folder(path: Path, *, replace: bool = False) -> Iterator[Path]:
    """As ``whole_file``, for a folder, which is made. One that is there stays but for ``replace``:
    another process was faster, and its content is the same."""
    path.parent.mkdir(parents=True, exist_ok=True)
    staged, gone = _beside(path), _beside(path)
    staged.mkdir()
    try:
        yield staged
        if replace:
            # Taken away whole: one that is half deleted would be read as damaged.
            with contextlib.suppress(FileNotFoundError):
                os.rename(path, gone)
        if not path.exists():
            os.rename(staged, path)
    finally:
        for folder in (staged, gone):
            shutil.rmtree(folder, ignore_errors=True)


def sweep(folder: Path, but: Collection[str] = ()) -> None:
    """Remove what killed writers have left beside their files, in ``folder`` and below it.

    Nobody else may be writing there, except in the folders directly below that ``but`` names.
    """
    for path in folder.rglob(".*"):
        if _STAGED.fullmatch(path.name) and path.relative_to(folder).parts[0] not in but:
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


_STAGED = re.compile(r"\..+\.[0-9a-f]{8}", re.DOTALL)
"""Names that ``_beside`` gives."""


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees the old one or the new one, never a part."""
    with whole_file(path) as staged:
        staged.write_bytes(content)


def write_json(path: Path, content: Mapping[str, Any] | Sequence[Any]) -> None:
    """Write JSON, whole or not at all."""
    text = json.dumps(content, indent=2, ensure_ascii=False, default=str)
    write_bytes(path, f"{text}\n".encode())
