"""How sure a detector must be: precision and recall of a threshold, measured on labelled pictures.

A picture counts as found when its most confident box reaches the threshold. Precision depends on
how many of the pictures show people; it is stated for the share of the pictures at hand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from filters.faces.detectors import find_faces, load
from filters.faces.known import DETECTORS, model_of
from filters.pictures.decode import PictureError
from likewise.errors import DataError, UsageError

__all__ = ["Point", "curve", "labelled_pictures", "measure", "plot", "threshold_for"]

WITH = ("people", "positive")
WITHOUT = ("background", "negative")

NO_BOX = -np.inf
"""Confidence of a picture in which the detector sees nothing at all."""


@dataclass(frozen=True, slots=True)
class Point:
    """What a threshold does, with 95 % Wilson intervals."""

    threshold: float
    precision: float
    precision_low: float
    precision_high: float
    recall: float
    recall_low: float
    recall_high: float
    found: int
    false: int

    def to_dict(self) -> dict[str, float | int]:
        """Plain JSON types."""
        return asdict(self)


def labelled_pictures(folder: Path) -> tuple[list[Path], list[Path]]:
    """Pictures with people and without, from two folders named, or ending, like that.

    Raises:
        UsageError: there are not exactly these two, or one of them is empty.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder")
    return _pictures(folder, WITH), _pictures(folder, WITHOUT)


def _pictures(folder: Path, names: tuple[str, ...]) -> list[Path]:
    folders = [path for path in sorted(folder.iterdir()) if path.is_dir()]
    matches = [path for path in folders if path.name.endswith(names)]
    hint = f"put pictures with people into {folder}/people, others into {folder}/background"
    if len(matches) != 1:
        found = ", ".join(path.name for path in matches) or "none"
        raise UsageError(
            f"{folder}: expected one folder named {' or '.join(names)}, found {found}", hint=hint
        )
    pictures = sorted(path for path in matches[0].rglob("*") if path.is_file())
    if not pictures:
        raise UsageError(f"{matches[0]} holds no pictures", hint=hint)
    return pictures


def measure(
    detector: str,
    pictures: Iterable[Path],
    *,
    input_side: int | None = None,
    tick: Callable[[], None] = lambda: None,
) -> tuple[NDArray[np.float64], list[tuple[Path, str]]]:
    """Best confidence of each picture (n,), and the pictures that cannot be decoded.

    Raises:
        WeightsError: the detector's model is missing or damaged.
    """
    detect = load(detector, model_of(detector))
    side = input_side or DETECTORS[detector].input_side
    best, failed = [], []
    for path in pictures:
        try:
            found = find_faces(path.read_bytes(), detect, input_side=side)
        except PictureError as error:
            failed.append((path, error.error_class))
        else:
            best.append(max(found.confidences.tolist(), default=NO_BOX))
        tick()
    return np.asarray(best, np.float64), failed


def curve(with_people: NDArray[np.float64], without: NDArray[np.float64]) -> list[Point]:
    """Precision and recall at every threshold that tells two pictures apart, rising.

    Each threshold lies midway between two neighbouring confidences, so that none of them sits on
    an edge.

    Raises:
        DataError: no picture with people, or the detector sees nothing in any of them.
    """
    if with_people.size == 0 or not np.isfinite(with_people).any():
        raise DataError("the detector sees no face in any of the pictures with people")
    seen = np.concatenate([with_people, without])
    values = np.unique(seen[np.isfinite(seen)])
    between = values[:-1] + np.diff(values) / 2
    thresholds = np.concatenate([values[:1], between])
    return [_point(threshold, with_people, without) for threshold in thresholds]


def _point(
    threshold: float, with_people: NDArray[np.float64], without: NDArray[np.float64]
) -> Point:
    found = int((with_people >= threshold).sum())
    false = int((without >= threshold).sum())
    return Point(
        float(threshold),
        *_share(found, found + false),
        *_share(found, with_people.size),
        found=found,
        false=false,
    )


def _share(part: int, whole: int) -> tuple[float, float, float]:
    """A proportion and its 95 % Wilson interval."""
    from scipy.stats import binomtest

    if whole == 0:
        return float("nan"), 0.0, 1.0
    interval = binomtest(part, whole).proportion_ci(method="wilson")
    return part / whole, float(interval.low), float(interval.high)


def threshold_for(points: list[Point], precision: float) -> Point | None:
    """The point of highest recall among those that reach ``precision``; None when none does."""
    reach = [point for point in points if point.precision >= precision]
    return max(reach, key=lambda point: (point.recall, point.threshold), default=None)


def plot(points: list[Point], chosen: Point | None, path: Path, title: str) -> None:
    """Draw precision and recall against the threshold, with their intervals, into ``path``."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    x = [point.threshold for point in points]
    for name in ("precision", "recall"):
        line = axes.plot(x, _column(points, name), label=name)[0]
        low, high = _column(points, f"{name}_low"), _column(points, f"{name}_high")
        axes.fill_between(x, low, high, color=line.get_color(), alpha=0.2, linewidth=0)
    if chosen is not None:
        axes.axvline(chosen.threshold, color="black", linestyle=":", label="chosen")
    axes.set(xlabel="confidence threshold", ylim=(0, 1.02), title=title)
    axes.legend(loc="lower left")
    figure.savefig(path, dpi=150)


def _column(points: list[Point], name: str) -> list[Any]:
    return [getattr(point, name) for point in points]
