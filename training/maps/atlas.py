"""Many thumbnails in few files: squares of one size, side by side in WebP pictures.

A browser keeps at most a few dozen pictures decoded, and a texture of more than 2,048 pixels a side
is refused or shrunk by small devices; so there are several atlases, and none is larger.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from likewise.whole import write_bytes
from training.pictures.thumbnails import encode, square

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["MAX_SIDE", "Layout", "layout", "write_atlases"]

MAX_SIDE = 2048
BACKGROUND = 128


@dataclass(frozen=True, slots=True)
class Layout:
    """``side`` pixels a thumbnail, ``across`` of them in a row, ``each`` in a full atlas."""

    n: int
    side: int

    @property
    def across(self) -> int:
        """Thumbnails in a row of an atlas."""
        return MAX_SIDE // self.side

    @property
    def each(self) -> int:
        """Thumbnails in a full atlas."""
        return self.across**2

    @property
    def atlases(self) -> int:
        """Number of files."""
        return -(-self.n // self.each)


def layout(n: int) -> Layout:
    """64 pixels a thumbnail, or 32 for more than 8,000 pictures: at most 13 atlases for 50,000."""
    return Layout(n, 64 if n <= 8000 else 32)


def write_atlases(
    folder: Path, pictures: Iterable[tuple[int, NDArray[np.uint8]]], plan: Layout
) -> int:
    """Write ``atlas-000.webp`` ... and return how many thumbnails are missing.

    Args:
        folder: where the files go; each appears whole.
        pictures: (number 0 ... n-1, (H, W, 3) RGB), in any order; what never comes stays grey.
        plan: from ``layout``. Memory is that of all thumbnails: 12 kB, or 3 kB each.
    """
    rows = -(-min(plan.n, plan.each) // plan.across)
    shape = (plan.atlases, rows * plan.side, min(plan.n, plan.across) * plan.side, 3)
    canvas = np.full(shape, BACKGROUND, np.uint8)
    seen = np.zeros(plan.n, bool)
    for number, rgb in pictures:
        atlas, place = divmod(number, plan.each)
        row, column = divmod(place, plan.across)
        top, left = row * plan.side, column * plan.side
        canvas[atlas, top : top + plan.side, left : left + plan.side] = square(rgb, plan.side)
        seen[number] = True
    for atlas in range(plan.atlases):
        write_bytes(folder / f"atlas-{atlas:03d}.webp", encode(canvas[atlas], quality=75))
    return int((~seen).sum())
