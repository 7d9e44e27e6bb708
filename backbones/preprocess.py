"""From a picture file to the network's input.

JPEGs are decoded at a reduced scale where the short side stays at least as long as the side that
is resized to: measured on photographs the input differs by less than 1.5 of 255 on average
(``tests/backbones/test_preprocess.py``), and decoding costs a third. Resizing is antialiased.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from backbones.registry import Backbone, Preprocess, get

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["prepare", "prepare_views", "to_input", "to_square"]

_FILTERS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}


def prepare(data: bytes, backbone: Backbone | str) -> NDArray[np.float32]:
    """A picture file as the network's input: (3, side, side) float32.

    EXIF orientation is applied; grey, palette, CMYK, 16-bit and transparent pictures become RGB;
    of an animation the first frame counts.

    Raises:
        filters.pictures.PictureError: the file cannot be decoded; ``error_class`` says why.
    """
    from filters.pictures import decode_rgb  # brings OpenCV: only when a picture is decoded

    spec = (get(backbone) if isinstance(backbone, str) else backbone).preprocess
    return to_input(decode_rgb(data, min_side=spec.resize), spec)


def prepare_views(data: bytes, backbone: Backbone | str) -> NDArray[np.float32]:
    """The picture and its mirror image in one pass: (2, 3, side, side) float32."""
    upright = prepare(data, backbone)
    return np.stack([upright, upright[:, :, ::-1]])


def to_input(rgb: NDArray[np.uint8], spec: Preprocess) -> NDArray[np.float32]:
    """(H, W, 3) RGB -> (3, size, size) float32, normalised, channels in ``spec.colour`` order."""
    pixels = to_square(rgb, spec)
    out = np.empty((3, spec.size, spec.size), np.float32)
    order = (0, 1, 2) if spec.colour == "rgb" else (2, 1, 0)
    for place, channel in enumerate(order):
        np.subtract(pixels[:, :, channel], np.float32(spec.mean[place]), out=out[place])
        out[place] /= np.float32(spec.std[place])
    return out


def to_square(rgb: NDArray[np.uint8], spec: Preprocess) -> NDArray[np.uint8]:
    """(H, W, 3) RGB -> (size, size, 3) RGB: resized and cropped as the network was trained."""
    box = crop_box(rgb.shape[1], rgb.shape[0], spec)
    size = (spec.size, spec.size)
    resized = Image.fromarray(rgb).resize(size, _FILTERS[spec.interpolation], box=box)
    return np.asarray(resized)


def crop_box(width: int, height: int, spec: Preprocess) -> tuple[float, float, float, float]:
    """The part of the picture that the network sees: left, top, right, bottom in pixels.

    Resizing this box to ``size`` equals resizing all and cropping, at less work.
    """
    if spec.fit == "warp":
        margin = (spec.resize - spec.size) // 2
        x, y = width / spec.resize, height / spec.resize
        return (margin * x, margin * y, (margin + spec.size) * x, (margin + spec.size) * y)
    side = min(width, height) * spec.size / spec.resize
    left, top = (width - side) / 2, (height - side) / 2
    return (left, top, left + side, top + side)
