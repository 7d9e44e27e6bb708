"""Open licences as the platforms name them, under one set of codes.

The codes are those of Openverse: ``cc0`` and ``pdm`` (public domain), and the six Creative Commons
licences. Sources: creativecommons.org/about/cclicenses, creativecommons.org/publicdomain.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from likewise.errors import ConfigError

__all__ = ["CODES", "OPEN", "checked", "label_of", "of_url", "text_code", "url_of"]

CODES = ("cc0", "pdm", "by", "by-sa", "by-nc", "by-nd", "by-nc-sa", "by-nc-nd")

OPEN = ("cc0", "pdm", "by", "by-sa")
"""Licences that allow every use and every change; the others stay out unless asked for."""

_URL = re.compile(
    r"^(?:https?:)?//(?:www\.)?creativecommons\.org/(?:licenses|publicdomain)/"
    r"([a-z-]+)/(\d\.\d)(?:/|$|[?#])",
    re.IGNORECASE,
)
_PUBLIC_DOMAIN = {"zero": "cc0", "mark": "pdm"}
_TEXT = re.compile(r"^cc[- ](by(?:-(?:nc|nd|sa))*)(?:[- ](\d\.\d))?(?:$|[- ,])", re.IGNORECASE)


def checked(codes: Iterable[str]) -> list[str]:
    """Licences as somebody wrote them, lower case, each once.

    Raises:
        ConfigError: one is no licence, or there is none.
    """
    found = list(dict.fromkeys(code.strip().lower() for code in codes if code.strip()))
    for code in found:
        if code not in CODES:
            raise ConfigError(
                f"licences: there is no licence {code!r}", hint=f"known: {', '.join(CODES)}"
            )
    if not found:
        raise ConfigError("licences: none is named", hint=f"known: {', '.join(CODES)}")
    return found


def of_url(url: str | None) -> tuple[str, str] | None:
    """(code, version) that an address of creativecommons.org names; None for any other."""
    match = _URL.match(url or "")
    if match is None:
        return None
    name = match[1].lower()
    code = _PUBLIC_DOMAIN.get(name, name)
    return (code, match[2]) if code in CODES else None


def text_code(text: str | None) -> tuple[str, str | None] | None:
    """(code, version) of a short name such as ``cc-by-sa-4.0``, ``cc0`` or ``pd``; else None."""
    name = (text or "").strip().lower()
    if name in {"cc0", "cc-zero", "cc0-1.0", "cc0 1.0"}:
        return "cc0", "1.0"
    if name in {"pd", "pdm", "public domain"} or name.startswith("pd-"):
        return "pdm", None
    match = _TEXT.match(name)
    return (match[1], match[2]) if match is not None and match[1] in CODES else None


def url_of(code: str, version: str | None) -> str | None:
    """Address of a licence's text; None without a version."""
    if version is None:
        return None
    names = {"cc0": "publicdomain/zero", "pdm": "publicdomain/mark"}
    return f"https://creativecommons.org/{names.get(code, f'licenses/{code}')}/{version}/"


def label_of(code: str, version: str | None) -> str:
    """The name that people know: ``CC BY-SA 4.0``, ``CC0 1.0``, ``Public Domain Mark``."""
    names = {"cc0": "CC0", "pdm": "Public Domain Mark"}
    name = names.get(code, f"CC {code.upper()}")
    return f"{name} {version}" if version else name
