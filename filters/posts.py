"""Which posts stay: the rules of ``clean`` as data.

A post is dropped under the first rule that holds. The bounds take one value an author, the latest
one known; likes are divided by the value that was read nearest to them. An unknown value fails no
comparison, as in SQL: what must be known has a rule of its own.
"""

from __future__ import annotations

import datetime as dt
from typing import Literal

from filters.outliers import Bounds
from filters.rules import Rule, double
from likewise.config import CleanSection

__all__ = ["Audience", "rules"]

DAY_US = 86_400_000_000

Audience = Literal["followers", "views", "none"]
"""What likes are divided by."""


def rules(settings: CleanSection, audience: Audience, bounds: Bounds | None) -> list[Rule]:
    """The rules in the order in which they are asked; ``bounds`` is None for the audience none.

    Conditions speak of ``likes``; ``created``, ``since`` (when the likes began to come),
    ``collected`` and ``read_at`` in microseconds since 1970; ``age_days``; ``listed``, null for an
    author who is not known at all; ``audience``, read nearest to the likes, and ``latest``.
    """
    opened = (settings.earliest - dt.date(1970, 1, 1)).days * DAY_US
    gap = round(settings.max_gap_days * DAY_US)
    of_post = [
        Rule("likes hidden", "likes IS NULL"),
        Rule("likes below zero", "likes < 0"),
        Rule("date unknown", "since IS NULL"),
        Rule("dated before any platform opened", f"since < {opened} OR created < {opened}"),
        Rule("dated after it was collected", "since > collected"),
        Rule(
            f"younger than {settings.min_age_days:g} days",
            f"age_days < {double(settings.min_age_days)}",
        ),
    ]
    if bounds is None:
        return of_post
    factor = settings.max_likes_per_follower
    return [
        *of_post,
        Rule("author unknown", "listed IS NULL"),
        Rule(f"{audience} unknown", "audience IS NULL"),
        Rule(f"{audience} below zero", "audience < 0"),
        Rule(f"zero {audience}", "audience = 0"),
        Rule(
            f"{audience} read more than {settings.max_gap_days:g} days away",
            f"abs(read_at - collected) > {gap}",
        ),
        Rule(f"likes above {factor:g} x {audience}", f"likes > {double(factor)} * audience"),
        Rule(f"author's {audience} below the lower bound", f"latest < {double(bounds.lower)}"),
        Rule(f"author's {audience} above the upper bound", f"latest > {double(bounds.upper)}"),
    ]
