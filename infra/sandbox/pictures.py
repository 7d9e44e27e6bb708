"""Pictures of a synthetic world: real photographs cropped, relit and composed.

A picture is made from its :class:`~infra.sandbox.world.Picture` alone, so the same world shows
the same bytes. The visible properties that the law of likes goes by are brought about last, by
relighting: mean brightness and the balance of red and blue are exact; the size of the face is
set by how close the person stands.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from infra.sandbox.actors import ACTORS, actor
from infra.sandbox.photographs import (
    Image,
    backdrop,
    backdrop_count,
    folder_files,
    read_photo,
    written_page,
)
from infra.sandbox.world import Kind, Picture
from likewise.errors import UsageError

__all__ = ["MARK", "brightness_of", "compose", "face_height_of", "render", "warmth_of"]

MARK = b"synthetic world"
"""Comment inside every file."""

BRIGHTNESS, BRIGHTNESS_SD = 120.0, 32.0
WARMTH, WARMTH_SD = 0.12, 0.28
FACE, FACE_SD = 0.37, 0.28


def brightness_of(picture: Picture) -> float:
    """Mean brightness that a picture is given, 0-255."""
    return BRIGHTNESS + BRIGHTNESS_SD * picture.brightness


def warmth_of(picture: Picture) -> float:
    """Log of mean red to mean blue that a picture is given."""
    return WARMTH + WARMTH_SD * picture.warmth


def face_height_of(picture: Picture) -> float:
    """Height of the main face, pixels."""
    side = min(picture.width, picture.height)
    return float(side * FACE * np.exp(FACE_SD * picture.closeness))


def render(picture: Picture, *, png: bool, small: bool, folder: Path | None) -> bytes:
    """The picture's file: JPEG or PNG, broken where its kind says so.

    Raises:
        UsageError: the folder of photographs holds no readable picture any more.
    """
    if picture.kind in _BROKEN:
        return _BROKEN[picture.kind](picture)
    pixels = compose(picture, folder)
    quality = 88
    if picture.near:
        pixels, quality = _alter(pixels, picture.near)
    if small:
        pixels = _small(pixels)
    return _encode(pixels, png=png, quality=quality)


def compose(picture: Picture, folder: Path | None = None) -> Image:
    """The picture's pixels, relit; shape (height, width, 3), BGR."""
    rng = np.random.default_rng(picture.key)
    if picture.kind == Kind.FOLDER and folder is not None:
        pixels = _from_folder(picture, rng, folder)
    else:
        pixels = {Kind.SCENE: _scene, Kind.QUOTE: _quote}.get(picture.kind, _people)(picture, rng)
    return _relight(pixels, brightness_of(picture), warmth_of(picture))


# -- composing ----------------------------------------------------------------------------


def _people(picture: Picture, rng: np.random.Generator) -> Image:
    """One person, sometimes two, before a backdrop."""
    canvas = _behind(picture, rng)
    height = face_height_of(picture)
    place = rng.uniform(0.3, 0.7)
    if rng.random() < 0.22:
        other = 0.27 if place > 0.5 else 0.73
        number = int(rng.integers(ACTORS))
        canvas = _put(canvas, number, rng, face=height * rng.uniform(0.6, 0.9), place=other)
        place = 0.7 if place > 0.5 else 0.3
    number = picture.actor if rng.random() < 0.8 else int(rng.integers(ACTORS))
    canvas = _put(canvas, number, rng, face=height, place=place)
    return _style(canvas, rng)


