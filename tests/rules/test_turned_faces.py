"""Pictures that lie on their side or stand on their head, and no EXIF says so."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from filters.faces.detectors import Faces, find_faces, is_frame, load
from filters.faces.known import DETECTORS
from filters.pictures.decode import decode_rgb

UPRIGHT, MARK = (0, 0, 255), (255, 0, 0)


def encoded(pixels: np.ndarray, kind: str = "png") -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def planted(turns: int) -> bytes:
    """A red mark with its blue point above it, in a picture turned by quarters."""
    pixels = np.full((120, 200, 3), 90, np.uint8)
    pixels[40:70, 20:60] = MARK
    pixels[30:40, 20:60] = UPRIGHT
    return encoded(np.rot90(pixels, turns))


class Marks:
    """A detector that knows marks upright only, and counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, rgb: np.ndarray) -> Faces:
        self.asked += 1
        red = np.argwhere((rgb == MARK).all(axis=2))
        blue = np.argwhere((rgb == UPRIGHT).all(axis=2))
        if not len(red) or not (blue[:, 0].max() < red[:, 0].min()):
            return Faces(np.zeros((0, 4), np.float32), np.zeros(0, np.float32))
        (top, left), (bottom, right) = red.min(axis=0), red.max(axis=0) + 1
        box = np.array([[left, top, right - left, bottom - top]], np.float32)
        corners = np.array([[left, top, right, bottom, left, top, left, top, right, top]])
        return Faces(box, np.ones(1, np.float32), corners.astype(np.float32))


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_a_turned_picture_is_tried_in_the_other_positions(turns: int) -> None:
    data, detect = planted(turns), Marks()
    found = find_faces(data, detect, input_side=480, turn_below=0.5)
    left, top, width, height = found.boxes[0].astype(int)
    red = np.argwhere((decode_rgb(data) == MARK).all(axis=2))
    assert [top, left] == red.min(axis=0).tolist()
    assert [top + height, left + width] == (red.max(axis=0) + 1).tolist()
    assert found.landmarks is not None
    xs, ys = found.landmarks[0, ::2], found.landmarks[0, 1::2]
    assert {xs.min(), xs.max()} == {left, left + width}
    assert {ys.min(), ys.max()} == {top, top + height}
    assert (found.turned + 90 * turns) % 360 == 0
    assert detect.asked == {0: 1, 1: 3, 2: 4, 3: 2}[turns]


def test_nothing_is_turned_unless_asked_for_and_at_four_detections_at_most() -> None:
    detect = Marks()
    assert find_faces(planted(1), detect, input_side=480).count(0.5) == 0
    assert detect.asked == 1
    empty = encoded(np.full((50, 80, 3), 9, np.uint8))
    assert find_faces(empty, detect, input_side=480, turn_below=0.5).turned == 0
    assert detect.asked == 5


def test_portraits_on_their_side(shared: Path) -> None:
    spec = DETECTORS["dlib-hog"]
    for path in sorted((shared / "faces" / "caltech_people").glob("*.jpg"))[:5]:
        rgb = decode_rgb(path.read_bytes())
        for turns in (1, 2, 3):
            data = encoded(np.rot90(rgb, turns), "jpeg")
            look = {"detect": load(spec.name), "input_side": spec.input_side}
            assert find_faces(data, **look, turn_below=spec.min_confidence).count(0.3) >= 1
            if turns != 2:
                assert find_faces(data, **look).count(spec.min_confidence) == 0


@pytest.mark.parametrize(
    ("size", "frame"),
    [((1920, 1080), True), ((854, 480), True), ((853, 480), True), ((640, 360), True),
     ((1080, 1920), False), ((1080, 1080), False), ((1600, 900), False), ((1024, 768), False)],
)  # fmt: skip
def test_frames_of_films_are_known_by_their_size(size: tuple[int, int], frame: bool) -> None:
    assert is_frame(encoded(np.zeros((size[1], size[0], 3), np.uint8))) is frame
