"""The best and the worst pictures, with what speaks for and against them on hover or click."""

from __future__ import annotations

from typing import Any

from training.galleries.picks import Galleries
from training.report import heat
from training.report.context import Context, Section

__all__ = ["section"]


def section(context: Context, *, heat_maps: bool = True) -> Section:
    """Both galleries; what is missing is said."""
    chosen = context.galleries
    data: dict[str, Any] = {"galleries": chosen, "ends": [], "why_no_heat": None}
    if chosen is not None:
        data["heat_maps"] = heat_maps
        data["why_no_heat"] = _heat(context, chosen) if heat_maps else None
        data["ends"] = [
            {
                "id": "best",
                "title": f"Best {len(chosen.top)}",
                "cards": heat.cards(context, chosen.top),
            },
            {
                "id": "worst",
                "title": f"Worst {len(chosen.bottom)}",
                "cards": heat.cards(context, chosen.bottom),
            },
        ]
    return Section("galleries", "Best and worst pictures", "galleries.html", data)


def _heat(context: Context, chosen: Galleries) -> str | None:
    """Heat maps of both ends; why there are none, or None."""
    if context.scorer is None:
        return f"the model {chosen.model} is no longer among the saved models"
    towards = {one.picture_id: 0 for one in chosen.bottom}
    towards |= {one.picture_id: 1 for one in chosen.top}
    return heat.paint(context, context.scorer, towards)
