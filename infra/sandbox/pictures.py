"""Pictures of a synthetic world (thin first version)."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from infra.sandbox.world import Picture

__all__ = ["render"]


@lru_cache(maxsize=1)
def _astronaut() -> object:
    import skimage

    return cv2.imread(str(Path(skimage.__file__).parent / "data" / "astronaut.png"))


def render(picture: Picture, *, png: bool, small: bool, folder: Path | None) -> bytes:  # noqa: ARG001
    """The picture's file."""
    rng = np.random.default_rng(picture.key)
    source = _astronaut()
    scale = 2.2 * np.exp(0.28 * picture.closeness)
    turn = cv2.getRotationMatrix2D((222, 110), rng.uniform(-12, 12), scale)
    turn[:, 2] += [picture.width / 2 - 222, picture.height / 2 - 110]
    canvas = cv2.warpAffine(
        source, turn, (picture.width, picture.height), borderMode=cv2.BORDER_REFLECT
    )
    gain = np.exp(np.array([-0.2, 0, 0.2]) * picture.warmth + 0.25 * picture.brightness)
    canvas = np.clip(canvas * gain, 0, 255).astype(np.uint8)
    return bytes(cv2.imencode(".png" if png else ".jpg", canvas)[1])
