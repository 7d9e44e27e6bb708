"""Who agreed to what and when: consents stand beside the tokens that they gave."""

from __future__ import annotations

import datetime as dt
import hashlib
import secrets
import sqlite3
from dataclasses import dataclass
from typing import TYPE_CHECKING

from collectors.tokens.database import open_database
from collectors.tokens.store import Token, TokenStore, put
from likewise.errors import CredentialsError

if TYPE_CHECKING:
    from collectors.tokens.platform import Permitting

__all__ = ["Consents", "Invitation", "withdraw"]

_COLUMNS = ("key", "token", "host", "asked_by", "purpose", "given_at", "withdrawn_at")


@dataclass(frozen=True, slots=True)
class Invitation:
    """Who asks, and for what."""

    who: str
    purpose: str


class Consents:
    """The consents of a token store. Keys are stored as digests only."""

    def __init__(self, store: TokenStore) -> None:
        self._store = store
        self.path = store.path
        """The file in which they stand, mode 0600."""

    def all(self) -> list[dict[str, str]]:
        """Every consent, oldest first."""
        with open_database(self._store.path, make=False) as db:
            if db is None:
                return []
            rows = db.execute(
                "SELECT key, token, host, asked_by, purpose, given_at, withdrawn_at "
                "FROM consents ORDER BY rowid"
            )
            return [dict(zip(_COLUMNS, row, strict=True)) for row in rows]

    def add(self, token_id: str, host: str, invitation: Invitation) -> tuple[str, str]:
        """Store a consent given now; returns the key that withdraws it, and the time."""
        with self._store.change() as db:
            return _add(db, token_id, host, invitation)

    def give(self, token: Token, invitation: Invitation) -> tuple[str, str]:
        """Store a token with the consent behind it, both or none; returns what ``add`` does."""
        with self._store.change() as db:
            put(db, token)
            return _add(db, token.id, token.host, invitation)

    def find(self, key: str) -> dict[str, str] | None:
        """The consent that a key withdraws; None when there is none, or it was withdrawn."""
        digest = _digest(key)
        found = [c for c in self.all() if secrets.compare_digest(c["key"], digest)]
        return found[0] if found and not found[0]["withdrawn_at"] else None

    def withdraw(self, token_id: str) -> None:
        """Note that the consents behind a token were taken back now."""
        with self._store.change() as db:
            db.execute(
                "UPDATE consents SET withdrawn_at = ? WHERE token = ? AND withdrawn_at = ''",
                (_now(), token_id),
            )


def _add(
    db: sqlite3.Connection, token_id: str, host: str, invitation: Invitation
) -> tuple[str, str]:
    key, given_at = secrets.token_urlsafe(24), _now()
    row = (_digest(key), token_id, host, invitation.who, invitation.purpose, given_at)
    db.execute("INSERT INTO consents VALUES (?, ?, ?, ?, ?, ?, '')", row)
    return key, given_at


def withdraw(platform: Permitting, store: TokenStore, token_id: str) -> bool:
    """Delete a token, note it, and revoke it upstream.

    Returns:
        False when something is left that only the person can do (``platform.left_to_do`` says
        what), or when the platform could not be told.

    Raises:
        CredentialsError: there is no such token.
    """
    token = store.remove(token_id)
    try:
        return platform.revoke(token)
    except CredentialsError:
        return False


def _now() -> str:
    return dt.datetime.now(dt.UTC).isoformat(timespec="seconds")


def _digest(key: str) -> str:
    # Keys come out of addresses, which may hold anything.
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
