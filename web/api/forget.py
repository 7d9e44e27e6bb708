"""Forgetting a person: what would be deleted, and the deletion."""

from __future__ import annotations

import pyarrow.compute as pc
from fastapi import APIRouter
from pydantic import BaseModel, Field

from collectors.crawling.erase import Doomed, pictures_of
from collectors.forget import forget
from likewise.study import Study
from likewise.tables import AUTHOR_KEY, TABLES
from web.problems import ProblemError, responses
from web.snapshots import ServedDep

__all__ = ["router"]

router = APIRouter(prefix="/api/v1", tags=["people"])

BY_PICTURE = ("pictures", "faces", "features", "reviews")
"""Tables that know a picture, not its author."""


class Asked(BaseModel):
    """Whom to forget."""

    platform: str = Field(max_length=100)
    host: str = Field(max_length=300)
    author_id: str = Field(max_length=300)
    dry_run: bool = Field(True, description="Count only; delete nothing.")
    confirm: str = Field("", max_length=300, description="The author's id once more, to delete.")


class Forgotten(BaseModel):
    """Rows by table that were, or would be, deleted."""

    dry_run: bool
    rows: dict[str, int]


@router.post("/forget", responses=responses(404, 409, 410))
def forget_author(one: ServedDep, asked: Asked) -> Forgotten:
    """Delete one person everywhere in the study, or count what that would delete."""
    key = {"platform": asked.platform, "host": asked.host, "author_id": asked.author_id}
    study = Study.open(one.root)
    rows = _counted(study, key)
    if not sum(rows.values()):
        raise ProblemError(404, "nobody in this study has this id")
    if asked.dry_run:
        return Forgotten(dry_run=True, rows=rows)
    if asked.confirm != asked.author_id:
        raise ProblemError(409, "`confirm` is not the author's id", hint="send the id once more")
    erased = forget(study, asked.author_id, host=asked.host)
    one.hide_deleted(Study.open(one.root))  # at once, before the next look at the tables
    return Forgotten(dry_run=False, rows=erased)


def _counted(study: Study, key: dict[str, str]) -> dict[str, int]:
    """Rows of the newest tables, with those of pictures that only this person has posted."""
    rule = None
    for name in AUTHOR_KEY:
        one = pc.field(name) == key[name]
        rule = one if rule is None else rule & one
    rows: dict[str, int] = {}
    pictures = pictures_of(study, Doomed(key["platform"], key["host"], [key["author_id"]]))
    for name, spec in TABLES.items():
        if study.manifest(name) is None:
            continue
        if set(AUTHOR_KEY) <= set(spec.schema.names):
            rows[name] = study.dataset(name).count_rows(filter=rule)
        elif name in BY_PICTURE and pictures:
            mine = pc.field("picture_id").isin(sorted(pictures))
            rows[name] = study.dataset(name).count_rows(filter=mine)
    return rows
