"""The rules of ``clean`` at their borders: what the condition says is asked of DuckDB."""

from __future__ import annotations

import datetime as dt
from typing import Any

import duckdb
import pytest

from filters.outliers import Bounds
from filters.posts import Audience, rules
from filters.rules import Rule, double, first_reason
from likewise.config import CleanSection

DAY = 86_400_000_000
NOW = 1_800_000_000_000_000
OPENED = int(dt.datetime(2004, 2, 1, tzinfo=dt.UTC).timestamp() * 1e6)

SETTINGS = CleanSection(
    min_age_days=30, max_gap_days=90, max_likes_per_follower=20, earliest=dt.date(2004, 2, 1)
)
BOUNDS = Bounds(
    "raw", 3.5, "mad", 500, 100, lower=50, upper=950, exact=True, n=9, kept=9, cut_low=0, cut_high=0
)

GOOD: dict[str, Any] = {
    "likes": 5, "created": NOW - 60 * DAY, "since": NOW - 60 * DAY, "collected": NOW,
    "read_at": NOW, "age_days": 60.0, "listed": "a", "audience": 100, "latest": 100,
}  # fmt: skip
"""A post that stays, microseconds since 1970."""

TYPES = {"listed": "VARCHAR", "age_days": "DOUBLE"}


def asked(
    of: Audience = "followers",
    bounds: Bounds | None = BOUNDS,
    settings: CleanSection = SETTINGS,
    **changed: object,
) -> str | None:
    """Why a post is dropped that is ``GOOD`` but for what is changed; None when it stays."""
    found = rules(settings, of, bounds)
    row = GOOD | changed
    names = ", ".join(f"CAST(${name} AS {TYPES.get(name, 'BIGINT')}) AS {name}" for name in row)
    query = f"SELECT {first_reason(found)} FROM (SELECT {names})"
    [[number]] = duckdb.execute(query, row).fetchall()
    return found[number - 1].reason if number else None


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({}, None),
        ({"likes": None}, "likes hidden"),
        ({"likes": -1}, "likes below zero"),
        ({"likes": 0}, None),
        ({"since": None, "age_days": None}, "date unknown"),
        ({"created": OPENED}, None),
        ({"created": OPENED - 1}, "dated before any platform opened"),
        ({"since": OPENED}, None),
        ({"since": OPENED - 1}, "dated before any platform opened"),
        ({"created": 0, "since": OPENED}, "dated before any platform opened"),
        ({"since": NOW + 1, "age_days": 0.0}, "dated after it was collected"),
        ({"since": NOW, "age_days": 0.0}, "younger than 30 days"),
        ({"created": NOW + DAY}, None),  # what a server saw earlier counts
        ({"age_days": 30.0}, None),
        ({"age_days": 29.999999}, "younger than 30 days"),
        ({"listed": None, "audience": None}, "author unknown"),
        ({"audience": None}, "followers unknown"),
        ({"audience": -1}, "followers below zero"),
        ({"audience": 0}, "zero followers"),
        ({"audience": 1, "likes": 20}, None),
        ({"audience": 1, "likes": 21}, "likes above 20 x followers"),
        ({"read_at": NOW - 90 * DAY}, None),
        ({"read_at": NOW - 90 * DAY - 1}, "followers read more than 90 days away"),
        ({"read_at": NOW + 90 * DAY}, None),
        ({"read_at": NOW + 90 * DAY + 1}, "followers read more than 90 days away"),
        ({"latest": 50}, None),
        ({"latest": 49}, "author's followers below the lower bound"),
        ({"latest": 950}, None),
        ({"latest": 951}, "author's followers above the upper bound"),
        ({"latest": None}, None),  # an unknown value fails no comparison
    ],
)
def test_borders(changed: dict[str, object], reason: str | None) -> None:
    assert asked(**changed) == reason


def test_the_first_reason_counts_and_settings_are_said() -> None:
    settings = SETTINGS.model_copy(
        update={"min_age_days": 7.5, "max_gap_days": 1.25, "max_likes_per_follower": 0.5}
    )
    assert asked(settings=settings, age_days=7.4, audience=0) == "younger than 7.5 days"
    near = {"read_at": NOW - round(1.25 * DAY)}
    assert asked(settings=settings, **near) is None
    assert asked(settings=settings, read_at=near["read_at"] - 1) == (
        "followers read more than 1.25 days away"
    )
    assert asked(settings=settings, likes=51) == "likes above 0.5 x followers"
    assert asked(settings=settings, likes=50) is None


def test_views_take_the_place_of_followers_in_words() -> None:
    assert asked("views", audience=0) == "zero views"
    assert asked("views", audience=None) == "views unknown"
    assert asked("views", latest=951) == "author's views above the upper bound"


def test_without_an_audience_authors_are_not_asked() -> None:
    assert len(rules(SETTINGS, "none", None)) == 6
    nobody = {"listed": None, "audience": None, "latest": None, "read_at": None}
    assert asked("none", None, **nobody) is None
    assert asked("none", None, **nobody, age_days=1.0) == "younger than 30 days"


def test_no_rule_drops_nothing_and_doubles_keep_their_last_bit() -> None:
    assert first_reason([]) == "0"
    sql = first_reason([Rule("a", "false"), Rule("b", "true"), Rule("c", "true")])
    assert duckdb.sql(f"SELECT {sql}").fetchall() == [(2,)]
    for value in (0.1, 1 / 3, 1e300, -5e-324, float("inf")):
        assert duckdb.sql(f"SELECT {double(value)}").fetchall() == [(value,)]
