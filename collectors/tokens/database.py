"""The file behind the token store: its schema, its mode, and what older versions left in JSON."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from likewise.errors import CredentialsError

__all__ = ["open_database"]

_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS tokens (id TEXT PRIMARY KEY, platform TEXT NOT NULL, "
    "host TEXT NOT NULL, user TEXT NOT NULL, app TEXT NOT NULL, purpose TEXT NOT NULL, "
    "given_at TEXT NOT NULL, expires_at REAL, secret TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS withdrawn (id TEXT PRIMARY KEY)",
    "CREATE TABLE IF NOT EXISTS consents (key TEXT PRIMARY KEY, token TEXT NOT NULL, "
    "host TEXT NOT NULL, asked_by TEXT NOT NULL, purpose TEXT NOT NULL, given_at TEXT NOT NULL, "
    "withdrawn_at TEXT NOT NULL DEFAULT '')",
    "CREATE TABLE IF NOT EXISTS applications (platform TEXT, host TEXT, redirect_uri TEXT, "
    "scopes TEXT, client_id TEXT NOT NULL, client_secret TEXT NOT NULL, "
    "PRIMARY KEY (platform, host, redirect_uri, scopes))",
    "CREATE TABLE IF NOT EXISTS adopted (digest TEXT PRIMARY KEY)",
)
_VERSION = 1
_WAIT_S = 60.0
_TOKEN = ("id", "platform", "host", "user", "app", "purpose", "given_at", "expires_at")
_CONSENT = ("key", "token", "host", "asked_by", "purpose", "given_at", "withdrawn_at")


@contextlib.contextmanager
def open_database(path: Path, *, make: bool = True) -> Iterator[sqlite3.Connection | None]:
    """A connection in autocommit mode, closed at the end; None where there is nothing to read.

    Raises:
        CredentialsError: the file is damaged, is locked for a minute, or others may read it.
    """
    old = [path.with_name(name) for name in ("tokens.json", "consents.json")]
    left = [file for file in old if file.exists()]
    if not make and not left and not path.exists():
        yield None
        return
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    # Made with its mode: SQLite would make it readable for all, and its journal takes the same.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    for file in (path, *left):
        _check_mode(file)
    db: sqlite3.Connection | None = None
    try:
        db = sqlite3.connect(path, timeout=_WAIT_S, isolation_level=None)
        db.execute("PRAGMA secure_delete=ON")
        _prepare(db, left)
        yield db
    except sqlite3.DatabaseError as error:
        raise _told(path, error) from None
    finally:
        if db is not None:
            db.close()


def _check_mode(file: Path) -> None:
    mode = file.stat().st_mode & 0o777
    # The files of older versions held consents without secrets and were readable.
    if mode & 0o077 and file.name != "consents.json":
        raise CredentialsError(
            f"{file} may be read by other users (mode {mode:03o})", hint=f"chmod 600 {file}"
        )


def _told(path: Path, error: sqlite3.DatabaseError) -> CredentialsError:
    text = str(error)
    if "locked" in text:
        return CredentialsError(
            f"{path} has been in use by another process for {_WAIT_S:.0f} s",
            hint="end that process and try again",
        )
    if isinstance(error, sqlite3.OperationalError):
        return CredentialsError(f"{path} cannot be used: {text}", hint="mend the disk or its mode")
    return CredentialsError(f"{path} is damaged", hint="delete it and add the tokens again")


def _prepare(db: sqlite3.Connection, left: list[Path]) -> None:
    """Make the tables, and take over the files of older versions."""
    if db.execute("PRAGMA user_version").fetchone()[0] < _VERSION:
        db.execute("BEGIN IMMEDIATE")
        for statement in _SCHEMA:
            db.execute(statement)
        db.execute(f"PRAGMA user_version = {_VERSION}")
        db.execute("COMMIT")
    for file in left:
        db.execute("BEGIN IMMEDIATE")
        _adopt(db, file)
        db.execute("COMMIT")
        file.unlink(missing_ok=True)


def _adopt(db: sqlite3.Connection, file: Path) -> None:
    """Take over a file once: a process that died before it was deleted must not bring it back."""
    try:
        raw = file.read_bytes()
    except FileNotFoundError:
        return
    digest = hashlib.sha256(raw).hexdigest()
    if not db.execute("INSERT OR IGNORE INTO adopted VALUES (?)", (digest,)).rowcount:
        return
    try:
        content = json.loads(raw)
        if file.name == "tokens.json":
            rows = [_token_row(entry) for entry in content["tokens"]]
            db.executemany("INSERT OR IGNORE INTO tokens VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
        else:
            rows = [tuple(entry[name] for name in _CONSENT) for entry in content]
            db.executemany("INSERT OR IGNORE INTO consents VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
    except (ValueError, TypeError, KeyError, AttributeError, sqlite3.IntegrityError):
        raise CredentialsError(
            f"{file} is damaged", hint="delete it and add the tokens again"
        ) from None


def _token_row(entry: dict[str, Any]) -> tuple[Any, ...]:
    usual = {"user": "", "app": "", "purpose": "", "given_at": "", "expires_at": None, **entry}
    return (*(usual[name] for name in _TOKEN), json.dumps(dict(usual["secret"])))
