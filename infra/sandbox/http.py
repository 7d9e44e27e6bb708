"""Requests and answers: forms, tokens, ids, JSON and errors in the shape of Mastodon's."""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
from collections.abc import Mapping

from aiohttp import web

from infra.sandbox.oauth import OAuthError

__all__ = [
    "RefusedError",
    "as_json",
    "bearer",
    "flag",
    "form_fields",
    "html_page",
    "id_list",
    "raw_json",
    "record_number",
]

JSON = "application/json; charset=utf-8"


class RefusedError(Exception):
    """A call that is answered with an error in Mastodon's shape."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def raw_json(body: bytes, status: int = 200) -> web.Response:
    """An answer whose JSON is written already."""
    return web.Response(body=body, status=status, headers={"Content-Type": JSON})


def as_json(value: object, status: int = 200) -> web.Response:
    """An answer from a value."""
    return raw_json(json.dumps(value).encode(), status)


def html_page(title: str, body: str) -> web.Response:
    """A page for people; ``body`` is HTML."""
    text = f"<!doctype html><title>{title}</title><h1>{title}</h1>{body}"
    return web.Response(text=text, content_type="text/html")


def bearer(request: web.Request) -> str | None:
    """The access token of a call, from its header or query."""
    header = request.headers.get("Authorization", "")
    if header[:7].lower() == "bearer ":
        return header[7:].strip()
    return request.query.get("access_token")


async def form_fields(request: web.Request) -> dict[str, str]:
    """Fields of a form or JSON body; client credentials may come as HTTP Basic."""
    fields: dict[str, str] = {}
    if request.content_type == "application/json":
        try:
            raw = await request.json()
        except (json.JSONDecodeError, UnicodeDecodeError):
            raise OAuthError(400, "invalid_request", "The body is not JSON") from None
        given = raw.items() if isinstance(raw, dict) else ()
        fields = {k: "\n".join(v) if isinstance(v, list) else str(v) for k, v in given}
    else:
        form = await request.post()
        fields = {k: v for k, v in form.items() if isinstance(v, str)}
    fields = {**dict(request.query), **fields}
    header = request.headers.get("Authorization", "")
    if header[:6].lower() == "basic ":
        with contextlib.suppress(binascii.Error, UnicodeDecodeError):
            name, _, secret = base64.b64decode(header[6:]).decode().partition(":")
            fields |= {"client_id": name, "client_secret": secret}
    return fields


def record_number(text: str) -> int:
    """An id out of a path. Raises RefusedError (404)."""
    if not text.isdecimal() or len(text) > 19:
        raise RefusedError(404, "Record not found")
    return int(text)


def id_list(request: web.Request, most: int) -> list[int]:
    """The ``id[]`` parameters: unknown ids are left out of the answer, too many refuse it."""
    texts = dict.fromkeys([*request.query.getall("id[]", []), *request.query.getall("id", [])])
    if len(texts) > most:
        raise RefusedError(422, f"Validation failed: at most {most} ids, got {len(texts)}")
    return [int(text) for text in texts if text.isdecimal() and len(text) <= 19]


def flag(query: Mapping[str, str], name: str) -> bool:
    """Whether a query parameter says yes."""
    return query.get(name, "").lower() in ("1", "true", "t", "on", "yes")
