"""Pictures of the galleries with their heat maps, put among the page's thumbnails."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from likewise.errors import UsageError
from training.explanation import heatmaps
from training.pictures import thumbnails
from training.report.context import Context

if TYPE_CHECKING:
    from training.galleries.class_gallery import ClassPick
    from training.galleries.picks import Pick
    from training.models.classes import ClassScorer
    from training.models.saved import Scorer
    from training.tuning.saved import FinetunedScorer

__all__ = ["cards", "paint"]


def cards(context: Context, picks: Sequence[Pick] | Sequence[ClassPick]) -> list[dict[str, Any]]:
    """What the templates show of each picture; its heat is there once it has been painted."""
    return [
        {"pick": one, "thumb": context.thumbs.square(one.picture_id), "heat": _key(one.picture_id)}
        for one in picks
    ]


def _key(picture_id: str) -> str:
    """Key of a picture's heat map among the thumbnails."""
    return f"heat:{picture_id}"


def paint(
    context: Context, scorer: Scorer | ClassScorer | FinetunedScorer, towards: Mapping[str, int]
) -> str | None:
    """Make the heat maps of these pictures; return why there are none, or None."""
    side = context.thumbs.side
    try:
        for picture_id, rgb in heatmaps.overlays(context.study, scorer, towards, side=side):
            shown = context.thumbs.veiled(picture_id, rgb)
            context.thumbs.give(_key(picture_id), thumbnails.square(shown, side))
    except UsageError as error:  # also missing weights and a features table of another width
        return str(error)
    return None
