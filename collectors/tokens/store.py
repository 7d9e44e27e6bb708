"""Tokens that people gave: a database in the user's configuration folder, and the environment.

Many processes may read and change it at once: every change is one transaction of SQLite. The file
has mode 0600 and deleted secrets are overwritten. A token's secret never appears in ``repr``, in
errors or in logs.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import fcntl
import hashlib
import json
import os
import sqlite3
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import platformdirs

from collectors.tokens.database import open_database
from likewise.errors import CredentialsError

__all__ = ["Token", "TokenStore", "config_home", "from_environment", "locked", "new_token"]

_COLUMNS = ("id", "platform", "host", "user", "app", "purpose", "given_at", "expires_at")
_SELECT = f"SELECT {', '.join(_COLUMNS)}, secret FROM tokens"  # noqa: S608 - names of our own
_POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class Token:
    """One person's (or one application's) permission to call a platform.

    ``secret`` holds what must never be shown; everything else may be.
    """

    id: str
    platform: str
    host: str
    user: str = ""
    app: str = ""
    purpose: str = ""
    given_at: str = ""
    expires_at: float | None = None
    secret: Mapping[str, str] = field(default_factory=dict, repr=False)

    def shown(self) -> dict[str, Any]:
        """What may be printed."""
        return {name: getattr(self, name) for name in _COLUMNS}


def config_home() -> Path:
    """The user's configuration folder: ``LIKEWISE_CONFIG_HOME`` or the platform's own."""
    given = os.environ.get("LIKEWISE_CONFIG_HOME")
    return Path(given) if given else Path(platformdirs.user_config_dir("likewise"))


def new_token(platform: str, host: str, secret: Mapping[str, str], **about: Any) -> Token:
    """A token with an id of its own and the present time; ``about`` fills other fields."""
    given_at = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
    return Token(
        uuid.uuid4().hex[:8], platform, host, secret=dict(secret), given_at=given_at, **about
    )


def from_environment(platform: str, host: str, names: Mapping[str, str]) -> Token | None:
    """The token that environment variables hold; ``names`` maps variables to secret fields."""
    found = {
        name: os.environ[variable] for variable, name in names.items() if variable in os.environ
    }
    if len(found) < len(names) or not all(found.values()):
        return None
    text = json.dumps(found, sort_keys=True)
    return Token(
        f"env-{hashlib.sha256(text.encode()).hexdigest()[:6]}",
        platform,
        host,
        user=found.get("identifier", "") or found.get("user_id", ""),
        purpose="from the environment",
        secret=found,
    )


class TokenStore:
    """``tokens.sqlite`` in the configuration folder: tokens, consents, registered applications.

    Raises (every method):
        CredentialsError: the file is damaged, is busy for a minute, or others may read it.
    """

    def __init__(self, home: Path | None = None) -> None:
        self.home = home or config_home()
        self.path = self.home / "tokens.sqlite"

    # -- tokens -----------------------------------------------------------------------------

    def all(self) -> list[Token]:
        """Every stored token, oldest first."""
        with open_database(self.path, make=False) as db:
            if db is None:
                return []
            return [_token(row) for row in db.execute(f"{_SELECT} ORDER BY rowid")]

    def of(self, platform: str, host: str) -> list[Token]:
        """Tokens for one host of a platform."""
        return [t for t in self.all() if t.platform == platform and t.host == host]

    def find(self, token_id: str) -> Token | None:
        """The stored token of that id."""
        return next((token for token in self.all() if token.id == token_id), None)

    def put(self, token: Token) -> None:
        """Add a token, or replace the one with the same id."""
        with self.change() as db:
            put(db, token)

    def update(self, token: Token, secret: Mapping[str, str], expires_at: float | None) -> Token:
        """Keep a renewed secret. A token that was withdrawn in the meantime stays withdrawn."""
        with self.change() as db:
            db.execute(
                "UPDATE tokens SET secret = ?, expires_at = ? WHERE id = ?",
                (json.dumps(dict(secret)), expires_at, token.id),
            )
        return replace(token, secret=dict(secret), expires_at=expires_at)

    def remove(self, token_id: str) -> Token:
        """Forget a token, and note its consents as withdrawn; that it was there is remembered.

        Raises:
            CredentialsError: there is no token of that id.
        """
        now = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
        with self.change() as db:
            row = db.execute(f"{_SELECT} WHERE id = ?", (token_id,)).fetchone()
            db.execute("DELETE FROM tokens WHERE id = ?", (token_id,))
            if row is not None:
                db.execute("INSERT OR IGNORE INTO withdrawn VALUES (?)", (token_id,))
            db.execute(
                "UPDATE consents SET withdrawn_at = ? WHERE token = ? AND withdrawn_at = ''",
                (now, token_id),
            )
        if row is None:
            raise CredentialsError(
                f"there is no token {token_id!r}", hint="likewise auth list shows them"
            )
        return _token(row)

    def withdrawn(self, token_id: str) -> bool:
        """Whether a token was taken back: it must not be renewed."""
        with open_database(self.path, make=False) as db:
            if db is None:
                return False
            known = db.execute("SELECT 1 FROM withdrawn WHERE id = ?", (token_id,))
            return known.fetchone() is not None

    @contextlib.contextmanager
    def change(self) -> Iterator[sqlite3.Connection]:
        """One transaction: all of it, or nothing when the block raises."""
        with open_database(self.path) as db:
            assert db is not None
            db.execute("BEGIN IMMEDIATE")
            yield db
            db.execute("COMMIT")

    # -- what only one process may do at a time ---------------------------------------------

    @contextlib.contextmanager
    def alone(self, name: str) -> Iterator[None]:
        """Wait until nobody else, in any process or thread, is inside ``alone(name)``."""
        with self._lock_file(name).open("a", encoding="utf-8") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield

    @contextlib.asynccontextmanager
    async def renewing(self, token_id: str) -> AsyncIterator[Token | None]:
        """The stored token, while no other process renews it.

        A refresh token is good once: whoever comes second finds here what the first was given.
        The lock dies with its process.
        """
        path = await asyncio.to_thread(self._lock_file, f"renewal-{token_id}")
        handle = await asyncio.to_thread(path.open, "a", encoding="utf-8")
        try:
            # Another process holds it: there is no event to wait for.
            while not locked(handle.fileno()):  # noqa: ASYNC110
                await asyncio.sleep(_POLL_S)
            yield await asyncio.to_thread(self.find, token_id)
        finally:
            handle.close()

    def _lock_file(self, name: str) -> Path:
        folder = self.home / "locks"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return folder / hashlib.sha256(name.encode()).hexdigest()[:16]

    # -- applications -----------------------------------------------------------------------

    def application(
        self, platform: str, host: str, redirect_uri: str, scopes: str
    ) -> tuple[str, str] | None:
        """Client id and secret of the application that was registered for this; None if none."""
        with open_database(self.path, make=False) as db:
            if db is None:
                return None
            row = db.execute(
                "SELECT client_id, client_secret FROM applications WHERE platform = ? "
                "AND host = ? AND redirect_uri = ? AND scopes = ?",
                (platform, host, redirect_uri, scopes),
            ).fetchone()
            return None if row is None else (row[0], row[1])

    def keep_application(
        self, platform: str, host: str, redirect_uri: str, scopes: str, client: tuple[str, str]
    ) -> None:
        """Remember a registered application."""
        with self.change() as db:
            db.execute(
                "INSERT OR REPLACE INTO applications VALUES (?, ?, ?, ?, ?, ?)",
                (platform, host, redirect_uri, scopes, *client),
            )

    def forget_application(self, client_id: str) -> None:
        """A server does not know this application any more."""
        with self.change() as db:
            db.execute("DELETE FROM applications WHERE client_id = ?", (client_id,))


def put(db: sqlite3.Connection, token: Token) -> None:
    """Add or replace a token within a transaction."""
    row = (*token.shown().values(), json.dumps(dict(token.secret)))
    db.execute("DELETE FROM withdrawn WHERE id = ?", (token.id,))
    db.execute(
        "INSERT INTO tokens VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET "
        "platform = excluded.platform, host = excluded.host, user = excluded.user, "
        "app = excluded.app, purpose = excluded.purpose, given_at = excluded.given_at, "
        "expires_at = excluded.expires_at, secret = excluded.secret",
        row,
    )


def _token(row: tuple[Any, ...]) -> Token:
    *about, secret = row
    return Token(**dict(zip(_COLUMNS, about, strict=True)), secret=json.loads(secret))


def locked(handle: int) -> bool:
    """Whether this process holds the lock of the file from now on; false when another has it."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
