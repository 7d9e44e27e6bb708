"""Plain properties of a picture that need no network: brightness, colour, contrast, size.

They serve as a baseline of the comparison and as words for what a ranking goes by.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["PROPERTIES", "properties"]

PROPERTIES = (
    "brightness",
    "contrast",
    "saturation",
    "warmth",
    "colourfulness",
    "sharpness",
    "megapixels",
    "aspect",
)

SIDE = 128


def properties(
    picture: NDArray[np.uint8], *, width: int | None = None, height: int | None = None
) -> dict[str, float]:
    """Plain properties of one picture.

    Args:
        picture: (H, W, 3) RGB, upright; a reduced decode will do, all but the size are means.
        width: of the original in pixels, when ``picture`` is a reduced decode.
        height: of the original in pixels.

    Returns:
        brightness: mean luma, 0 ... 1 (BT.601).
        contrast: standard deviation of the luma, 0 ... 0.5.
        saturation: mean of HSV's S, 0 ... 1.
        warmth: mean of (red - blue), -1 ... 1.
        colourfulness: Hasler and Suesstrunk (2003), equation 4, on 0 ... 255 values; about 0
            (grey) to 110 (very colourful).
        sharpness: log10 of 1 + the variance of the Laplacian of the luma at 128 pixels a side.
        megapixels: width * height / 1e6 of the original.
        aspect: width / height.
    """
    across, down = width or picture.shape[1], height or picture.shape[0]
    small = cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    rgb = small.astype(np.float32)
    grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    hsv = cv2.cvtColor(small, cv2.COLOR_RGB2HSV)
    edges = cv2.Laplacian(grey * 255, cv2.CV_32F)
    return {
        "brightness": float(grey.mean()),
        "contrast": float(grey.std()),
        "saturation": float(hsv[..., 1].mean() / 255),
        "warmth": float((rgb[..., 0] - rgb[..., 2]).mean() / 255),
        "colourfulness": _colourfulness(rgb),
        "sharpness": float(np.log10(1 + edges.var())),
        "megapixels": across * down / 1e6,
        "aspect": across / down,
    }


def _colourfulness(rgb: NDArray[np.float32]) -> float:
    red_green = rgb[..., 0] - rgb[..., 1]
    yellow_blue = (rgb[..., 0] + rgb[..., 1]) / 2 - rgb[..., 2]
    spread = np.hypot(red_green.std(), yellow_blue.std())
    return float(spread + 0.3 * np.hypot(red_green.mean(), yellow_blue.mean()))
