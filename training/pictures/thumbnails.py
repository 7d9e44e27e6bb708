"""Small copies of the few pictures that people look at; all other bytes stay on disk."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import cv2
import numpy as np

from filters.pictures.decode import PictureError, decode_rgb
from likewise.pictures import picture_bytes
from likewise.study import Study

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["decoded", "encode", "shrink", "square"]


def decoded(study: Study, sides: Mapping[str, int]) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """(picture_id, (H, W, 3) RGB) of each wanted picture that decodes.

    ``sides`` maps each picture_id to the short side in pixels that its copy will have: JPEG files
    are decoded at the smallest scale that keeps it.
    """
    for picture_id, data in picture_bytes(study, sides):
        try:
            yield picture_id, decode_rgb(data, min_side=sides[picture_id])
        except PictureError:
            continue


def square(rgb: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """The middle square of a picture, (side, side, 3): about what the networks are shown."""
    short = min(rgb.shape[:2])
    top, left = (rgb.shape[0] - short) // 2, (rgb.shape[1] - short) // 2
    return _resize(rgb[top : top + short, left : left + short], side, side)


def shrink(rgb: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """The whole picture with its long side at most ``side``."""
    scale = min(1.0, side / max(rgb.shape[:2]))
    height, width = (max(1, round(length * scale)) for length in rgb.shape[:2])
    return _resize(rgb, height, width)


def _resize(rgb: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    smaller = height < rgb.shape[0]
    how = cv2.INTER_AREA if smaller else cv2.INTER_CUBIC
    return cv2.resize(rgb, (width, height), interpolation=how).astype(np.uint8, copy=False)


def encode(rgb: NDArray[np.uint8], *, quality: int = 80) -> bytes:
    """The pixels as a WebP file, without any of the original's metadata."""
    bgr = cv2.cvtColor(np.ascontiguousarray(rgb), cv2.COLOR_RGB2BGR)
    return bytes(cv2.imencode(".webp", bgr, [cv2.IMWRITE_WEBP_QUALITY, quality])[1])
