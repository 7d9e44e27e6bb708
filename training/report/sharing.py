"""A report to be passed on: faces blurred, authors without names, fewer pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from likewise.errors import MissingTableError
from likewise.study import Study
from training.galleries.class_gallery import ClassGalleries, ClassPick
from training.galleries.picks import Galleries, Pick

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["FaceVeil", "Sharing"]

MARGIN = 0.25
"""Of a face's box, added on each side: hair and chin tell who it is, too."""


@dataclass(frozen=True, slots=True)
class Sharing:
    """What is left out of the page. ``top`` None shows the galleries whole."""

    blur_faces: bool = False
    no_handles: bool = False
    top: int | None = None

    @property
    def anything(self) -> bool:
        """Whether the page differs from the study's own."""
        return self != Sharing()

    def of(self, galleries: Galleries) -> Galleries:
        """The galleries as the page may show them."""
        top, bottom = galleries.top[: self.top], galleries.bottom[: self.top]
        if self.no_handles:
            people = {one.handle for one in [*galleries.top, *galleries.bottom]}
            names = {handle: f"author {n}" for n, handle in enumerate(sorted(people), 1)}
            top, bottom = (_nameless(picks, names) for picks in (top, bottom))
        return replace(galleries, n=max(len(top), len(bottom)), top=top, bottom=bottom)

    def of_classes(self, galleries: ClassGalleries) -> ClassGalleries:
        """The galleries of classes as the page may show them."""

        def shown(picks: Sequence[ClassPick]) -> list[ClassPick]:
            kept = list(picks)[: self.top]
            if not self.no_handles:
                return kept
            return [replace(one, handle="", url=None, alt="") for one in kept]

        return replace(
            galleries,
            classes=[
                replace(one, best=shown(one.best), worst=shown(one.worst))
                for one in galleries.classes
            ],
            confused=[replace(one, picks=shown(one.picks)) for one in galleries.confused],
            unseen=shown(galleries.unseen),
        )


def _nameless(picks: Sequence[Pick], names: dict[str, str]) -> list[Pick]:
    # A post's address and its author's own description name people, too.
    return [replace(one, handle=names[one.handle], url=None, alt="") for one in picks]


class FaceVeil:
    """Blurs the faces that the detector found; pictures that it has not looked at, whole.

    Raises:
        MissingTableError: no faces have been looked for, so nothing could be promised.
    """

    def __init__(self, study: Study) -> None:
        if study.manifest("faces") is None:
            raise MissingTableError(
                f"{study.root}: faces have not been looked for, so none can be blurred",
                hint=f"run: likewise faces {study.root}",
            )
        self._study = study
        self._boxes: dict[str, list[tuple[float, float, float, float]]] | None = None

    def __call__(self, picture_id: str, rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The whole picture, (H, W, 3) at any scale, with its faces blurred."""
        if self._boxes is None:
            self._boxes = _all_boxes(self._study)
        boxes = self._boxes.get(picture_id, [(0.0, 0.0, 1.0, 1.0)])
        out = np.ascontiguousarray(rgb).copy()
        height, width = out.shape[:2]
        for x, y, w, h in boxes:
            left, top = (
                max(0, int((x - MARGIN * w) * width)),
                max(0, int((y - MARGIN * h) * height)),
            )
            right = min(width, int(np.ceil((x + (1 + MARGIN) * w) * width)))
            bottom = min(height, int(np.ceil((y + (1 + MARGIN) * h) * height)))
            if right > left and bottom > top:
                part = out[top:bottom, left:right]
                # Down to 4 pixels a side and up again: nothing of a face can be sharpened back.
                tiny = cv2.resize(part, (4, 4), interpolation=cv2.INTER_AREA)
                out[top:bottom, left:right] = cv2.resize(
                    tiny, (right - left, bottom - top), interpolation=cv2.INTER_LINEAR
                )
        return out


def _all_boxes(study: Study) -> dict[str, list[tuple[float, float, float, float]]]:
    """Boxes of every picture that was looked at, as shares of its width and height."""
    sizes: dict[str, tuple[int, int]] = {
        row["picture_id"]: (row["width"], row["height"])
        for row in study.read("pictures", ["picture_id", "width", "height"]).to_pylist()
        if row["picture_id"] and row["width"] and row["height"]
    }
    found: dict[str, list[Any]] = {}
    rows = study.read("faces", ["picture_id", "boxes", "status"]).to_pylist()
    for row in rows:
        size = sizes.get(row["picture_id"])
        if row["status"] != "ok" or size is None:
            continue
        found.setdefault(row["picture_id"], []).extend(
            (b["x"] / size[0], b["y"] / size[1], b["width"] / size[0], b["height"] / size[1])
            for b in row["boxes"] or ()
        )
    return found
