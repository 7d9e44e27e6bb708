"""Detectors and input sizes: recall at precision 0.98 against cost, on photographs.

``python -m benchmarks.faces [--data FOLDER] [--cnn]`` prints two Markdown tables. The first says
what 1,000 photographs of 640 x 640 cost, decoding included, in CPU seconds. The second says what is
found: recall at precision 0.98 on pictures with one large face each against pictures without, at
that threshold the share found of pictures with small, turned or half hidden people, and of the
annotated faces of group photographs (a box counts when its intersection over union is 0.4).
"""

from __future__ import annotations

import argparse
import os
import time
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from filters.faces.calibration import Point, curve, measure, threshold_for
from filters.faces.detectors import find_faces, load
from filters.faces.known import DETECTORS, model_of
from likewise.errors import WeightsError

PRECISION = 0.98
TARGETS = {"yunet": 15, "dlib-hog": 50}
SIDES = {
    "yunet": (160, 240, 320, 480, 640),
    "dlib-hog": (240, 320, 400, 480, 640),
    "haar": (240, 320, 480),
    "dlib-cnn": (160, 240),
}

KNOWN_PEOPLE = (
    *(7, 14, 27, 46, 64, 93, 94, 114, 140, 147, 154, 165, 175, 176, 185),
    *(195, 197, 204, 208, 212, 218, 222, 224, 226, 233, 256, 267, 268, 276, 288),
)
"""Numbers of background pictures that are photographs of people: all of them were looked at."""


@dataclass(frozen=True)
class Photographs:
    """Pictures with one large face, with people who are harder to see, and without anybody."""

    people: list[Path]
    hard: list[Path]
    without: list[Path]
    annotated: Path


def photographs(data: Path) -> Photographs:
    """The sets below ``data``; known people are taken out of the background."""
    background = sorted((data / "caltech_background").glob("*.jpg"))
    hard = [path for path in background if int(path.stem.removeprefix("image_")) in KNOWN_PEOPLE]
    return Photographs(
        people=sorted((data / "caltech_people").glob("*.jpg")),
        hard=hard,
        without=[path for path in background if path not in hard],
        annotated=data / "dlib_faces" / "examples" / "faces",
    )


def squares(people: list[Path], count: int, side: int = 640) -> list[bytes]:
    """JPEG files of ``side`` x ``side``: photographs, scaled and cropped."""
    files = []
    for path in (people * (1 + count // len(people)))[:count]:
        picture = cv2.imread(str(path))
        scale = side / min(picture.shape[:2])
        large = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        top, left = ((length - side) // 2 for length in large.shape[:2])
        crop = large[top : top + side, left : left + side]
        files.append(cv2.imencode(".jpg", crop, [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes())
    return files


def cost(detector: str, side: int, files: list[bytes]) -> float:
    """CPU seconds for 1,000 of the files, decoding included."""
    detect = load(detector, model_of(detector))
    find_faces(files[0], detect, input_side=side)
    start = time.process_time()
    for data in files:
        find_faces(data, detect, input_side=side)
    return (time.process_time() - start) / len(files) * 1000


def annotated_recall(detector: str, side: int, threshold: float, folder: Path) -> tuple[int, int]:
    """Annotated faces found at ``threshold``, and all of them."""
    detect = load(detector, model_of(detector))
    found = total = 0
    for name, boxes in annotations(folder).items():
        faces = find_faces((folder / name).read_bytes(), detect, input_side=side)
        seen = faces.boxes[faces.confidences >= threshold]
        found += sum(bool((overlap(box, seen) >= 0.4).any()) for box in boxes)
        total += len(boxes)
    return found, total


def annotations(folder: Path) -> dict[str, list[NDArray[np.float64]]]:
    """Boxes (left, top, width, height) of every annotated picture."""
    answer: dict[str, list[NDArray[np.float64]]] = {}
    for file in ("training.xml", "testing.xml"):
        for image in ET.parse(folder / file).iter("image"):  # noqa: S314 - a trusted file
            answer[image.attrib["file"]] = [
                np.array([float(box.attrib[k]) for k in ("left", "top", "width", "height")])
                for box in image.iter("box")
            ]
    return answer


def overlap(box: NDArray[np.float64], others: NDArray[np.float32]) -> NDArray[np.float64]:
    """Intersection over union of one box with each of the others."""
    low = np.maximum(box[:2], others[:, :2])
    high = np.minimum(box[:2] + box[2:], others[:, :2] + others[:, 2:])
    common = np.prod(np.clip(high - low, 0, None), axis=1)
    return np.asarray(common / (box[2] * box[3] + others[:, 2] * others[:, 3] - common))


def main() -> None:
    """Parse arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    shared = Path(os.environ.get("LIKEWISE_SHARED", "../shared"))
    parser.add_argument("--data", type=Path, default=shared / "data" / "faces")
    parser.add_argument("--count", type=int, default=200, help="photographs timed")
    parser.add_argument("--cnn", action="store_true", help="dlib's CNN too: minutes")
    options = parser.parse_args()
    sets = photographs(options.data)
    files = squares(sets.people, options.count)
    print(
        f"{len(sets.people)} pictures with a large face, {len(sets.hard)} with people harder to "
        f"see, {len(sets.without)} without; CPU-s for 1,000 photographs of 640 x 640\n"
    )
    print(
        "| Detector | side | CPU-s | target | threshold | precision | recall | 95 % "
        "| hard found | annotated faces | default |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for name, sides in SIDES.items():
        if name == "dlib-cnn" and not options.cnn:
            continue
        for side in sides:
            try:
                print(_line(name, side, sets, files), flush=True)
            except WeightsError as error:
                print(f"| {name} | | {error} | | | | | | | | |")
                break


def _line(name: str, side: int, sets: Photographs, files: list[bytes]) -> str:
    seconds = cost(name, side, files[: 10 if name == "dlib-cnn" else None])
    people, _ = measure(name, sets.people, input_side=side)
    without, _ = measure(name, sets.without, input_side=side)
    hard, _ = measure(name, sets.hard, input_side=side)
    chosen = threshold_for(curve(people, without), PRECISION)
    spec = DETECTORS[name]
    default = f"at {spec.min_confidence:g}" if side == spec.input_side else ""
    row = f"| {name} | {side} | {seconds:.1f} | {TARGETS.get(name, '')} "
    if chosen is None:
        return row + f"| none reaches {PRECISION} | | | | | | {default} |"
    return row + _found(name, side, chosen, hard, sets) + f" {default} |"


def _found(
    name: str, side: int, chosen: Point, hard: NDArray[np.float64], sets: Photographs
) -> str:
    found, total = annotated_recall(name, side, chosen.threshold, sets.annotated)
    return (
        f"| {chosen.threshold:.3f} | {chosen.precision:.3f} | {chosen.recall:.3f} "
        f"| {chosen.recall_low:.3f}-{chosen.recall_high:.3f} "
        f"| {int((hard >= chosen.threshold).sum())}/{hard.size} | {found}/{total} |"
    )


if __name__ == "__main__":
    main()
