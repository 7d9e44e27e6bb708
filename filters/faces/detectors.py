"""Which pictures show people: face detectors behind one small interface.

Every picture is decoded upright, shrunk (never enlarged) so that its longer side is the detector's
stated input, and given to the detector whole; boxes come back in pixels of the upright original.
Confidences are the detector's own scale: they can be compared within a detector, not between two.
The thresholds in ``filters.faces.known`` were calibrated, see ``docs/rules.md``.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from filters.pictures.decode import decode_rgb
from filters.pictures.headers import read_header
from likewise.errors import WeightsError

__all__ = ["Faces", "find_faces", "is_frame", "load"]

MAX_FACES = 200
"""Boxes kept of one picture, the most confident ones: a crowd needs no more to be seen."""


@dataclass(frozen=True, slots=True)
class Faces:
    """Answer about one picture, most confident face first.

    ``boxes`` (n, 4) float32: left, top, width, height; ``confidences`` (n,) float32; ``landmarks``
    (n, 10) float32 x0, y0, ... (right eye, left eye, nose, right and left mouth corner), or None.
    ``turned`` are degrees, counter-clockwise, by which the picture had to be turned for that.
    """

    boxes: NDArray[np.float32]
    confidences: NDArray[np.float32]
    landmarks: NDArray[np.float32] | None = None
    turned: int = 0

    def count(self, threshold: float) -> int:
        """Faces at or above ``threshold``."""
        return int((self.confidences >= np.float32(threshold)).sum())

    def enlarged(self, factor: float) -> Faces:
        """The same faces in a picture ``factor`` times as large."""
        landmarks = None if self.landmarks is None else self.landmarks * np.float32(factor)
        return replace(self, boxes=self.boxes * np.float32(factor), landmarks=landmarks)

    def turned_back(self, turns: int, width: int, height: int) -> Faces:
        """These faces of a picture turned by quarters, in the unturned one of that size."""
        if self.landmarks is None:
            landmarks = None
        else:
            marks = self.landmarks.reshape(-1, 2)
            landmarks = _turned_back(marks, turns, width, height).reshape(self.landmarks.shape)
        near, far = self.boxes[:, :2], self.boxes[:, :2] + self.boxes[:, 2:]
        one, other = (_turned_back(corner, turns, width, height) for corner in (near, far))
        low, high = np.minimum(one, other), np.maximum(one, other)
        boxes = np.concatenate([low, high - low], axis=1)
        return replace(self, boxes=boxes, landmarks=landmarks, turned=90 * turns)


def _turned_back(
    points: NDArray[np.float32], turns: int, width: int, height: int
) -> NDArray[np.float32]:
    """(n, 2) points of ``np.rot90(picture, turns)`` in the picture itself."""
    x, y = points[:, 0], points[:, 1]
    places = {1: (width - y, x), 2: (width - x, height - y), 3: (y, height - x)}
    return np.stack(places[turns], axis=1).astype(np.float32)


Detect = Callable[[NDArray[np.uint8]], Faces]
"""RGB uint8 (H, W, 3) -> faces in pixels of that array."""


@functools.lru_cache(maxsize=4)
def load(name: str, model: bytes = b"") -> Detect:
    """The detector of that name, ready to be called; ``model`` comes from ``model_of``.

    Raises:
        WeightsError: its model or library is not on this machine.
    """
    import cv2

    # Spark runs one worker a core: threads inside a worker only get in each other's way.
    cv2.setNumThreads(1)
    return _BUILD[name](model)


def find_faces(
    data: bytes, detect: Detect, *, input_side: int, turn_below: float | None = None
) -> Faces:
    """Faces of one picture file, in pixels of the upright original.

    Some pictures lie on their side, or stand on their head, and no EXIF says so.

    Args:
        data: The whole file.
        detect: What ``load`` gives.
        input_side: Longer side that the detector is given, pixels.
        turn_below: When no face reaches this confidence, the picture is tried once more in each
            of the three other positions; the first in which one reaches it counts. A picture
            without faces then costs four detections in place of one. None does not turn.

    Raises:
        PictureError: the file cannot be decoded; ``error_class`` says why.
    """
    width, height = read_header(data).upright
    scale = min(1.0, input_side / max(width, height))
    short = max(1, round(min(width, height) * scale))
    rgb = shrunk(decode_rgb(data, min_side=short), input_side)
    found = detect(rgb)
    if turn_below is not None and not found.count(turn_below):
        for turns in (1, 3, 2):  # on their side are more than upside down
            other = detect(np.ascontiguousarray(np.rot90(rgb, turns)))
            if other.count(turn_below):
                found = other.turned_back(turns, rgb.shape[1], rgb.shape[0])
                break
    return found.enlarged(max(width, height) / max(rgb.shape[:2]))


def is_frame(data: bytes) -> bool:
    """Whether a picture is as large as a frame of a film: landscape, 16:9, of a usual height.

    Cameras that film know which way is up, and films bring many frames without anybody in them.

    Raises:
        PictureError: its header cannot be read.
    """
    width, height = read_header(data).upright
    return height in _FRAME_HEIGHTS and abs(width - height * 16 / 9) <= 2


_FRAME_HEIGHTS = frozenset({144, 240, 270, 288, 360, 480, 540, 576, 720, 1080, 1440, 2160})


def shrunk(rgb: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """``rgb`` with its longer side at most ``side`` pixels; area-averaged, never enlarged."""
    import cv2

    height, width = rgb.shape[:2]
    scale = side / max(height, width)
    if scale >= 1:
        return rgb
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), np.uint8)


def _faces(boxes: Any, confidences: Any, landmarks: Any = None) -> Faces:
    """Sort by falling confidence, ties by place, and keep ``MAX_FACES``."""
    box = np.asarray(boxes, np.float32).reshape(-1, 4)
    confidence = np.asarray(confidences, np.float32).reshape(-1)
    order = np.lexsort((box[:, 1], box[:, 0], -confidence))[:MAX_FACES]
    marks = None if landmarks is None else np.asarray(landmarks, np.float32)[order]
    return Faces(box[order], confidence[order], marks)


# -- detectors ----------------------------------------------------------------------------


def _yunet(model: bytes) -> Detect:
    """YuNet (Wu et al., Machine Intelligence Research 2023) through OpenCV's FaceDetectorYN."""
    import cv2

    weights, nothing = np.frombuffer(model, np.uint8), np.zeros(0, np.uint8)
    network = cv2.FaceDetectorYN.create(
        "onnx", weights, nothing, (320, 320), score_threshold=0.2, nms_threshold=0.3, top_k=1000
    )

    def detect(rgb: NDArray[np.uint8]) -> Faces:
        network.setInputSize((rgb.shape[1], rgb.shape[0]))
        _, found = network.detect(cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
        rows = np.zeros((0, 15), np.float32) if found is None else found
        return _faces(rows[:, :4], rows[:, 14], rows[:, 4:14])

    return detect


def _dlib_hog(_: bytes) -> Detect:
    """dlib's frontal face detector: HOG and SVM; its confidence is the SVM's margin."""
    import dlib

    detector = dlib.get_frontal_face_detector()

    def detect(rgb: NDArray[np.uint8]) -> Faces:
        boxes, margins, _ = detector.run(rgb, 0, -0.3)
        return _faces([_box(box) for box in boxes], margins)

    return detect


def _dlib_cnn(_: bytes) -> Detect:
    """dlib's max-margin CNN detector; the model comes from ``face_recognition_models``."""
    import dlib

    spec = importlib.util.find_spec("face_recognition_models")
    places = list(spec.submodule_search_locations or []) if spec else []
    if not places:
        raise WeightsError(
            "the model of dlib-cnn is not on this machine",
            hint="pip install face_recognition_models, or choose another [faces] detector",
        )
    file = Path(places[0]) / "models" / "mmod_human_face_detector.dat"
    detector = dlib.cnn_face_detection_model_v1(str(file))

    def detect(rgb: NDArray[np.uint8]) -> Faces:
        found = detector(rgb, 0)
        return _faces([_box(face.rect) for face in found], [face.confidence for face in found])

    return detect


def _haar(_: bytes) -> Detect:
    """OpenCV's Haar cascade (Viola and Jones), the paper's first detector."""
    import cv2

    if not hasattr(cv2, "CascadeClassifier"):
        raise WeightsError(
            f"OpenCV {cv2.__version__} has no Haar cascades",
            hint='pip install "opencv-python-headless<5", or choose another [faces] detector',
        )
    cascade = cv2.CascadeClassifier(
        str(Path(cv2.__file__).parent / "data" / "haarcascade_frontalface_default.xml")
    )

    def detect(rgb: NDArray[np.uint8]) -> Faces:
        grey = cv2.equalizeHist(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY))
        boxes, _, weights = cascade.detectMultiScale3(
            grey, scaleFactor=1.1, minNeighbors=3, outputRejectLevels=True
        )
        return _faces(boxes if len(boxes) else [], weights if len(boxes) else [])

    return detect


def _box(rectangle: Any) -> tuple[int, int, int, int]:
    return rectangle.left(), rectangle.top(), rectangle.width(), rectangle.height()


_BUILD: dict[str, Callable[[bytes], Detect]] = {
    "yunet": _yunet,
    "dlib-hog": _dlib_hog,
    "dlib-cnn": _dlib_cnn,
    "haar": _haar,
}
