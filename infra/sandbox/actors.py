"""Many different-looking people made from two portraits and a hundred small known faces.

An actor is a portrait whose face takes over the shading of one of the small faces (a quotient
image), whose features are moved a little, and whose skin, hair and clothes have other colours.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from infra.sandbox.photographs import PORTRAITS, Image, Portrait, known_faces

__all__ = ["ACTORS", "Actor", "actor"]

ACTORS = 64
"""Different people there are."""

_SMALL_EYES = ((7.5, 10.0), (16.5, 10.0))
_SMALL_MOUTH = (12.0, 18.0)


@dataclass(frozen=True, slots=True)
class Actor:
    """A cut-out person.

    Attributes:
        pixels: BGRA, shape (height, width, 4); alpha is 0 outside the person.
        centre: middle of the face, pixels.
        face_height: pixels.
        aspect: the person is to be drawn this much wider.
    """

    pixels: NDArray[np.uint8]
    centre: tuple[float, float]
    face_height: float
    aspect: float


def actor(number: int) -> Actor:
    """The actor with this number (modulo ``ACTORS``); always the same person."""
    return _actor(number % ACTORS)


@lru_cache(maxsize=ACTORS)
def _actor(number: int) -> Actor:
    rng = np.random.default_rng([7, number])
    portrait = PORTRAITS[number % 2]
    photo = portrait.read()
    if number >= len(PORTRAITS):
        photo = _shade(photo, portrait, known_faces()[rng.integers(100)], rng.uniform(0.45, 0.75))
        photo = _recolour(photo, portrait, rng)
    cut = np.dstack([photo, _matte(portrait, photo.shape)])
    if number >= len(PORTRAITS):
        cut = _move_features(cut, portrait, rng)
    return Actor(cut, portrait.centre, portrait.face_height, float(rng.uniform(0.9, 1.1)))


def _matte(portrait: Portrait, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    matte = np.zeros(shape[:2], dtype=np.uint8)
    cv2.fillPoly(matte, [np.array(portrait.outline, dtype=np.int32)], (255.0,))
    return np.asarray(cv2.GaussianBlur(matte, (0, 0), 1.5), dtype=np.uint8)


def _face_mask(portrait: Portrait, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """1 inside the face, 0 outside, with a soft edge."""
    mask = np.zeros(shape[:2], dtype=np.float32)
    half = portrait.face_height / 2
    x, y = portrait.centre
    cv2.ellipse(mask, (int(x), int(y)), (int(0.72 * half), int(0.92 * half)), 0, 0, 360, (1.0,), -1)
    return np.asarray(cv2.GaussianBlur(mask, (0, 0), half / 8), dtype=np.float32)


def _shade(photo: Image, portrait: Portrait, small: NDArray[np.float32], share: float) -> Image:
    """Give the face the light and dark of another face, keeping its own fine detail."""
    there = np.array([*portrait.eyes, portrait.mouth], dtype=np.float32)
    here = np.array([*_SMALL_EYES, _SMALL_MOUTH], dtype=np.float32)
    height, width = photo.shape[:2]
    other = cv2.warpAffine(
        small, cv2.getAffineTransform(here, there), (width, height),
        flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE,
    )  # fmt: skip
    blur = portrait.face_height / 22
    own = cv2.GaussianBlur(cv2.cvtColor(photo, cv2.COLOR_BGR2GRAY).astype(np.float32), (0, 0), blur)
    other = cv2.GaussianBlur(other, (0, 0), blur / 2)
    mask = _face_mask(portrait, photo.shape)
    other = other * float((own * mask).sum() / max(float((other * mask).sum()), 1e-3))
    ratio = np.clip((other + 8) / (own + 8), 0.45, 1.8) ** share
    factor = 1 + mask * (ratio - 1)
    return np.asarray(np.clip(photo * factor[..., None], 0, 255), dtype=np.uint8)


def _recolour(photo: Image, portrait: Portrait, rng: np.random.Generator) -> Image:
    """Other clothes below the chin, another complexion and hair above it."""
    hsv = cv2.cvtColor(photo, cv2.COLOR_BGR2HSV).astype(np.float32)
    clothes = hsv[portrait.chin :]
    hue, saturation, value = clothes[..., 0], clothes[..., 1], clothes[..., 2]
    cloth = ~_neck(portrait, photo.shape)[portrait.chin :]
    hue[cloth] = (hue[cloth] + rng.uniform(0, 180)) % 180
    saturation[cloth] = np.clip(saturation[cloth] * rng.uniform(0.5, 1.2) + 20, 0, 255)
    value[cloth] = 255 * (value[cloth] / 255) ** rng.uniform(0.45, 1.3)
    head = hsv[: portrait.chin]
    head[..., 1] = np.clip(head[..., 1] * rng.uniform(0.6, 1.35), 0, 255)
    head[..., 2] = 255 * (head[..., 2] / 255) ** rng.uniform(0.75, 1.6)
    return np.asarray(
        cv2.cvtColor(np.clip(hsv, 0, 255).astype(np.uint8), cv2.COLOR_HSV2BGR), dtype=np.uint8
    )


def _neck(portrait: Portrait, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    mask = np.zeros(shape[:2], dtype=np.uint8)
    if portrait.neck:
        cv2.fillPoly(mask, [np.array(portrait.neck, dtype=np.int32)], (1.0,))
    return mask.astype(bool)


def _move_features(
    cut: NDArray[np.uint8], portrait: Portrait, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Bend the picture smoothly, by a percent or two of the face's height."""
    height, width = cut.shape[:2]
    cells = round(3 * height / portrait.face_height)
    bend = rng.normal(0, 0.02 * portrait.face_height, (2, cells, cells)).astype(np.float32)
    dx, dy = (cv2.resize(b, (width, height), interpolation=cv2.INTER_CUBIC) for b in bend)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    return np.asarray(
        cv2.remap(cut, x + dx, y + dy, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE),
        dtype=np.uint8,
    )
