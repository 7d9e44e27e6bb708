"""From a picture file to the network's input.

JPEGs are decoded at 1/2, 1/4 or 1/8 of their size where the short side stays at least 1.5 times as
long as the side that is resized to. On photographs of 1080 x 1080 the input then differs by
less than 1 of 255 on average and the features by 3 %, as much as saving the JPEG anew at quality 75
changes them; decoding costs 0.6 times as much. (At 1.0 times the features differ by 12 %; scales
between the halves are slower than decoding in full.) Resizing is antialiased.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from backbones.registry import Backbone, Preprocess, get
from filters.pictures.headers import read_header

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["prepare", "prepare_views", "to_input", "to_square"]

REDUCE = 1.5
"""How many times longer than ``resize`` the short side of a reduced picture must stay."""

_FILTERS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}


def prepare(data: bytes, backbone: Backbone | str) -> NDArray[np.float32]:
    """A picture file as the network's input: (3, side, side) float32.

    EXIF orientation is applied; grey, palette, CMYK, 16-bit and transparent pictures become RGB;
    of an animation the first frame counts.

    Raises:
        filters.pictures.decode.PictureError: the file cannot be decoded; ``error_class`` says why.
    """
    from filters.pictures.decode import decode_rgb  # brings OpenCV: only when a picture is decoded

    spec = (get(backbone) if isinstance(backbone, str) else backbone).preprocess
    return to_input(decode_rgb(data, min_side=_least_side(data, spec)), spec)


def _least_side(data: bytes, spec: Preprocess) -> int | None:
    """Short side to decode at, so that the decoder halves as often as the result allows."""
    header = read_header(data)
    short = min(header.width, header.height)
    factor = max((k for k in (1, 2, 4, 8) if short >= k * REDUCE * spec.resize), default=1)
    return short // factor if factor > 1 else None


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

    Resizing this box to ``size`` equals resizing all and cropping, to 2 of 255, at less work; whole
    numbers are rounded as the training programs do (torchvision's ``Resize`` and ``CenterCrop``,
    EfficientNet's ``preprocessing.py``). EfficientNet's program crops first, so that its filter
    does not see beyond the crop as Pillow's does here: up to 19 of 255 at the outermost rows.
    """
    if spec.fit == "crop-first":
        side = max(1, int(min(width, height) * spec.size / spec.resize))
        left, top = (width - side + 1) // 2, (height - side + 1) // 2
        return (left, top, left + side, top + side)
    wide, high = _resized(width, height, spec)
    left, top = round((wide - spec.size) / 2), round((high - spec.size) / 2)
    x, y = width / wide, height / high
    return (left * x, top * y, (left + spec.size) * x, (top + spec.size) * y)


def _resized(width: int, height: int, spec: Preprocess) -> tuple[int, int]:
    if spec.fit == "warp":
        return spec.resize, spec.resize
    short = min(width, height)
    return int(spec.resize * width / short), int(spec.resize * height / short)
