"""Heat maps of the galleries, put among the page's thumbnails."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from likewise.errors import UsageError
from training.explanation import heatmaps
from training.pictures import thumbnails
from training.report.context import Context

if TYPE_CHECKING:
    from training.models.classes import ClassScorer
    from training.models.saved import Scorer
    from training.tuning.saved import FinetunedScorer

__all__ = ["key", "paint"]


def key(picture_id: str) -> str:
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
            context.thumbs.give(key(picture_id), thumbnails.square(shown, side))
    except UsageError as error:  # also missing weights and a features table of another width
        return str(error)
    return None
