"""The best and the worst pictures, with what speaks for and against them on hover or click."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from training.galleries.picks import Pick
from training.report import heat
from training.report.context import Context, Section

__all__ = ["section"]


def section(context: Context, *, heat_maps: bool = True) -> Section:
    """Both galleries; what is missing is said."""
    chosen = context.galleries
    data: dict[str, Any] = {"galleries": chosen, "ends": [], "why_no_heat": None}
    if chosen is not None:
        data["heat_maps"] = heat_maps
        data["why_no_heat"] = heat.paint(context, chosen) if heat_maps else None
        data["ends"] = [
            {
                "id": "best",
                "title": f"Best {len(chosen.top)}",
                "cards": _cards(context, chosen.top),
            },
            {
                "id": "worst",
                "title": f"Worst {len(chosen.bottom)}",
                "cards": _cards(context, chosen.bottom),
            },
        ]
    return Section("galleries", "Best and worst pictures", "galleries.html", data)


def _cards(context: Context, picks: Sequence[Pick]) -> list[dict[str, Any]]:
    return [
        {
            "pick": one,
            "thumb": context.thumbs.square(one.picture_id),
            "heat": heat.key(one.picture_id),
        }
        for one in picks
    ]
