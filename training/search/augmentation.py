"""Augmented views of training pictures, and of nothing else: zoom, rotation, shift, shear, flip.

The five changes are paper 5's (section 3.8); it tells no ranges, these are common ones.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch

from filters.pictures.headers import PictureError
from training.tuning.batches import centre, to_input
from training.tuning.canvases import canvas

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from backbones.registry import Preprocess

__all__ = ["ROTATION", "SHEAR", "SHIFT", "ZOOM", "augmented", "matrix", "views_of"]

ZOOM, ROTATION, SHIFT, SHEAR = 0.2, 20.0, 0.1, 10.0
"""Largest relative zoom, degrees of rotation, shift as a share of the side, degrees of shear."""


def matrix(rng: np.random.Generator, side: int) -> NDArray[np.float64]:
    """(2, 3) affine map about the middle of a square of ``side`` pixels; half of them mirror."""
    zoom = 1 + rng.uniform(-ZOOM, ZOOM)
    turn, shear = (
        np.deg2rad(rng.uniform(-ROTATION, ROTATION)),
        np.deg2rad(rng.uniform(-SHEAR, SHEAR)),
    )
    mirror = -1.0 if rng.random() < 0.5 else 1.0
    turned = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    linear = zoom * turned @ np.array([[1.0, np.tan(shear)], [0.0, 1.0]]) @ np.diag([mirror, 1.0])
    middle = np.full(2, (side - 1) / 2)
    shift = rng.uniform(-SHIFT, SHIFT, 2) * side
    return np.column_stack([linear, middle - linear @ middle + shift])


def augmented(square: NDArray[np.uint8], size: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """(side, side, 3) canvas to a changed view (size, size, 3); borders are mirrored in."""
    side = square.shape[0]
    moved = cv2.warpAffine(
        square, matrix(rng, side), (side, side), flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REFLECT_101,
    )  # fmt: skip
    return np.ascontiguousarray(centre(moved.astype(np.uint8, copy=False), size))


def views_of(
    pictures: Iterable[tuple[str, bytes]], spec: Preprocess, views: int, seed: int
) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """(picture_id, (views, 3, size, size) network input) of each picture that decodes.

    What is drawn hangs on the seed and the picture alone, not on the order of pictures.
    """
    for picture_id, data in pictures:
        try:
            square = canvas(data, spec)
        except PictureError:
            continue
        digest = hashlib.blake2b(picture_id.encode(), digest_size=8).digest()
        rng = np.random.default_rng([seed, int.from_bytes(digest, "big")])
        stack = np.stack([augmented(square, spec.size, rng) for _ in range(views)])
        yield picture_id, np.ascontiguousarray(to_input(torch.from_numpy(stack), spec).numpy())
