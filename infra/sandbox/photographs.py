"""Real photographs that lie inside installed Python packages, and folders of a user's own.

scikit-image brings the portrait of Eileen Collins (NASA), Matplotlib that of Grace Hopper (US
Navy); both are in the public domain. Places and things come from scikit-image and scikit-learn.
Nothing is fetched from a network.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from filters.pictures.decode import PictureError, decode_rgb
from likewise.errors import UsageError

__all__ = [
    "PORTRAITS",
    "Image",
    "Portrait",
    "backdrop",
    "backdrop_count",
    "folder_files",
    "known_faces",
    "read_photo",
    "written_page",
]

Image = NDArray[np.uint8]
"""Pixels, shape (height, width, 3), BGR."""

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".avif"}

_BACKDROPS = (
    ("sklearn", "datasets/images/china.jpg"),
    ("sklearn", "datasets/images/flower.jpg"),
    ("skimage", "data/coffee.png"),
    ("skimage", "data/chelsea.png"),
    ("skimage", "data/rocket.jpg"),
    ("skimage", "data/motorcycle_left.png"),
    ("skimage", "data/hubble_deep_field.jpg"),
    ("skimage", "data/brick.png"),
    ("skimage", "data/grass.png"),
    ("skimage", "data/gravel.png"),
    ("skimage", "data/ihc.png"),
    ("skimage", "data/moon.png"),
    ("skimage", "data/coins.png"),
)
_PAGES = (("skimage", "data/page.png"), ("skimage", "data/text.png"))


@dataclass(frozen=True, slots=True)
class Portrait:
    """A photograph of a person, with the person's outline and where the face is, pixels.

    Attributes:
        package, path: where the file lies.
        outline: polygon around the person.
        eyes: midpoints of both eyes, left in the picture first.
        mouth: midpoint of the mouth.
        face_height: from the hairline to the chin.
        chin: height below which clothes begin.
        neck: triangle of bare skin below the chin, empty where there is none.
    """

    package: str
    path: str
    outline: tuple[tuple[int, int], ...]
    eyes: tuple[tuple[float, float], tuple[float, float]]
    mouth: tuple[float, float]
    face_height: float
    chin: int
    neck: tuple[tuple[int, int], ...] = ()

    @property
    def centre(self) -> tuple[float, float]:
        """Middle of the face."""
        (x1, y1), (x2, y2) = self.eyes
        return ((x1 + x2) / 2 + self.mouth[0]) / 2, ((y1 + y2) / 2 + self.mouth[1]) / 2

    def read(self) -> Image:
        """The photograph."""
        return _read(self.package, self.path)


PORTRAITS = (
    Portrait(
        package="skimage",
        path="data/astronaut.png",
        outline=(
            (230, 15), (205, 19), (184, 30), (166, 46), (157, 61), (155, 79), (158, 104),
            (172, 117), (180, 140), (184, 150), (150, 151), (130, 163), (119, 185), (118, 206),
            (93, 236), (62, 265), (50, 315), (36, 375), (26, 436), (32, 484), (32, 511),
            (500, 511), (501, 466), (488, 408), (464, 370), (423, 348), (385, 345), (361, 349),
            (360, 315), (347, 272), (324, 248), (296, 232), (300, 212), (288, 188), (266, 166),
            (250, 156), (260, 134), (276, 126), (290, 112), (298, 85), (293, 58), (282, 38),
            (266, 25), (248, 17),
        ),
        eyes=((200.0, 102.0), (247.0, 102.6)),
        mouth=(219.0, 143.0),
        face_height=113.0,
        chin=184,
    ),
    Portrait(
        package="matplotlib",
        path="mpl-data/sample_data/grace_hopper.jpg",
        outline=(
            (260, 23), (228, 30), (195, 46), (176, 66), (160, 86), (155, 102), (155, 128),
            (163, 150), (156, 184), (161, 213), (163, 262), (174, 289), (190, 300), (199, 316),
            (170, 337), (113, 366), (60, 391), (36, 411), (23, 468), (13, 599), (511, 599),
            (508, 468), (499, 399), (465, 379), (397, 357), (340, 327), (334, 308), (350, 300),
            (362, 275), (371, 227), (374, 190), (365, 165), (368, 135), (368, 93), (350, 84),
            (335, 60), (310, 39), (284, 26),
        ),
        eyes=((227.0, 193.0), (308.0, 195.0)),
        mouth=(265.0, 269.0),
        face_height=212.0,
        chin=322,
        neck=((196, 320), (338, 320), (292, 392), (268, 402), (240, 380)),
    ),
)  # fmt: skip


@cache
def _folder(package: str) -> Path:
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise UsageError(
            f"sandbox: the package {package} is not installed, its photographs are missing",
            hint="install likewise with its dependencies, or give --pictures FOLDER",
        )
    return Path(spec.origin).parent


@lru_cache(maxsize=32)
def _read(package: str, path: str) -> Image:
    place = _folder(package) / path
    with Pillow.open(place) as opened:  # noqa: TID251 - a file of an installed package
        rgb = np.asarray(opened.convert("RGB"), dtype=np.uint8)
    return np.ascontiguousarray(rgb[..., ::-1])


def backdrop_count() -> int:
    """How many photographs of places and things there are."""
    return len(_BACKDROPS)


def backdrop(number: int) -> Image:
    """A photograph without people; any number will do."""
    package, path = _BACKDROPS[number % len(_BACKDROPS)]
    return _read(package, path)


def written_page(number: int) -> Image:
    """A photograph of a printed or written page."""
    package, path = _PAGES[number % len(_PAGES)]
    return _read(package, path)


@cache
def known_faces() -> NDArray[np.float32]:
    """A hundred grey faces of 25 x 25 pixels (scikit-image's excerpt of LFW), values 0-1."""
    both = np.load(_folder("skimage") / "data" / "lfw_subset.npy")
    return np.asarray(both[:100], dtype=np.float32)


def folder_files(folder: Path) -> list[Path]:
    """Picture files below a folder, in the order of their names.

    Raises:
        UsageError: there are none, none can be read, or it is not a folder.
    """
    if not folder.is_dir():
        raise UsageError(f"sandbox: {folder} is not a folder")
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    if not files:
        raise UsageError(
            f"sandbox: {folder} holds no pictures",
            hint=f"expected files that end in {', '.join(sorted(SUFFIXES))}",
        )
    if not any(read_photo(path) is not None for path in files):
        raise UsageError(f"sandbox: none of the {len(files)} files in {folder} can be read")
    return files


@lru_cache(maxsize=16)
def read_photo(path: Path) -> Image | None:
    """A user's photograph, upright, at most 1280 pixels long; None when it cannot be read."""
    try:
        found: Any = np.ascontiguousarray(decode_rgb(path.read_bytes())[..., ::-1])
    except (OSError, PictureError):
        return None
    if min(found.shape[:2]) < 8:
        return None
    factor = min(1.0, 1280 / max(found.shape[:2]))
    if factor < 1:
        found = cv2.resize(found, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    return np.asarray(found, dtype=np.uint8)
