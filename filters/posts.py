"""Which posts stay: the rules of ``clean`` over whole columns.

A post is dropped under the first reason that holds, in the order of ``reasons``. The bounds take
one value an author, the latest one known; likes are divided by the value that was read nearest to
them. An unknown value fails no comparison: what must be known has a reason of its own.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from filters.columns import numbers
from filters.hashing import key_hashes
from filters.outliers import Bounds
from filters.readings import Readings
from likewise.config import CleanSection

__all__ = ["AUTHOR_KEY", "Audience", "Judged", "Known", "judge", "reasons"]

AUTHOR_KEY = ("platform", "host", "author_id")
DAY_US = 86_400_000_000

Audience = Literal["followers", "views", "none"]
"""What likes are divided by."""

Flags = NDArray[np.bool_]
Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of the authors: their readings, and who of them is ordinary."""

    readings: Readings
    rule: Bounds


@dataclass(frozen=True, slots=True)
class Judged:
    """``reason`` (n,): 0 for posts that stay, else the number, from 1, of one of ``reasons``.

    The other columns are those that ``kept_posts`` has and ``posts`` has not, each of length n.
    """

    reason: NDArray[np.uint8]
    followers: pa.Array
    followers_at: pa.Array
    age_days: pa.Array
    robust_z: pa.Array


def reasons(settings: CleanSection, audience: Audience) -> list[str]:
    """Names of the rules, in the order in which they are asked."""
    names = [
        "likes hidden",
        "likes below zero",
        "date unknown",
        "dated before any platform opened",
        "dated after it was collected",
        f"younger than {settings.min_age_days:g} days",
    ]
    if audience == "none":
        return names
    return [
        *names,
        "author unknown",
        f"{audience} unknown",
        f"{audience} below zero",
        f"zero {audience}",
        f"{audience} read more than {settings.max_gap_days:g} days away",
        f"likes above {settings.max_likes_per_follower:g} x {audience}",
        f"author's {audience} below the lower bound",
        f"author's {audience} above the upper bound",
    ]


def judge(
    posts: pa.RecordBatch, settings: CleanSection, audience: Audience, known: Known | None
) -> Judged:
    """Judge rows of the table ``posts``; ``known`` is None when the audience is ``none``."""
    rows = posts.num_rows
    age_days, holds = _of_posts(posts, settings)
    reading = _unread(rows)
    if known is not None:
        reading, more = _of_authors(posts, settings, audience, known)
        holds += more
    reason = np.zeros(rows, np.uint8)
    for number in range(len(holds), 0, -1):
        reason[holds[number - 1]] = number
    return Judged(
        reason,
        pa.array(reading.followers, mask=~reading.known),
        pa.array(reading.at, mask=~reading.known).cast(pa.timestamp("us", tz="UTC")),
        pa.array(age_days, mask=np.isnan(age_days)),
        pa.array(reading.z, mask=np.isnan(reading.z)),
    )


def _of_posts(
    posts: pa.RecordBatch, settings: CleanSection
) -> tuple[NDArray[np.float64], list[Flags]]:
    """Age in days, NaN when unknown, and the rules about the post alone."""
    likes, counted = numbers(posts.column("likes"))
    created, has_created = numbers(posts.column("created_at"))
    indexed, has_indexed = numbers(posts.column("indexed_at"))
    collected, has_collected = numbers(posts.column("collected_at"))
    since, dated = np.where(has_indexed, indexed, created), has_indexed | has_created
    age_days = np.where(dated & has_collected, (collected - since) / DAY_US, np.nan)
    opened = _midnight(settings.earliest)
    return age_days, [
        ~counted,
        counted & (likes < 0),
        ~dated,
        (dated & (since < opened)) | (has_created & (created < opened)),
        dated & has_collected & (since > collected),
        age_days < settings.min_age_days,
    ]


def _midnight(day: dt.date) -> int:
    """Start of a day (UTC) in microseconds since 1970."""
    return (day - dt.date(1970, 1, 1)).days * DAY_US


@dataclass(frozen=True, slots=True)
class _Reading:
    """The followers that each post's likes are divided by, and the z-score of its author."""

    followers: Integers
    at: Integers
    known: Flags
    z: NDArray[np.float64]


def _unread(rows: int) -> _Reading:
    nothing = np.zeros(rows, np.int64)
    return _Reading(nothing, nothing, np.zeros(rows, np.bool_), np.full(rows, np.nan))


def _of_authors(
    posts: pa.RecordBatch, settings: CleanSection, audience: Audience, known: Known
) -> tuple[_Reading, list[Flags]]:
    """The reading nearest to each post, and the rules about its author."""
    rule = known.rule
    author = known.readings.find(*key_hashes([posts.column(name) for name in AUTHOR_KEY]))
    here = np.flatnonzero(author >= 0)
    latest = np.full(author.size, np.nan)
    latest[here] = known.readings.latest(author[here])
    z = np.where(latest > 0, rule.z(np.where(latest > 0, latest, 1.0)), np.nan)
    if audience == "followers":
        collected, _ = numbers(posts.column("collected_at"))
        reading = _nearest(known.readings, author, here, collected, z)
        count, counted = reading.followers, reading.known
        gap = np.abs(reading.at - collected)
    else:
        reading = replace(_unread(author.size), z=z)
        count, counted = numbers(posts.column("views"))
        gap = np.zeros(author.size, np.int64)
    likes, liked = numbers(posts.column("likes"))
    return reading, [
        author < 0,
        ~counted,
        counted & (count < 0),
        counted & (count == 0),
        counted & (gap > settings.max_gap_days * DAY_US),
        counted & liked & (likes > count * settings.max_likes_per_follower),
        latest < rule.lower,
        latest > rule.upper,
    ]


def _nearest(
    readings: Readings, author: Integers, here: Integers, at: Integers, z: NDArray[np.float64]
) -> _Reading:
    """The reading nearest to ``at`` of the authors that are known, at the rows ``here``."""
    found = readings.nearest(author[here], at[here])
    here, found = here[found >= 0], found[found >= 0]
    reading = _unread(author.size)
    followers, moments, known = reading.followers, reading.at.copy(), reading.known
    followers[here], moments[here], known[here] = readings.count[found], readings.at[found], True
    return _Reading(followers, moments, known, z)
