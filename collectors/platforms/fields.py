"""Tolerant readers of single fields: whatever a server sends, the answer fits the tables.

A value that makes no sense becomes None and is counted by name; nothing raises.
"""

from __future__ import annotations

import datetime as dt
import html
import re
from collections.abc import Mapping
from typing import Any

from collectors.platforms.records import Oddities

__all__ = [
    "count",
    "flag",
    "hashtags",
    "identifier",
    "listed",
    "moment",
    "plain",
    "side",
    "strip_html",
    "table",
    "url",
]

_CONTROL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufeff]"
)
_BREAK = re.compile(r"<br\s*/?>|</p>\s*<p[^>]*>", re.IGNORECASE)
_ELEMENT = re.compile(r"<[^>]*>")
_ADDRESS = re.compile(r"https?://[^\s/?#]+([/?#]\S*)?$", re.IGNORECASE)
_HASHTAG = re.compile(r"#(\w+)")
_LARGEST = 2**63 - 1
_EARLIEST = dt.datetime(2000, 1, 1, tzinfo=dt.UTC)
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def table(value: Any) -> Mapping[str, Any]:
    """``value`` when it is a JSON object, else an empty one."""
    return value if isinstance(value, dict) else {}


def listed(value: Any) -> list[Any]:
    """``value`` when it is a JSON array, else an empty one."""
    return value if isinstance(value, list) else []


def identifier(value: Any) -> str | None:
    """An id as text, whatever its length; None when it is empty or no id at all."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    return plain(str(value))


def plain(value: Any, oddities: Oddities | None = None) -> str | None:
    """Text without control, direction and half characters; None when nothing is left."""
    if not isinstance(value, str):
        return None
    if not value.isprintable():
        value, removed = _CONTROL.subn("", value)
        if removed and oddities is not None:
            oddities["control_characters"] += 1
    return value.strip() or None


def strip_html(value: Any, oddities: Oddities | None = None) -> str | None:
    """The plain text of an HTML fragment as Mastodon sends it."""
    if not isinstance(value, str):
        return None
    return plain(html.unescape(_ELEMENT.sub("", _BREAK.sub("\n", value))), oddities)


def count(value: Any, name: str, oddities: Oddities) -> int | None:
    """A count; None when it is absent, hidden, negative or no number."""
    if value is None or value == "":
        return None
    try:
        number = int("a flag" if isinstance(value, bool) else value)
    except (TypeError, ValueError, OverflowError):
        oddities[f"{name}_not_a_number"] += 1
        return None
    if 0 <= number <= _LARGEST:
        return number
    oddities[f"{name}_negative" if number < 0 else f"{name}_too_large"] += 1
    return None


def side(value: Any) -> int | None:
    """A width or height in pixels; None when it is absent or no such thing."""
    number = count(value, "side", Oddities())
    return number if number is not None and 0 < number < 2**31 else None


def flag(value: Any) -> bool | None:
    """A JSON boolean; None for anything else."""
    return value if isinstance(value, bool) else None


def moment(value: Any, name: str, oddities: Oddities) -> int | None:
    """Microseconds since 1970 from ISO 8601 text or epoch seconds.

    Times before 2000 (platforms write 1970 for "unknown") and later than tomorrow are None.
    """
    if value is None or value == "":
        return None
    when = _parsed(value)
    tomorrow = dt.datetime.now(dt.UTC) + dt.timedelta(days=1)
    if when is None or not _EARLIEST <= when <= tomorrow:
        oddities[f"{name}_implausible"] += 1
        return None
    return (when - _EPOCH) // dt.timedelta(microseconds=1)


def _parsed(value: Any) -> dt.datetime | None:
    try:
        if isinstance(value, int | float) or str(value).isdigit():
            return _EPOCH + dt.timedelta(seconds=float(value))
        when = dt.datetime.fromisoformat(str(value))
        return when.astimezone(dt.UTC) if when.tzinfo else when.replace(tzinfo=dt.UTC)
    except (ValueError, OverflowError):
        return None


def url(value: Any) -> str | None:
    """An http(s) address without control characters; None for anything else."""
    text = plain(value)
    return text if text is not None and _ADDRESS.match(text) else None


def hashtags(text: str | None) -> list[str]:
    """Hashtags of a caption, lower case, in order, each once."""
    found = _HASHTAG.findall(text or "")
    return list(dict.fromkeys(tag.lower() for tag in found))
