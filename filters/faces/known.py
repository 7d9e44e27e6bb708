"""The face detectors that there are, and which one is taken; nothing that detects is loaded."""

from __future__ import annotations

from dataclasses import dataclass

from likewise.weights import at_hand, find

__all__ = ["DETECTORS", "Choice", "DetectorSpec", "choose", "model_of"]


@dataclass(frozen=True, slots=True)
class DetectorSpec:
    """A detector, the longer side it is given, and the confidence that counts as a face."""

    name: str
    input_side: int
    min_confidence: float
    source: str


@dataclass(frozen=True, slots=True)
class Choice:
    """Which detector, and why."""

    name: str
    reason: str


def choose(name: str = "auto") -> Choice:
    """The detector to use; ``auto`` is YuNet where its model is on this machine, else dlib's HOG.

    Raises:
        WeightsError: the named detector's model is missing or damaged; a damaged YuNet model is
            an error for ``auto`` too, since the answer would silently change.
    """
    if name != "auto":
        return Choice(name, "named in [faces] detector")
    if at_hand("yunet") is None:
        return Choice("dlib-hog", "YuNet's model file is not on this machine")
    find("yunet", fetch=False)
    return Choice("yunet", "its model file is on this machine")


def model_of(name: str) -> bytes:
    """What ``load`` needs beside the installed packages: YuNet's model file, else nothing.

    Raises:
        WeightsError: the file is missing and cannot be fetched, or has not the registered hash.
    """
    return find("yunet").read_bytes() if name == "yunet" else b""


DETECTORS: dict[str, DetectorSpec] = {
    spec.name: spec
    for spec in (
        DetectorSpec("yunet", 480, 0.875, "OpenCV zoo, by hash"),
        DetectorSpec("dlib-hog", 480, 0.3, "inside dlib"),
        DetectorSpec("dlib-cnn", 240, 0.4, "pip install face_recognition_models"),
        DetectorSpec("haar", 240, 4.5, "inside OpenCV below 5"),
    )
}
