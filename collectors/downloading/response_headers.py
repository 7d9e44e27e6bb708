"""What a server says beside a picture: may it be used, is it packed, when to come again."""

from __future__ import annotations

import datetime as dt
import email.utils
import re
from collections.abc import Iterable

__all__ = ["FORBIDDING", "declined", "recoded", "seconds_to_wait"]

FORBIDDING = ("noai", "noimageai", "noindex", "noimageindex", "none")
"""Words of X-Robots-Tag by which a site declines such use of its pictures."""

_WITH_VALUE = frozenset(
    {"max-image-preview", "max-snippet", "max-video-preview", "unavailable_after"}
)
"""Rules with a value behind a colon; it forbids nothing (``max-image-preview: none``)."""

_OURS = frozenset({"*", "likewise"})

_CODINGS = frozenset(
    {"br", "compress", "dcb", "dcz", "deflate", "exi", "gzip", "pack200-gzip", "zstd"}
)
"""Codings that change the bytes (IANA's registry). What else stands there (``identity``, ``none``,
``binary``, ``utf-8``, ``aws-chunked``) is a mistake about another header."""

_DIGITS = re.compile(r"[0-9]+")


def declined(values: Iterable[str]) -> str | None:
    """The forbidding word of X-Robots-Tag lines that speaks to everybody or to likewise.

    A line is a list; each element may begin with the name of an agent. The name speaks of its own
    element: caches join lines by commas, so what follows may be meant for all, and in doubt the
    wish counts. Source: Google's description of the header; RFC 9110, section 5.3.
    """
    said: set[str] = set()
    for element in re.split(r"[,;]", ",".join(values).lower()):
        *agents, rules = re.split(r"\s*:\s*", element.strip())
        if agents and agents[-1] in _WITH_VALUE:
            continue
        if not agents or agents[-1].split("/")[0] in _OURS:
            said.update(rules.split())
    return next((word for word in FORBIDDING if word in said), None)


def recoded(values: Iterable[str]) -> bool:
    """Whether Content-Encoding lines name a coding that changes the bytes."""
    names = (name.strip().removeprefix("x-") for name in ",".join(values).lower().split(","))
    return any(name in _CODINGS for name in names)


def seconds_to_wait(value: str | None) -> float | None:
    """Seconds from a Retry-After header: a number or an HTTP date; None when unreadable."""
    text = (value or "").strip()
    if _DIGITS.fullmatch(text):
        return float(text)
    try:
        moment = email.utils.parsedate_to_datetime(text)
        moment = moment.replace(tzinfo=moment.tzinfo or dt.UTC)
        return max(0.0, (moment - dt.datetime.now(dt.UTC)).total_seconds())
    except (TypeError, ValueError, OverflowError, IndexError):
        return None
