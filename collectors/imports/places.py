"""Where imported posts and pictures stand: a host of their own, and addresses inside the source.

An imported picture's address is ``import:PATH``, relative to the folder or archive that its host
stands for; ``?at=OFFSET&size=N`` points into an uncompressed tar file, ``?member=NAME`` into a zip
file. It is read for posts of imported hosts alone: a stranger's post that names such an address
gets nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlencode

__all__ = ["SCHEME", "address", "host_name", "is_imported", "parse", "roots"]

SCHEME = "import:"
SUFFIX = ".import"
"""No top-level domain has this name, so no server can be taken for an import."""


def host_name(name: str) -> str:
    """The host that stands for a source of this name: letters, digits and ``-`` only."""
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    return (plain or "source") + SUFFIX


def is_imported(host: str) -> bool:
    """Whether rows of this host came from ``likewise import``."""
    return host.endswith(SUFFIX)


def address(path: str | PurePosixPath, **where: int | str) -> str:
    """The address of a file in a source; ``where`` are ``at`` and ``size``, or ``member``."""
    query = f"?{urlencode(where)}" if where else ""
    return SCHEME + quote(str(path), safe="/") + query


def parse(text: str) -> tuple[str, dict[str, str]]:
    """Path and query of an address. Raises ValueError when it is none of ours."""
    if not text.startswith(SCHEME):
        raise ValueError(f"{text!r} is no imported address")
    path, _, query = text.removeprefix(SCHEME).partition("?")
    return unquote(path), {name: values[0] for name, values in parse_qs(query).items()}


def roots(extra: Mapping[str, Any]) -> dict[str, str]:
    """Host -> folder or archive, from what the table ``posts`` says about its imports."""
    return {host: str(about["root"]) for host, about in extra.get("imports", {}).items()}
