"""Row counts of a stage: rows in, rows dropped under named reasons, rows out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from likewise.errors import LikewiseError

__all__ = ["Funnel"]


@dataclass(frozen=True, slots=True)
class Funnel:
    """What a stage did with its rows.

    ``rows_in - sum(dropped.values()) == rows_out`` holds by construction: a stage that loses rows
    without a name raises LikewiseError, since that is a bug and not data.
    """

    stage: str
    unit: str
    rows_in: int
    rows_out: int
    dropped: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        lost = self.rows_in - self.rows_out - sum(self.dropped.values())
        if lost or min(self.dropped.values(), default=0) < 0:
            raise LikewiseError(
                f"stage {self.stage}: {self.rows_in} {self.unit} in, {dict(self.dropped)} dropped, "
                f"{self.rows_out} out: {lost} rows have no named reason",
                hint="this is a bug in the stage; please report it with logs/",
            )

    def to_dict(self) -> dict[str, Any]:
        """The funnel as plain JSON types, reasons in falling order of their counts."""
        ordered = sorted(self.dropped.items(), key=lambda item: (-item[1], item[0]))
        return {
            "stage": self.stage,
            "unit": self.unit,
            "rows_in": self.rows_in,
            "dropped": {reason: count for reason, count in ordered if count},
            "rows_out": self.rows_out,
        }

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Funnel:
        """Inverse of ``to_dict``."""
        return cls(raw["stage"], raw["unit"], raw["rows_in"], raw["rows_out"], raw["dropped"])
