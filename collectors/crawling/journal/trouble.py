"""What is wrong with a journal: a full or failing disk is one thing, a damaged file another."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

from likewise.errors import StorageError, StudyBusyError, StudyError

__all__ = ["explained"]

_DISK = {
    sqlite3.SQLITE_FULL: (
        "its disk is full",
        "free some space there and run the command again; nothing that was read is lost",
    ),
    sqlite3.SQLITE_IOERR: (
        "its disk fails to read or write",
        "look at the disk (and at its free space) and run the command again",
    ),
    sqlite3.SQLITE_READONLY: (
        "it may not be written",
        "change the rights of the study's folder, or choose another",
    ),
    sqlite3.SQLITE_CANTOPEN: (
        "it cannot be opened",
        "look at the folder's rights and at the disk's free space",
    ),
    sqlite3.SQLITE_PERM: ("it may not be opened", "change the rights of the study's folder"),
    sqlite3.SQLITE_NOMEM: ("there is no memory left", "run the command again with more memory"),
}
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


LEAST_ROOM = 1 << 20
"""Free bytes below which a disk counts as full."""


def _room(path: Path) -> int:
    try:
        return shutil.disk_usage(path.parent).free
    except OSError:
        return LEAST_ROOM


def explained(path: Path, error: BaseException) -> BaseException:
    """The error for people, where SQLite's own code tells what it is; else the error itself."""
    if not isinstance(error, sqlite3.Error):
        return error
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in _DAMAGED and _room(path) < LEAST_ROOM:
        code = sqlite3.SQLITE_FULL  # what cannot be written cannot be judged
    if code in _DAMAGED:
        return StudyError(
            f"{path} cannot be used: it is damaged ({error})",
            hint="bring it back from a backup, or move it away to start the crawl anew; "
            "published tables stay",
        )
    if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        return StudyBusyError(path.parent, None)
    if code in _DISK:
        what, mend = _DISK[code]
        return StorageError(f"{path} cannot be used: {what} ({error})", hint=mend)
    return error
