"""The ``Link`` header (RFC 8288): where the next page is.

Servers write it in many ways: several header lines, ``rel`` quoted or not, several relations in
one ``rel``, other parameters before it, commas and semicolons inside the address.
"""

from __future__ import annotations

import re
from urllib.parse import parse_qs

__all__ = ["next_address", "next_id"]

_LINK = re.compile(
    r"""<(?P<address>[^>]*)>
        (?P<parameters>(?:\s*;\s*[^\s=;,"<>]+(?:\s*=\s*(?:"(?:[^"\\]|\\.)*"|[^\s",;<>]*))?)*)""",
    re.VERBOSE,
)
_PARAMETER = re.compile(
    r""";\s*(?P<name>[^\s=;,"<>]+)(?:\s*=\s*(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<bare>[^\s",;<>]*)))?""",
)


def next_address(header: str) -> str | None:
    """The address whose relations hold ``next``; None when there is none.

    Of a link's ``rel`` parameters the first one counts, and upper case is lower case.
    """
    for link in _LINK.finditer(header):
        for parameter in _PARAMETER.finditer(link["parameters"]):
            if parameter["name"].lower() != "rel":
                continue
            quoted = parameter["quoted"]
            text = parameter["bare"] or "" if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
            if "next" in text.lower().split():
                return str(link["address"]).strip()
            break
    return None


def next_id(header: str) -> tuple[bool, str | None]:
    """Whether there is a next page, and the ``max_id`` that its address carries."""
    address = next_address(header)
    if address is None:
        return False, None
    # Some servers escape the address as if it stood in a page.
    query = address.replace("&amp;", "&").partition("?")[2].partition("#")[0]
    return True, next(iter(parse_qs(query).get("max_id", [])), None)
