"""Which pictures are meant: the filter and the order that a page's address holds."""

from __future__ import annotations

import datetime as dt
import hashlib
from dataclasses import dataclass
from typing import Annotated, Literal

from fastapi import Depends, Query
from pydantic import BaseModel, ConfigDict, Field, field_validator

__all__ = ["Filter", "FilterDep", "Order", "OrderDep"]

Sort = Literal["score", "ratio", "likes", "date", "disagreement", "uncertainty"]
Words = Annotated[list[str], Field(max_length=50)]
Count = Annotated[int | None, Field(ge=0, le=2**53)]
Share = Annotated[float | None, Field(ge=0, le=1, allow_inf_nan=False)]


class Filter(BaseModel):
    """Conditions that all have to hold; an empty one asks nothing.

    Several values of ``tag`` must all be there; of ``platform``, ``label``, ``split`` and
    ``class`` one of them.
    """

    model_config = ConfigDict(frozen=True, populate_by_name=True)

    tag: Words = Field([], description="Hashtags, without `#`.")
    platform: Words = Field([], description="Platforms.")
    label: Words = Field([], description="`good`, `bad`, or the number of a class.")
    class_: Words = Field([], alias="class", description="Classes.")
    split: Words = Field([], description="`train`, `validation` or `test`.")
    author: str | None = Field(None, max_length=300, description="Handle or id.")
    since: dt.date | None = Field(None, description="First day (UTC).")
    until: dt.date | None = Field(None, description="Last day (UTC).")
    min_audience: Count = Field(None, description="Least audience of the post.")
    max_audience: Count = Field(None, description="Largest audience of the post.")
    min_faces: Count = Field(None, description="Least faces.")
    max_faces: Count = Field(None, description="Most faces.")
    min_probability: Share = Field(None, description="Least probability of being liked.")
    max_probability: Share = Field(None, description="Largest probability of being liked.")
    reviewed: bool | None = Field(None, description="Whether a person has reviewed it.")

    @field_validator("*", mode="before")
    @classmethod
    def _no_blanks(cls, value: object) -> object:
        """A form sends every field; those left blank ask nothing."""
        if isinstance(value, list):
            return [one for one in value if one != ""]
        return None if value == "" else value

    @field_validator("tag", mode="after")
    @classmethod
    def _as_stored(cls, value: list[str]) -> list[str]:
        return [tag.strip().removeprefix("#").lower() for tag in value]

    @property
    def key(self) -> str:
        """The same for the same conditions, whatever their order."""
        parts = {k: sorted(v) if isinstance(v, list) else v for k, v in self._asked().items()}
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]

    @property
    def empty(self) -> bool:
        """Whether every picture is meant."""
        return not self._asked()

    def query(self) -> dict[str, list[str] | str]:
        """The conditions as an address holds them."""
        return {
            name: [str(one) for one in value]
            if isinstance(value, list)
            else str(value).lower()
            if isinstance(value, bool)
            else str(value)
            for name, value in self._asked().items()
        }

    def _asked(self) -> dict[str, object]:
        return {k: v for k, v in self.model_dump(by_alias=True).items() if v not in (None, [])}


@dataclass(frozen=True, slots=True)
class Order:
    """What is sorted by; ``model`` is whose score where that is asked, None the published one."""

    sort: Sort = "score"
    ascending: bool = False
    model: str | None = None

    @property
    def column(self) -> str:
        """Name of the array of the index."""
        return f"score:{self.model}" if self.sort == "score" and self.model else self.sort


async def _filter(query: Annotated[Filter, Query()]) -> Filter:
    return query


async def _order(
    sort: Sort = "score",
    order: Annotated[Literal["desc", "asc"], Query(description="Largest or smallest first.")] = (
        "desc"
    ),
    model: Annotated[str | None, Query(max_length=200, description="Whose score.")] = None,
) -> Order:
    return Order(sort, order == "asc", model or None)


FilterDep = Annotated[Filter, Depends(_filter)]
OrderDep = Annotated[Order, Depends(_order)]
