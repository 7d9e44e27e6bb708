"""What a server says about an error, in its own words, without anything that may be a secret."""

from __future__ import annotations

import re
from typing import Any

__all__ = ["about_tokens", "quiet", "said"]

_LONG = re.compile(r"[A-Za-z0-9_\-.~+/=]{24,}")
"""Runs of characters that no sentence has: keys and tokens."""

_SHORTEST = 6
"""Shorter values are numbers of users and the like."""

_KEYS = ("error_description", "message", "error_message", "msg", "detail", "error", "title")
"""Where servers put their sentence, the most telling first."""

_TOKEN = re.compile(
    r"\b(invalid|expired|revoked|bad|malformed|missing|unknown|insufficient|no valid|"
    r"not authori[sz]ed)\b.{0,40}?"
    r"\b(access[ _-]?token|token|bearer|credentials?|scopes?|authori[sz]ation header)\b"
    r"|\b(access[ _-]?token|token|bearer|credentials?|session)\b.{0,40}?"
    r"\b(invalid|expired|revoked|malformed|not valid|not found|missing|required|disabled)\b"
    r"|\byour (login|account) (is|has|was)\b"
    r"|\b(authori[sz]ed|required|missing|insufficient)\b.{0,20}?\bscopes?\b"
    r"|\bscopes?\b.{0,20}?\b(missing|insufficient|required)\b"
    r"|\b(invalid_?token|expired_?token|insufficient_?scope|bad_?token_?scope|auth_?missing|"
    r"authentication_?required|unauthori[sz]ed)\b",
    re.IGNORECASE,
)


def said(body: Any, text: str = "") -> str:
    """The sentence in an error body (JSON), else ``text``, in which it came without one."""
    if isinstance(body, dict):
        for key in _KEYS:
            value = body.get(key)
            if isinstance(value, str) and value.strip():
                return value
            if isinstance(value, dict) and (inner := said(value)):
                return inner
        nested = (said(value) for value in body.values() if isinstance(value, dict))
        return next(filter(None, nested), text)
    return text


def quiet(text: str, *secrets: str) -> str:
    """A sentence on one line, at most 300 characters, without secrets and what looks like one."""
    hidden = (secret for secret in secrets if len(secret) >= _SHORTEST)
    for secret in sorted(hidden, key=len, reverse=True):
        text = text.replace(secret, "(removed)")
    text = _LONG.sub("(removed)", text)
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:300]


def about_tokens(text: str) -> bool:
    """Whether a sentence speaks of a token, or of its scopes, that is not good."""
    return _TOKEN.search(text) is not None
