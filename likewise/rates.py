"""How long the stages took for an item, so that ``likewise plan`` can say what a run will cost."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from likewise.whole import write_json

if TYPE_CHECKING:
    from likewise.study import Study

__all__ = ["Rate", "note_rate", "rates"]

FILE = "rates.json"
LEAST = 16
"""Items below which a stage's start-up hides what an item costs."""


@dataclass(frozen=True, slots=True)
class Rate:
    """Wall seconds and bytes written of the last run, and its items."""

    seconds: float = 0.0
    bytes: int = 0
    items: int = 0

    def of(self, items: int) -> tuple[float | None, int | None]:
        """Seconds and bytes of so many items; None where no run is known."""
        if not self.items:
            return None, None
        return self.seconds / self.items * items, round(self.bytes / self.items * items)


def rates(study: Study) -> dict[str, Rate]:
    """The last known rate of each stage."""
    try:
        raw = json.loads((study.root / FILE).read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return {}
    return {stage: Rate(**rate) for stage, rate in raw.items()}


def note_rate(study: Study, stage: str, rate: Rate) -> None:
    """Remember what a run took, when it had enough items to tell."""
    if rate.items >= LEAST:
        known = {name: asdict(one) for name, one in rates(study).items()}
        write_json(study.root / FILE, {**known, stage: asdict(rate)})
