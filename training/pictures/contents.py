"""What a picture shows, as far as plain detectors can tell: people in full and text.

Both are measures for comparing many pictures, not judgements about one.
"""

from __future__ import annotations

from functools import cache
from threading import get_ident
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["CONTENTS", "contents", "people", "text_area"]

CONTENTS = ("people", "text area")

SIDE = 256
PEOPLE_CONFIDENCE = 0.5


def contents(picture: NDArray[np.uint8]) -> dict[str, float]:
    """``people`` and ``text area`` of one (H, W, 3) RGB picture."""
    scale = SIDE / min(picture.shape[:2])
    size = (round(picture.shape[1] * scale), round(picture.shape[0] * scale))
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
    return {"people": float(people(small)), "text area": text_area(small)}


def people(rgb: NDArray[np.uint8]) -> int:
    """People seen from head to foot (Dalal and Triggs 2005, OpenCV's default detector).

    ``rgb`` is (H, W, 3); people below 128 pixels in height are not found.
    """
    bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
    _, margins = _walkers(get_ident()).detectMultiScale(bgr, winStride=(8, 8), scale=1.1)
    return int((np.asarray(margins, dtype=np.float64).ravel() > PEOPLE_CONFIDENCE).sum())


@cache
def _walkers(_thread: int) -> Any:
    """A detector for each thread: OpenCV does not promise that one may be shared."""
    detector = cv2.HOGDescriptor()
    detector.setSVMDetector(np.asarray(cv2.HOGDescriptor.getDefaultPeopleDetector(), np.float32))
    return detector


def text_area(rgb: NDArray[np.uint8]) -> float:
    """Share of the picture that lines of text cover, 0 ... 1.

    Strokes (morphological gradient, Otsu) are joined along the line; a joined region counts when
    it is wider than high, of a letter's height and densely filled with strokes.
    """
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    gradient = cv2.morphologyEx(grey, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
    level, strokes = cv2.threshold(gradient, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    if level < 24:
        return 0.0
    joined = cv2.morphologyEx(strokes, cv2.MORPH_CLOSE, np.ones((1, 9), np.uint8))
    n, regions, boxes, _ = cv2.connectedComponentsWithStats(joined)
    if n == 1:
        return 0.0
    _, _, width, height, area = boxes[1:].T.astype(np.float64)
    inked = np.bincount(regions.ravel(), strokes.ravel() > 0, minlength=n)[1:]
    tall = (height >= 6) & (height <= 0.15 * grey.shape[0])
    text = tall & (width >= 2.5 * height) & (area > 0.55 * width * height) & (inked > 0.4 * area)
    return float((width * height)[text].sum() / grey.size)
