"""Pages as they were answered, kept as gzip JSON when ``keep_raw`` is on, secrets stripped."""

from __future__ import annotations

import copy
import gzip
import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from likewise.whole import write_bytes

if TYPE_CHECKING:
    from collectors.crawling.journal import StoredChain
    from collectors.platforms.base import Answer, Request

__all__ = ["keep", "stripped", "without"]

_IDS = ("id", "uri", "did")
_OWNERS = ("account", "author", "post", "owner")

_SECRET = re.compile(
    r"^(access_token|refresh_token|client_secret|app_secret|appsecret_proof|api_key|api_sig|"
    r"oauth_\w+|accessJwt|refreshJwt|password|sig|signature|token)$",
    re.IGNORECASE,
)


def stripped(value: Any) -> Any:
    """The same JSON without secrets: neither as keys nor in the query of any address."""
    if isinstance(value, dict):
        return {k: "(removed)" if _SECRET.match(k) else stripped(v) for k, v in value.items()}
    if isinstance(value, list):
        return [stripped(item) for item in value]
    if isinstance(value, str) and "?" in value and "://" in value[:12]:
        return _strip_address(value)
    return value


def _strip_address(address: str) -> str:
    try:
        parts = urlsplit(address)
        pairs = parse_qsl(parts.query, keep_blank_values=True, max_num_fields=100)
    except ValueError:
        return address
    if not any(_SECRET.match(name) for name, _ in pairs):
        return address
    kept = [(name, value) for name, value in pairs if not _SECRET.match(name)]
    return urlunsplit(parts._replace(query=urlencode(kept)))


def without(value: Any, ids: Collection[str]) -> Any:
    """The same JSON without the entries of these posts and authors; None for one of them."""
    if isinstance(value, dict):
        if any(str(value.get(name)) in ids for name in _IDS):
            return None
        # An entry whose account was left out is an entry of that account.
        kept = {k: without(v, ids) for k, v in value.items()}
        lost = any(kept[k] is None and value[k] is not None for k in _OWNERS if k in kept)
        return None if lost else kept
    if isinstance(value, list):
        found = [(item, without(item, ids)) for item in value]
        return [kept for item, kept in found if kept is not None or item is None]
    return value


def keep(
    folder: Path,
    at: StoredChain,
    request: Request,
    answer: Answer,
    left_out: Collection[str] = (),
) -> None:
    """Write one page as ``CHAIN/PAGE.json.gz``; the file is there whole or not at all.

    ``left_out`` are ids of posts and authors of whom nothing may be kept.
    """
    body = answer.body
    if isinstance(body, ET.Element):
        body = _as_text(body, left_out)
    content = {
        "path": request.path,
        "params": [list(pair) for pair in request.params],
        "status": answer.status,
        "received": answer.received,
        "body": without(body, left_out),
    }
    target = folder / f"{at.id:06d}" / f"{at.pages:08d}.json.gz"
    write_bytes(target, gzip.compress(json.dumps(stripped(content)).encode(), mtime=0))


def _as_text(root: ET.Element, left_out: Collection[str]) -> str:
    """An XML answer as text, without the entries of these posts and authors."""
    root = copy.deepcopy(root)
    for parent in root.iter():
        for child in list(parent):
            if any(child.get(name) in left_out for name in ("id", "owner", "nsid")):
                parent.remove(child)
    return ET.tostring(root, encoding="unicode")