def _put(
    canvas: Image, number: int, rng: np.random.Generator, *, face: float, place: float
) -> Image:
    """Draw a person into the canvas; ``face`` in pixels, ``place`` 0-1 across."""
    who = actor(number)
    height, width = canvas.shape[:2]
    scale = face / who.face_height
    below = (who.pixels.shape[0] - 4 - who.centre[1]) * scale
    top, low = max(0.3 * height, height - below), 0.62 * height
    y = rng.uniform(top, low) if top < low else top
    turn = cv2.getRotationMatrix2D(who.centre, rng.uniform(-7, 7), 1.0)
    side = -1.0 if rng.random() < 0.5 else 1.0
    move = np.array(
        [
            [
                scale * who.aspect * side,
                0,
                place * width - scale * who.aspect * side * who.centre[0],
            ],
            [0, scale, min(y, 0.8 * height) - scale * who.centre[1]],
        ]
    )
    full = move @ np.vstack([turn, [0, 0, 1]])
    drawn = cv2.warpAffine(
        who.pixels, full, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT
    )
    weight = drawn[..., 3].astype(np.float32) / 255
    return np.asarray(
        cv2.blendLinear(np.ascontiguousarray(drawn[..., :3]), canvas, weight, 1 - weight),
        dtype=np.uint8,
    )


def _behind(picture: Picture, rng: np.random.Generator) -> Image:
    """A backdrop: a photograph sharp or out of focus, or a plain gradient. Authors have habits."""
    own = picture.actor // ACTORS % backdrop_count()
    number = own if rng.random() < 0.4 else int(rng.integers(backdrop_count()))
    if rng.random() < 0.15:
        return _gradient(picture.width, picture.height, rng)
    pixels = _cover(backdrop(number), picture.width, picture.height, rng, tightest=0.35)
    if rng.random() < 0.5:
        soft = cv2.resize(pixels, (48, 48), interpolation=cv2.INTER_AREA)
        soft = cv2.GaussianBlur(soft, (0, 0), rng.uniform(0.6, 2.5))
        pixels = cv2.resize(  # type: ignore[assignment]
            soft, (picture.width, picture.height), interpolation=cv2.INTER_CUBIC
        )
    return _tint(pixels, rng) if rng.random() < 0.5 else pixels


def _cover(
    photo: Image, width: int, height: int, rng: np.random.Generator, *, tightest: float
) -> Image:
    """A random crop of the photograph that fills the canvas, perhaps mirrored."""
    rows, columns = photo.shape[:2]
    share = rng.uniform(tightest, 1.0)
    scale = max(width / columns, height / rows) / share
    x = rng.uniform(0, columns - width / scale)
    y = rng.uniform(0, rows - height / scale)
    flip = rng.random() < 0.5
    move = np.array([[scale, 0, -x * scale], [0, scale, -y * scale]])
    if flip:
        move[0] = [-scale, 0, width + x * scale]
    return np.asarray(
        cv2.warpAffine(
            photo, move, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
        ),
        dtype=np.uint8,
    )


def _gradient(width: int, height: int, rng: np.random.Generator) -> Image:
    corners = rng.integers(20, 240, (2, 2, 3)).astype(np.uint8)
    return np.asarray(
        cv2.resize(corners, (width, height), interpolation=cv2.INTER_LINEAR), dtype=np.uint8
    )


def _tint(pixels: Image, rng: np.random.Generator) -> Image:
    """Colour the light, which gives grey photographs colours too."""
    ramp = np.arange(256, dtype=np.float32)[:, None] * rng.uniform(0.55, 1.25, 3)
    table = np.clip(ramp, 0, 255).astype(np.uint8).reshape(256, 1, 3)
    return np.asarray(cv2.LUT(pixels, table), dtype=np.uint8)


def _style(pixels: Image, rng: np.random.Generator) -> Image:
    """What people do to their pictures: light from a side, a border, or nothing."""
    height, width = pixels.shape[:2]
    draw = rng.random()
    if draw < 0.4:
        side = rng.uniform(0.45, 1.0, (2, 2)).astype(np.float32)
        light = cv2.resize(side, (width, height), interpolation=cv2.INTER_LINEAR)
        colour = np.full_like(pixels, rng.integers(0, 120, 3).astype(np.uint8))
        return np.asarray(cv2.blendLinear(pixels, colour, light, 1 - light), dtype=np.uint8)
    if draw < 0.5:
        edge = int(min(height, width) * rng.uniform(0.02, 0.06))
        paint = [float(c) for c in rng.integers(0, 256, 3)]
        cv2.rectangle(pixels, (0, 0), (width - 1, height - 1), paint, 2 * edge)
    return pixels


