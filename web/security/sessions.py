"""The one cookie: a random id, and who logged in; signed, so that nobody makes their own."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from typing import Any

from itsdangerous import BadSignature, URLSafeTimedSerializer

__all__ = ["COOKIE", "Session", "Sessions"]

COOKIE = "likewise"
SECONDS = 30 * 24 * 3600
"""A session ends a month after its login."""


@dataclass(frozen=True, slots=True)
class Session:
    """``id`` is random; ``user`` is who logged in, None where nobody has to."""

    id: str
    user: str | None = None


class Sessions:
    """Reads and writes the cookie, and makes the CSRF token that belongs to it."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._signer = URLSafeTimedSerializer(secret, salt="session")

    def read(self, cookie: str | None) -> Session | None:
        """The session of a cookie; None without one, or when it is forged or too old."""
        if not cookie:
            return None
        try:
            found: Any = self._signer.loads(cookie, max_age=SECONDS)
            return Session(str(found["id"]), found.get("user"))
        except (BadSignature, KeyError, AttributeError, TypeError):
            return None

    def new(self, user: str | None = None) -> Session:
        """A session with a new id: that of before a login must not go on."""
        return Session(secrets.token_urlsafe(16), user)

    def header(self, session: Session, *, secure: bool) -> str:
        """The ``Set-Cookie`` header."""
        value = self._signer.dumps({"id": session.id, "user": session.user})
        assert isinstance(value, str)
        flags = "; Secure" if secure else ""
        return f"{COOKIE}={value}; Path=/; HttpOnly; SameSite=Lax; Max-Age={SECONDS}{flags}"

    def csrf(self, session: Session) -> str:
        """The token that pages of this session carry, and no other site can know."""
        made = hmac.new(self._secret, b"csrf:" + session.id.encode(), hashlib.sha256)
        return made.hexdigest()[:32]

    def csrf_right(self, session: Session, token: str) -> bool:
        """Whether the token is this session's."""
        return hmac.compare_digest(self.csrf(session).encode(), token.encode("utf-8", "replace"))
