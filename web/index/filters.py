"""Which pictures are meant: the filter and the order that a page's address holds."""

from __future__ import annotations

import datetime as dt
import hashlib
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Annotated, Any, Literal
from urllib.parse import parse_qs

from fastapi import Depends, Query
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

__all__ = ["PARAMETERS", "Filter", "FilterDep", "Order", "OrderDep", "asked_by"]

Sort = Literal["score", "ratio", "likes", "date", "disagreement", "uncertainty"]
Words = Annotated[list[str], Field(max_length=50)]
Count = Annotated[int | None, Field(ge=0, le=2**53)]
Share = Annotated[float | None, Field(ge=0, le=1, allow_inf_nan=False)]


class Filter(BaseModel):
    """Conditions that all have to hold; an empty one asks nothing.

    Several values of ``tag`` must all be there; of ``platform``, ``label``, ``split``, ``class``
    and ``said`` one of them.
    """

    model_config = ConfigDict(frozen=True, populate_by_name=True)

    tag: Words = Field([], description="Hashtags, without `#`.")
    platform: Words = Field([], description="Platforms.")
    label: Words = Field([], description="`good`, `bad`, or the number of a class.")
    class_: Words = Field([], alias="class", description="Classes.")
    said: Words = Field([], description="Classes that the published model takes for the likeliest.")
    contradicted: bool | None = Field(
        None, description="Whether the published model takes another class for likelier."
    )
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

    @cached_property
    def key(self) -> str:
        """The same for the same conditions, whatever their order."""
        parts = {k: sorted(v) if isinstance(v, list) else v for k, v in self._asked().items()}
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]

    @cached_property
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


class _OrderQuery(BaseModel):
    """The order as a query holds it."""

    sort: Sort = Field("score", description="What is sorted by.")
    order: Literal["desc", "asc"] = Field("desc", description="Largest or smallest first.")
    model: str | None = Field(None, max_length=200, description="Whose score.")


MOST_FIELDS = 400
"""Values in one query; a browser's form has two dozen."""


@lru_cache(2048)
def asked_by(query: str) -> tuple[Filter, Order]:
    """Filter and order of a query string. Lists are asked for page by page with the same one, and
    FastAPI's own reading of twenty parameters takes longer than the page.

    Raises:
        RequestValidationError: a value is not valid, or there are too many.
    """
    try:
        found = parse_qs(query, keep_blank_values=True, max_num_fields=MOST_FIELDS)
    except ValueError as error:
        raise _invalid([{"type": "value_error", "loc": (), "msg": str(error)}]) from None
    values = {name: given if name in _LISTS else given[-1] for name, given in found.items()}
    try:
        order = _OrderQuery.model_validate(values)
        return Filter.model_validate(values), Order(
            order.sort, order.order == "asc", order.model or None
        )
    except ValidationError as error:
        raise _invalid([dict(one) for one in error.errors()]) from None


def _invalid(problems: list[dict[str, Any]]) -> RequestValidationError:
    return RequestValidationError([{**one, "loc": ("query", *one["loc"])} for one in problems])


_LISTS = frozenset({"tag", "platform", "label", "class", "said", "split"})
PARAMETERS = [
    {"name": name, "in": "query", "required": False, "schema": schema}
    for model in (Filter, _OrderQuery)
    for name, schema in model.model_json_schema()["properties"].items()
]
"""What ``asked_by`` reads, as OpenAPI describes it."""
