"""The pictures that a request means: by its filter, with what reviews know; or one by its id."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Protocol

from fastapi import Depends, Path, Request

from web.index.filters import Filter, Order, asked_by
from web.index.reading import Found, Index
from web.problems import ProblemError
from web.snapshots import IndexDep, ServedDep, SnapshotDep

__all__ = ["List", "ListDep", "PictureId", "Reviewed", "there"]


PictureId = Annotated[
    str, Path(pattern="^[0-9a-f]{64}$", description="sha256 of the picture's bytes.")
]


class Reviewed(Protocol):
    """What the reviews' store tells about a study; it is asked through ``app.state.reviewed``."""

    def version(self, study: str) -> int:
        """Changes whenever ``pictures`` does."""

    def pictures(self, study: str) -> frozenset[str]:
        """Ids of the pictures that have a review that stands."""


@dataclass(frozen=True, slots=True)
class List:
    """A filter's pictures in an order. ``which`` names the list: its cursors and ETags."""

    index: Index
    filter: Filter
    order: Order
    found: Found
    which: str


async def _list(
    request: Request,
    one: ServedDep,
    snapshot: SnapshotDep,
    index: IndexDep,
) -> List:
    """Look the list up.

    Raises:
        ProblemError: 422 for a model that is not there; 503 while the index is made.
    """
    asked, order = asked_by(request.url.query)
    if order.model is not None and order.model not in index.models:
        raise ProblemError(
            422, f"there are no scores of model {order.model!r}", hint=", ".join(index.models)
        )
    reviewed: Reviewed | None = getattr(request.app.state, "reviewed", None)
    version = 0
    if asked.reviewed is None or reviewed is None:
        pictures = index.find(asked, order)
    else:
        # In threads: the book is a database, which may be slow, locked or on another machine.
        version = await asyncio.to_thread(reviewed.version, one.name)
        rows = partial(_rows, index, reviewed, one.name)
        pictures = await asyncio.to_thread(index.find, asked, order, rows, version)
    which = f"{snapshot.id}/{asked.key}/{order.column}/{order.model}/{order.ascending}"
    if version:
        which += f"/{version}"
    return List(index, asked, order, pictures, which)


def _rows(index: Index, reviewed: Reviewed, study: str) -> list[int]:
    """Rows of the pictures that have a review that stands."""
    found = map(index.row_of, reviewed.pictures(study))
    return [row for row in found if row is not None]


ListDep = Annotated[List, Depends(_list)]


def there(index: Index, picture_id: str) -> dict[str, Any]:
    """What is known of the picture.

    Raises:
        ProblemError: 404, or 410 when it was deleted.
    """
    if index.is_hidden(picture_id):
        raise ProblemError(410, "this picture was deleted")
    found = index.picture(picture_id)
    if found is None:
        raise ProblemError(404, "there is no such picture in this study")
    known = found["split"] is not None
    in_sample = found["split"] != "test" if known else None
    found["opinions"] = [{**one, "in_sample": in_sample} for one in index.opinions(found["row"])]
    return found
