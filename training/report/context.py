"""What all sections of the report draw from: the study's tables, read once, and thumbnails."""

from __future__ import annotations

import base64
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pyarrow as pa

from likewise.errors import MissingTableError, UsageError
from likewise.study import Study
from training.changes import Diff, since_last_night
from training.comparison import class_results, results
from training.data.question import asks_classes
from training.data.unit import Unit, unit_of
from training.drawing.figures import Figure, Painter, draw
from training.explain import Explanation, explain
from training.galleries import class_gallery, gallery
from training.models.scoring import class_model, saved_model
from training.pictures import thumbnails
from training.report.sharing import FaceVeil, Sharing

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from likewise.study import Manifest
    from training.comparison.class_results import ClassComparison
    from training.comparison.results import Comparison
    from training.galleries.class_gallery import ClassGalleries
    from training.galleries.picks import Galleries
    from training.models.classes import ClassScorer
    from training.models.saved import Scorer
    from training.tuning.saved import FinetunedScorer

__all__ = ["Context", "Section", "Thumbs"]


@dataclass(frozen=True, slots=True)
class Section:
    """One part of the page: its anchor, heading, template and what the template shows."""

    id: str
    title: str
    template: str
    data: Mapping[str, Any] = field(default_factory=dict)


Edit = Callable[["NDArray[np.uint8]"], "NDArray[np.uint8]"]


