"""Tokens that people gave: the user's configuration folder, mode 0600, and the environment.

A token's secret never appears in ``repr``, in errors or in logs.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from likewise.errors import CredentialsError

__all__ = ["Token", "TokenStore", "config_home", "from_environment", "new_token"]


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
        names = ("id", "platform", "host", "user", "app", "purpose", "given_at", "expires_at")
        return {name: getattr(self, name) for name in names}


def config_home() -> Path:
    """The user's configuration folder: ``LIKEWISE_CONFIG_HOME`` or the platform's own."""
    import platformdirs

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
    """``tokens.json`` in the configuration folder; every change replaces the file at once."""

    def __init__(self, home: Path | None = None) -> None:
        self.path = (home or config_home()) / "tokens.json"

    def all(self) -> list[Token]:
        """Every stored token.

        Raises:
            CredentialsError: the file is damaged, or others may read it.
        """
        try:
            mode = self.path.stat().st_mode & 0o777
            text = self.path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return []
        if mode & 0o077:
            raise CredentialsError(
                f"{self.path} may be read by other users (mode {mode:03o})",
                hint=f"chmod 600 {self.path}",
            )
        try:
            return [Token(**entry) for entry in json.loads(text)["tokens"]]
        except (ValueError, TypeError, KeyError):
            raise CredentialsError(
                f"{self.path} is damaged", hint="delete it and add the tokens again"
            ) from None

    def of(self, platform: str, host: str) -> list[Token]:
        """Tokens for one host of a platform."""
        return [t for t in self.all() if t.platform == platform and t.host == host]

    def put(self, token: Token) -> None:
        """Add a token, or replace the one with the same id."""
        self._write([*(t for t in self.all() if t.id != token.id), token])

    def update(self, token: Token, secret: Mapping[str, str], expires_at: float | None) -> Token:
        """Keep a renewed secret. A token that was withdrawn in the meantime stays withdrawn."""
        renewed = replace(token, secret=dict(secret), expires_at=expires_at)
        tokens = self.all()
        if any(t.id == token.id for t in tokens):
            self._write([renewed if t.id == token.id else t for t in tokens])
        return renewed

    def remove(self, token_id: str) -> Token:
        """Forget a token.

        Raises:
            CredentialsError: there is no token of that id.
        """
        tokens = self.all()
        for token in tokens:
            if token.id == token_id:
                self._write([t for t in tokens if t is not token])
                return token
        raise CredentialsError(
            f"there is no token {token_id!r}", hint="likewise auth list shows them"
        )

    def _write(self, tokens: list[Token]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        staged = self.path.with_name(f".tokens.{uuid.uuid4().hex[:8]}")
        entries = [{**t.shown(), "secret": dict(t.secret)} for t in tokens]
        handle = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump({"tokens": entries}, file, indent=2)
            file.flush()
            os.fsync(file.fileno())
        os.replace(staged, self.path)
