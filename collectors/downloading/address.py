"""Addresses as they go over the wire: exactly as a post gives them.

Signatures are made over the very bytes of an address. Whoever writes ``%7E`` as ``~``, or the other
way round, asks for something that was never signed. So only what a request line cannot carry is
percent-encoded (blanks, control characters, letters beyond ASCII), as browsers do.
"""

from __future__ import annotations

import re
from urllib.parse import quote, urljoin

from yarl import URL

__all__ = ["as_given", "joined"]

_NOT_SENT = re.compile(r"[^\x21-\x7e]+")
_DROPPED = re.compile(r"[\t\r\n]")
_BEHIND_AUTHORITY = re.compile(r"[^/?#]*//[^/?#]*([^#]*)")
_ABSOLUTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")


def as_given(text: str) -> URL:
    """The address with path and query untouched; host names become ASCII (IDNA).

    Raises:
        ValueError: it is no address.
    """
    text = _DROPPED.sub("", text).strip()
    parsed = URL(text)
    behind = _BEHIND_AUTHORITY.match(text)
    plain = parsed.host and parsed.user is None and parsed.password is None
    if behind is None or not plain:
        return parsed  # nothing that the guard would let through
    path = _NOT_SENT.sub(lambda found: quote(_octets(found[0]), safe=""), behind[1])
    return URL(f"{parsed.origin()}{'' if path.startswith('/') else '/'}{path}", encoded=True)


def joined(base: URL, location: str) -> URL:
    """Where a ``Location`` header leads from ``base``.

    Raises:
        ValueError: it is no address.
    """
    location = _DROPPED.sub("", location).strip()
    if location.startswith("//"):
        location = f"{base.scheme}:{location}"
    elif location.startswith("/"):  # urljoin would take dots out of it
        location = f"{base.origin()}{location}"
    return as_given(location if _ABSOLUTE.match(location) else urljoin(str(base), location))


def _octets(text: str) -> bytes:
    """What a header's bytes were before they were read as text."""
    return text.encode("utf-8", "surrogateescape")
