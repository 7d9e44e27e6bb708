"""One picture, what every model says of it, and the pictures that are most like it."""

from __future__ import annotations

import json
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from web.api.rankings import Card
from web.lists import PictureId, there
from web.problems import ProblemError, responses
from web.snapshots import IndexDep

__all__ = ["router"]

router = APIRouter(prefix="/api/v1", tags=["pictures"])


class Box(BaseModel):
    """A face in pixels of the upright picture."""

    x: float
    y: float
    width: float
    height: float


class Score(BaseModel):
    """A score, and how it stands."""

    score: float
    probability: float | None = Field(description="Calibrated, of being liked.")
    percentile: float = Field(description="Share of the study's pictures below, 0 ... 1.")


class Said(Score):
    """What one model says of a picture."""

    model: str
    out_of_fold: Score | None = Field(
        description="The same by the fit that had left the picture's `fold` out: of a picture that "
        "the model was fitted on, this is the score to believe."
    )
    in_sample: bool | None = Field(
        description="Whether the model was fitted on this picture's author; such a score is too "
        "good to be believed. Null where that is not known."
    )


class Picture(Card):
    """Everything that is known of a picture."""

    host: str
    post_id: str
    media_index: int
    author_id: str
    rank_in_author: int | None
    age_days: float | None
    text: str | None
    tags: list[str] | None
    comments: int | None
    shares: int | None
    views: int | None
    format: str | None
    n_bytes: int | None
    fetched_at: str | None
    detector: str | None
    boxes: list[Box] | None
    confidences: list[float] | None
    opinions: list[Said]


class Neighbour(BaseModel):
    """A picture and how like it is."""

    similarity: float = Field(description="Cosine of the features, -1 ... 1.")
    picture: Card


class Neighbours(BaseModel):
    """The pictures most alike, nearest first, of all that have features."""

    layer: str
    backbone: str
    items: list[Neighbour]


@router.get("/pictures/{picture_id}", responses=responses(404, 410))
def picture(picture_id: PictureId, index: IndexDep) -> Picture:
    """One picture."""
    return Picture.model_validate(there(index, picture_id))


@router.get("/pictures/{picture_id}/neighbours", responses=responses(404, 410))
def neighbours(
    picture_id: PictureId,
    index: IndexDep,
    k: Annotated[int, Query(ge=1, le=100)] = 12,
) -> Neighbours:
    """The k pictures most alike: all are looked at, so none is missed."""
    row = there(index, picture_id)["row"]
    near = index.nearest(row, k)
    if near is None:
        raise ProblemError(
            404, "this picture has no features to compare", hint="likewise extract makes them"
        )
    cards = index.cards([one.row for one in near]) if near else []
    items = [
        Neighbour(similarity=one.similarity, picture=Card.model_validate(json.loads(card)))
        for one, card in zip(near, cards, strict=True)
    ]
    return Neighbours(
        layer=index.facts["layer"] or "", backbone=index.facts["backbone"] or "", items=items
    )
