"""Contact sheets: the pictures of a gallery in one PNG, numbered, with probability and ratio."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from training.galleries.picks import Pick

__all__ = ["contact_sheet"]

COLUMNS = 5
GAP = 16
CAPTION = 30
HEADING = 64
PAPER = (255, 255, 255)
INK = (28, 31, 36)
QUIET = (94, 101, 112)
EMPTY = (228, 230, 234)


def contact_sheet(
    title: str,
    picks: Sequence[Pick],
    pictures: Mapping[str, NDArray[np.uint8]],
    path: Path,
    *,
    side: int = 240,
) -> None:
    """Write ``picks`` as a PNG of five columns.

    ``pictures`` maps picture_id to a (side, side, 3) RGB square; a picture that is missing is a
    grey field, so the numbering stays.
    """
    rows = max(1, -(-len(picks) // COLUMNS))
    size = (
        GAP + COLUMNS * (side + GAP),
        HEADING + rows * (side + CAPTION + GAP),
    )
    sheet = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(sheet)
    large, small = ImageFont.load_default(24), ImageFont.load_default(15)
    draw.text((GAP, 20), title, fill=INK, font=large)
    for number, one in enumerate(picks):
        left = GAP + number % COLUMNS * (side + GAP)
        top = HEADING + number // COLUMNS * (side + CAPTION + GAP)
        if one.picture_id in pictures:
            sheet.paste(Image.fromarray(pictures[one.picture_id]), (left, top))
        else:
            draw.rectangle((left, top, left + side - 1, top + side - 1), fill=EMPTY)
        sure = "" if one.probability is None else f"p {one.probability:.2f}   "
        caption = f"{number + 1}   {sure}likes/followers {one.ratio:.3g}"
        draw.text((left, top + side + 6), caption, fill=QUIET, font=small)
    sheet.save(path, optimize=False)
