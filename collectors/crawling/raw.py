"""Pages as they were answered, kept as gzip JSON when ``keep_raw`` is on, secrets stripped."""

from __future__ import annotations

import gzip
import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

if TYPE_CHECKING:
    from collectors.crawling.journal import StoredChain
    from collectors.platforms.base import Answer, Request

__all__ = ["keep", "stripped"]

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


def keep(folder: Path, at: StoredChain, request: Request, answer: Answer) -> None:
    """Write one page as ``CHAIN/PAGE.json.gz``; the file is there whole or not at all."""
    target = folder / f"{at.id:06d}" / f"{at.pages:08d}.json.gz"
    target.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "path": request.path,
        "params": [list(pair) for pair in request.params],
        "status": answer.status,
        "received": answer.received,
        "body": answer.body,
    }
    staged = target.with_suffix(".part")
    staged.write_bytes(gzip.compress(json.dumps(stripped(content)).encode(), mtime=0))
    os.replace(staged, target)
