"""Heat maps of the galleries, put among the page's thumbnails."""

from __future__ import annotations

from likewise.errors import UsageError
from training.explanation import heatmaps
from training.galleries.picks import Galleries
from training.pictures import thumbnails
from training.report.context import Context

__all__ = ["key", "paint"]


def key(picture_id: str) -> str:
    """Key of a picture's heat map among the thumbnails."""
    return f"heat:{picture_id}"


def paint(context: Context, galleries: Galleries) -> str | None:
    """Make all heat maps; return why there are none, or None."""
    scorer = context.scorer
    if scorer is None:
        return f"the model {galleries.model} is no longer among the saved models"
    towards = {one.picture_id: 0 for one in galleries.bottom}
    towards |= {one.picture_id: 1 for one in galleries.top}
    side = context.thumbs.side
    try:
        for picture_id, rgb in heatmaps.overlays(context.study, scorer, towards, side=side):
            shown = context.thumbs.veiled(picture_id, rgb)
            context.thumbs.give(key(picture_id), thumbnails.square(shown, side))
    except UsageError as error:  # also missing weights and a features table of another width
        return str(error)
    return None