def _scene(picture: Picture, rng: np.random.Generator) -> Image:
    """A place or a thing; nobody is in it."""
    pixels = _cover(
        backdrop(int(rng.integers(backdrop_count()))),
        picture.width,
        picture.height,
        rng,
        tightest=0.45,
    )
    if rng.random() < 0.3:
        half = picture.width // 2
        other = backdrop(int(rng.integers(backdrop_count())))
        pixels[:, half:] = _cover(other, picture.width - half, picture.height, rng, tightest=0.4)
    return _style(_tint(pixels, rng) if rng.random() < 0.4 else pixels, rng)


_SAYINGS = (
    "nobody is here", "made of numbers", "keep going", "less is more", "good morning",
    "be kind today", "this is a quote", "words, words", "made up", "a synthetic world",
)  # fmt: skip


def _quote(picture: Picture, rng: np.random.Generator) -> Image:
    """Words on a plain ground, or a photographed page."""
    width, height = picture.width, picture.height
    if rng.random() < 0.3:
        return _cover(written_page(int(rng.integers(2))), width, height, rng, tightest=0.5)
    pixels = _gradient(width, height, rng)
    ink = (20.0, 20.0, 20.0) if pixels.mean() > 120 else (240.0, 240.0, 240.0)
    font = (cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_TRIPLEX, cv2.FONT_HERSHEY_SCRIPT_COMPLEX)[
        int(rng.integers(3))
    ]
    lines = rng.choice(np.array(_SAYINGS), int(rng.integers(2, 6)), replace=False)
    size, start = rng.uniform(1.0, 1.8), rng.uniform(0.2, 0.4)
    for row, line in enumerate(lines):
        at = (int(width * 0.08), int(height * start + row * 52 * size))
        cv2.putText(pixels, str(line), at, font, size, ink, 2, cv2.LINE_AA)
    return pixels


def _from_folder(picture: Picture, rng: np.random.Generator, folder: Path) -> Image:
    """One of the user's photographs: a crop, perhaps mirrored."""
    files = _files(folder)
    start = int(rng.integers(len(files)))
    for step in range(len(files)):
        photo = read_photo(files[(start + step) % len(files)])
        if photo is not None:
            return _cover(photo, picture.width, picture.height, rng, tightest=0.8)
    raise UsageError(f"sandbox: the pictures in {folder} cannot be read any more")


@lru_cache(maxsize=4)
def _files(folder: Path) -> list[Path]:
    return folder_files(folder)


# -- light --------------------------------------------------------------------------------


def _relight(pixels: Image, brightness: float, warmth: float) -> Image:
    """Bring mean brightness and log(red / blue) to what is wanted, by one table per channel."""
    tables = np.tile(np.arange(256, dtype=np.float64), (3, 1))
    counts = _histograms(pixels)
    for _ in range(3):
        blue, _, red = (float(c @ t) + 1.0 for c, t in zip(counts, tables, strict=True))
        turn = np.exp((warmth - np.log(red / blue)) / 2)
        tables = np.clip(tables * np.array([[1 / turn], [1.0], [turn]]), 0, 255)
        tables = _expose(tables, counts, brightness)
    table = np.round(tables).astype(np.uint8).T.reshape(256, 1, 3)
    return np.asarray(cv2.LUT(pixels, np.ascontiguousarray(table)), dtype=np.uint8)


def _histograms(pixels: Image) -> NDArray[np.float64]:
    """Share of each value in each channel, shape (3, 256), from every fourth row and column."""
    few = pixels[::4, ::4].reshape(-1, 3)
    counts = [np.bincount(few[:, channel], minlength=256) for channel in range(3)]
    return np.array(counts, dtype=np.float64) / len(few)