class Thumbs:
    """Small pictures of the page: asked for by the sections, read in one pass over the table."""

    def __init__(self, side: int, veil: FaceVeil | None = None) -> None:
        self.side = side
        self._veil = veil
        self._wanted: dict[str, list[tuple[str, Edit]]] = defaultdict(list)
        self._uris: dict[str, str] = {}

    def square(self, picture_id: str, side: int | None = None) -> str:
        """Key of the picture's middle square of ``side`` pixels."""
        size = side or self.side
        return self._want(picture_id, f"square{size}", lambda rgb: thumbnails.square(rgb, size))

    def boxed(self, picture_id: str, boxes: Sequence[Sequence[float]]) -> str:
        """Key of the whole picture with face boxes (x, y, width, height; shares of its size)."""

        def edit(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
            return _with_boxes(thumbnails.shrink(rgb, self.side), boxes)

        return self._want(picture_id, "boxed", edit)

    def give(self, key: str, rgb: NDArray[np.uint8]) -> None:
        """Put a picture that was made elsewhere (a heat map) under ``key``."""
        self._uris[key] = _uri(rgb)

    def veiled(self, picture_id: str, rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The whole picture as the page may show it."""
        return rgb if self._veil is None else self._veil(picture_id, rgb)

    def _want(self, picture_id: str, kind: str, edit: Edit) -> str:
        key = f"{kind}:{picture_id}"
        if key not in {known for known, _ in self._wanted[picture_id]}:
            self._wanted[picture_id].append((key, edit))
        return key

    def load(self, study: Study) -> int:
        """Make every thumbnail that was asked for; return how many pictures were not there."""
        sides = dict.fromkeys(self._wanted, self.side)
        for picture_id, rgb in thumbnails.decoded(study, sides):
            shown = self.veiled(picture_id, rgb)
            for key, edit in self._wanted[picture_id]:
                self._uris[key] = _uri(edit(shown))
        keys = [edits[0][0] for edits in self._wanted.values()]
        return sum(key not in self._uris for key in keys)

    def uri(self, key: str) -> str | None:
        """``data:`` address of the thumbnail; None when the picture is missing or broken."""
        return self._uris.get(key)


def _uri(rgb: NDArray[np.uint8]) -> str:
    return "data:image/webp;base64," + base64.b64encode(thumbnails.encode(rgb)).decode()


def _with_boxes(rgb: NDArray[np.uint8], boxes: Sequence[Sequence[float]]) -> NDArray[np.uint8]:
    """White boxes with a dark rim, so that they show on any picture."""
    canvas = np.ascontiguousarray(rgb).copy()
    height, width = canvas.shape[:2]
    for x, y, w, h in boxes:
        corners = (
            (round(x * width), round(y * height)),
            (round((x + w) * width), round((y + h) * height)),
        )
        cv2.rectangle(canvas, *corners, (20, 20, 20), 4)
        cv2.rectangle(canvas, *corners, (255, 255, 255), 2)
    return canvas


class Context:
    """The study as the report sees it. What is missing is None, never an error."""

    def __init__(
        self, study: Study, figures: Path, sharing: Sharing | None = None, *, prefix: str = ""
    ) -> None:
        self.study = study
        self.figures = figures
        self._prefix = prefix  # pages beside the report share its folder of figures
        self.sharing = sharing or Sharing()
        veil = FaceVeil(study) if self.sharing.blur_faces else None
        self.thumbs = Thumbs(study.config.report.thumbnail, veil)
        self._drawn: dict[str, Figure] = {}

    def manifest(self, table: str) -> Manifest | None:
        """The table's manifest, or None."""
        return self.study.manifest(table)

    def said(self, table: str) -> Mapping[str, Any]:
        """What the stage said about its table; empty without a table."""
        manifest = self.manifest(table)
        return {} if manifest is None else manifest.extra

    def figure(self, name: str, title: str, words: str, paint: Painter, **shape: float) -> Figure:
        """Draw a figure into the report's folder; one that is shown twice is drawn once."""
        if name not in self._drawn:
            file = f"{self._prefix}{name}"
            self._drawn[name] = draw(self.figures, file, title, words, paint, **shape)
        return self._drawn[name]

    @cached_property
    def unit(self) -> Unit:
        """What was dealt over folds and held out."""
        return unit_of(self.study)

    @cached_property
    def labels(self) -> pa.Table | None:
        """The labels without their times; None before ``label``."""
        return self.study.read("labels") if self.manifest("labels") else None

    @cached_property
    def galleries(self) -> Galleries | None:
        """The best and worst pictures; None before ``rank``."""
        return self.sharing.of(gallery.load(self.study)) if self.manifest("scores") else None

    @cached_property
    def scorer(self) -> Scorer | FinetunedScorer | None:
        """The model of the ranking; None before ``rank`` or when it was deleted since."""
        name = self.said("scores").get("model")
        try:
            return saved_model(self.study, name) if name else None
        except MissingTableError:
            return None

    @cached_property
    def explanation(self) -> Explanation | None:
        """What both ends of the ranking differ in; None before ``rank`` or without enough."""
        return self._explained[0]

    @property
    def why_unexplained(self) -> str | None:
        """Why a ranking cannot be explained; None when it is, or when there is none."""
        return self._explained[1]

    @cached_property
    def _explained(self) -> tuple[Explanation | None, str | None]:
        if self.manifest("scores") is None:
            return None, None
        try:
            return explain(self.study), None
        except UsageError as error:
            return None, f"The ranking cannot be explained: {error}."

    @property
    def asks_classes(self) -> bool:
        """Whether the study asks which class a picture is of."""
        return asks_classes(self.study)

    @cached_property
    def classes(self) -> ClassComparison | None:
        """What ``compare`` found about classes; None before it."""
        return class_results.load(self.study) if self.asks_classes else None

    @cached_property
    def class_galleries(self) -> ClassGalleries | None:
        """Pictures of each class; None before ``rank``."""
        if not self.asks_classes or self.manifest("scores") is None:
            return None
        return self.sharing.of_classes(class_gallery.load(self.study))

    @cached_property
    def class_scorer(self) -> ClassScorer | FinetunedScorer | None:
        """The model of the ranking; None before ``rank`` or when it was deleted since."""
        name = self.said("scores").get("model")
        try:
            return class_model(self.study, name) if name and self.asks_classes else None
        except MissingTableError:
            return None

    @cached_property
    def moved(self) -> Diff | None:
        """What differs from the last night; None before a second one."""
        return since_last_night(self.study)

    @cached_property
    def comparison(self) -> Comparison | None:
        """What ``compare`` found; None before it."""
        return results.load(self.study)
