"""Rankings: pictures by filter and order, page by page; their number, and how they spread."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field
from starlette.responses import Response, StreamingResponse

from web.index.filters import PARAMETERS
from web.lists import List, ListDep
from web.problems import ProblemError, responses

__all__ = ["router"]

router = APIRouter(prefix="/api/v1", tags=["rankings"])

Cursor = Annotated[
    str | None, Query(max_length=400, description="`next` of the page before; the first page.")
]


class Card(BaseModel):
    """A picture as lists show it."""

    id: str = Field(description="sha256 of the picture's bytes.")
    platform: str
    author: str = Field(description="Handle, or id where there is none.")
    post: str | None = Field(description="Address of the post.")
    likes: int | None
    audience: int | None
    ratio: float | None = Field(description="Likes / audience, as labelled.")
    label: int | None = Field(description="1 liked more than the median, 0 less; or the class.")
    class_: str | None = Field(alias="class")
    faces: int | None
    score: float | None
    probability: float | None = Field(description="Calibrated, of being liked.")
    rank: int | None
    said: str | None = Field(description="Likeliest class by the published model.")
    certainty: float | None = Field(description="Its probability.")
    split: str | None = Field(description="`test`: the published model has not seen its author.")
    fold: int | None
    width: int | None
    height: int | None
    alt: str | None
    created_at: str | None


class Page(BaseModel):
    """Pictures, and where the list goes on."""

    snapshot: str
    at: int = Field(description="Number of the first item in the whole list, from 0.")
    items: list[Card]
    next: str | None = Field(description="Cursor of the page that follows.")


class Facet(BaseModel):
    """A value and how many pictures have it."""

    value: str
    count: int


class Counts(BaseModel):
    """How many pictures a filter means, exactly, and how they spread."""

    snapshot: str
    total: int
    all: int = Field(description="Pictures without any filter.")
    without_value: int = Field(description="Pictures that have nothing to sort by: they come last.")
    facets: dict[str, list[Facet]]


def tag_of(*parts: object) -> str:
    """A strong ETag of what names the answer."""
    return f'"{hashlib.sha256(repr(parts).encode()).hexdigest()[:20]}"'


def unchanged(request: Request, tag: str) -> Response | None:
    """304 when the client has this answer already."""
    known = request.headers.get("if-none-match", "")
    if tag in {one.strip() for one in known.split(",")}:
        return Response(status_code=304, headers={"ETag": tag, "Cache-Control": "no-cache"})
    return None


@router.get(
    "/rankings",
    openapi_extra={"parameters": PARAMETERS},
    response_model=Page,
    responses={304: {"description": "As it was."}, **responses(404, 410)},
)
async def rankings(
    request: Request,
    pictures: ListDep,
    cursor: Cursor = None,
    at: Annotated[
        int | None, Query(ge=0, le=2**31, description="Number to begin at, in place of a cursor.")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 60,
) -> Response:
    """One page of the pictures that the filter means."""
    # In the event loop on purpose: sixty rows by their numbers from a file that is in memory take
    # 0.2 ms, and the way to a thread and back takes longer.
    cursors = request.app.state.cursors
    found, index = pictures.found, pictures.index
    start = at or 0
    if cursor is not None:
        if at is not None:
            raise ProblemError(422, "give a cursor or `at`, not both")
        start = found.after(cursors.read(cursor, pictures.which))
    tag = tag_of(pictures.which, index.changes, start, limit)
    same = unchanged(request, tag)
    if same is not None:
        return same
    rows = found.rows[start : start + limit]
    cards = index.cards(rows) if len(rows) else []
    end = start + len(rows)
    following = (
        json.dumps(cursors.write(pictures.which, int(found.places[end - 1])))
        if len(rows) and end < len(found.rows)
        else "null"
    )
    # The cards are JSON already; a model would take them apart and put them together again.
    body = (
        f'{{"snapshot":"{request.state.snapshot.id}","at":{start},"items":[{",".join(cards)}],'
        f'"next":{following}}}'
    )
    headers = {"ETag": tag, "Cache-Control": "no-cache"}
    return Response(body, media_type="application/json", headers=headers)


@router.get(
    "/rankings/counts",
    openapi_extra={"parameters": PARAMETERS},
    response_model=Counts,
    responses={304: {"description": "As it was."}, **responses(404, 410)},
)
def counts(request: Request, pictures: ListDep) -> Any:
    """How many pictures the filter means, and how they spread over platforms, tags and so on."""
    index, found = pictures.index, pictures.found
    tag = tag_of("counts", pictures.which, index.changes)
    same = unchanged(request, tag)
    if same is not None:
        return same
    known = int(index.facts["known"][pictures.order.column])
    body = {
        "snapshot": request.state.snapshot.id,
        "total": len(found.rows),
        "all": index.n - index.hidden_count,
        "without_value": len(found.places) - int(np.searchsorted(found.places, known)),
        "facets": {
            name: [{"value": value, "count": count} for value, count in pairs]
            for name, pairs in index.facets(found).items()
        },
    }
    headers = {"ETag": tag, "Cache-Control": "no-cache"}
    return Response(json.dumps(body), media_type="application/json", headers=headers)


@router.get(
    "/rankings/export",
    openapi_extra={"parameters": PARAMETERS},
    response_class=StreamingResponse,
    responses={
        200: {"content": {"text/csv": {}, "application/x-ndjson": {}}},
        **responses(404, 410),
    },
)
def export(
    request: Request,
    pictures: ListDep,
    form: Annotated[Literal["csv", "ndjson"], Query(description="Kind of file.")] = "csv",
) -> Response:
    """All pictures that the filter means, in its order, as a file."""
    kind = "text/csv; charset=utf-8" if form == "csv" else "application/x-ndjson"
    name = f"{request.state.served.name}-{pictures.filter.key}.{form}"
    safe = "".join(c if c.isascii() and (c.isalnum() or c in "-._") else "_" for c in name)
    lines = _csv(pictures) if form == "csv" else _ndjson(pictures)
    headers = {"Content-Disposition": f'attachment; filename="{safe}"', "Cache-Control": "no-store"}
    return StreamingResponse(lines, media_type=kind, headers=headers)


AT_ONCE = 500


def _ndjson(pictures: List) -> Iterator[str]:
    for start in range(0, len(pictures.found.rows), AT_ONCE):
        cards = pictures.index.cards(pictures.found.rows[start : start + AT_ONCE])
        yield "".join(f"{card}\n" for card in cards)


def _csv(pictures: List) -> Iterator[str]:
    names = [field.alias or name for name, field in Card.model_fields.items()]
    yield ",".join(names) + "\r\n"
    for line in _ndjson(pictures):
        text = io.StringIO()
        writer = csv.writer(text)
        for card in line.splitlines():
            values = json.loads(card)
            writer.writerow([_cell(values[name]) for name in names])
        yield text.getvalue()


def _cell(value: Any) -> Any:
    """A value as a cell; a text that a spreadsheet would take for a formula is quoted."""
    if isinstance(value, str) and value[:1] in {"=", "+", "-", "@", "\t", "\r"}:
        return f"'{value}"
    return value