def _expose(
    tables: NDArray[np.float64], counts: NDArray[np.float64], brightness: float
) -> NDArray[np.float64]:
    """Apply the gamma that gives this mean brightness, found by halving."""
    low, high = 0.15, 6.0
    luma = np.array([0.114, 0.587, 0.299])
    for _ in range(18):
        gamma = (low * high) ** 0.5
        bent = 255 * (tables / 255) ** gamma
        if float(luma @ (counts * bent).sum(axis=1)) > brightness:
            low = gamma
        else:
            high = gamma
    return np.asarray(255 * (tables / 255) ** ((low * high) ** 0.5), dtype=np.float64)


# -- files --------------------------------------------------------------------------------


def _alter(pixels: Image, number: int) -> tuple[Image, int]:
    """A near duplicate: another size, another quality, slightly other light."""
    rng = np.random.default_rng([11, number])
    scale = rng.uniform(0.8, 1.1)
    changed = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    changed = cv2.convertScaleAbs(changed, alpha=rng.uniform(0.97, 1.03))
    return np.asarray(changed, dtype=np.uint8), int(rng.integers(60, 85))


def _small(pixels: Image) -> Image:
    factor = 400 / max(pixels.shape[:2])
    return np.asarray(
        cv2.resize(pixels, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA),
        dtype=np.uint8,
    )


def _encode(pixels: Image, *, png: bool, quality: int = 88) -> bytes:
    """A PNG or JPEG file that carries the mark."""
    if png:
        data = bytes(cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1])
        return data[:33] + _png_text() + data[33:]
    data = bytes(cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1])
    length = (len(MARK) + 2).to_bytes(2, "big")
    after_jfif = 4 + int.from_bytes(data[4:6], "big")
    return data[:after_jfif] + b"\xff\xfe" + length + MARK + data[after_jfif:]


def _png_text() -> bytes:
    chunk = b"tEXt" + b"Comment\x00" + MARK
    return (len(chunk) - 4).to_bytes(4, "big") + chunk + zlib.crc32(chunk).to_bytes(4, "big")


def _truncated(picture: Picture) -> bytes:
    data = _encode(compose(_as_people(picture)), png=False)
    return data[: len(data) // 3]


def _garbage(picture: Picture) -> bytes:
    return np.random.default_rng(picture.key).bytes(4000)


def _page(picture: Picture) -> bytes:  # noqa: ARG001
    return b"<!doctype html><title>synthetic world</title><p>This picture has moved."


def _tiny(picture: Picture) -> bytes:
    pixels = cv2.resize(compose(_as_people(picture)), (64, 64), interpolation=cv2.INTER_AREA)
    return _encode(np.asarray(pixels, dtype=np.uint8), png=False)


def _uniform(picture: Picture) -> bytes:
    value = np.random.default_rng(picture.key).integers(0, 256, 3).astype(np.uint8)
    return _encode(np.full((picture.height, picture.width, 3), value, dtype=np.uint8), png=False)


def _animated(picture: Picture) -> bytes:
    pixels = cv2.resize(compose(_as_people(picture)), (320, 320), interpolation=cv2.INTER_AREA)
    first = Pillow.fromarray(np.asarray(pixels)[..., ::-1]).convert("P")
    second = Pillow.fromarray(np.asarray(pixels)[:, ::-1, ::-1]).convert("P")
    out = io.BytesIO()
    first.save(out, "GIF", save_all=True, append_images=[second], duration=200, comment=MARK)
    return out.getvalue()


def _as_people(picture: Picture) -> Picture:
    return replace(picture, kind=Kind.PEOPLE)


def _empty(picture: Picture) -> bytes:  # noqa: ARG001
    return b""


def _video(picture: Picture) -> bytes:  # noqa: ARG001
    return b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom" + MARK


_BROKEN: dict[Kind, Callable[[Picture], bytes]] = {
    Kind.TRUNCATED: _truncated,
    Kind.GARBAGE: _garbage,
    Kind.EMPTY: _empty,
    Kind.PAGE: _page,
    Kind.TINY: _tiny,
    Kind.UNIFORM: _uniform,
    Kind.ANIMATED: _animated,
    Kind.VIDEO: _video,
}
