"""How far one step of Pillow's ``box`` is from the training programs' two; see docs/extract.md."""

from __future__ import annotations

import numpy as np
import pytest
import skimage.data
from PIL import Image

from backbones.preprocess import to_square
from backbones.registry import get

FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
PHOTOS = ("astronaut", "chelsea", "coffee", "rocket")


@pytest.mark.parametrize("name", ["alexnet", "alexnet-caffe", "inception-v3"])
def test_resize_then_crop_in_two_steps_differs_by_two_levels_at_most(name: str) -> None:
    spec = get(name).preprocess
    for photo in PHOTOS:
        rgb = np.ascontiguousarray(getattr(skimage.data, photo)())
        height, width = rgb.shape[:2]
        short = min(height, width)
        size = (spec.resize, spec.resize)
        if spec.fit != "warp":
            size = (int(spec.resize * width / short), int(spec.resize * height / short))
        whole = np.asarray(Image.fromarray(rgb).resize(size, FILTERS[spec.interpolation]))
        top, left = (round((side - spec.size) / 2) for side in whole.shape[:2])
        expected = whole[top : top + spec.size, left : left + spec.size].astype(int)
        assert np.abs(expected - to_square(rgb, spec)).max() <= 2


def test_crop_then_resize_differs_at_the_border_only() -> None:
    spec = get("efficientnet-lite0").preprocess
    for photo in PHOTOS:
        rgb = np.ascontiguousarray(getattr(skimage.data, photo)())
        height, width = rgb.shape[:2]
        side = int(min(height, width) * spec.size / spec.resize)
        top, left = (height - side + 1) // 2, (width - side + 1) // 2
        crop = Image.fromarray(rgb[top : top + side, left : left + side])
        expected = crop.resize((spec.size, spec.size), FILTERS[spec.interpolation])
        off = np.abs(np.asarray(expected).astype(int) - to_square(rgb, spec))
        assert off.max() <= 19
        assert off[3:-3, 3:-3].max() <= 4
