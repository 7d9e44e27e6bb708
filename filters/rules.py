"""Rules as data: named reasons and the SQL conditions under which they hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["Rule", "double", "first_reason"]


class Rule(NamedTuple):
    """A named reason to drop a row; ``holds`` is a condition that DuckDB and Spark both know."""

    reason: str
    holds: str


def first_reason(rules: Sequence[Rule]) -> str:
    """SQL for the number, from 1, of the first of the rules that holds; 0 when none does."""
    cases = " ".join(f"WHEN {rule.holds} THEN {n}" for n, rule in enumerate(rules, start=1))
    return f"CASE {cases} ELSE 0 END" if rules else "0"


def double(value: float) -> str:
    """SQL for a double, to the last bit: a plain literal would be a decimal in both engines."""
    return f"CAST('{float(value)!r}' AS DOUBLE)"
