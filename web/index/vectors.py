"""Features of all pictures in one mapped file, and the saved models' scores, in one pass.

The file is named by the features and the layer, so that nights that add no pictures share it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from likewise.errors import LikewiseError
from likewise.study import Study, fingerprint, open_part
from likewise.whole import whole_file
from training.data.layers import matrix
from training.data.mapped import create
from training.models import saved
from training.models.saved import LinearScorer, Scorer

__all__ = ["Vectors", "vectors"]

BATCH = 4096


@dataclass(frozen=True, slots=True)
class Vectors:
    """``row`` (n,): row of the mapped file for each picture, -1 where there are no features.

    ``file`` is the name of the ``.npy`` of unit vectors, (m, d) float32; None without features.
    ``scores`` are other models' mean scores of a picture's views, NaN where there is none.
    """

    row: NDArray[np.int32]
    file: str | None = None
    layer: str | None = None
    backbone: str | None = None
    published: str | None = None
    scores: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    chances: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    """Calibrated probabilities of the same, NaN where the calibration was refused."""


def vectors(study: Study, picture_ids: Sequence[str], folder: Path) -> Vectors:
    """Map the upright views' features of ``picture_ids`` and score them by the linear models.

    Forests and networks are not asked: a forest takes a minute where a linear model takes a
    second, and their scores are there once ``rank`` has published them.
    """
    n = len(picture_ids)
    none = np.full(n, -1, np.int32)
    ranked = study.manifest("scores")
    published = None if ranked is None else str(ranked.extra.get("model", "model"))
    made = study.manifest("features")
    if made is None or n == 0:
        return Vectors(none, published=published)
    schema = study.dataset("features").schema
    layers = [f.name for f in schema if pa.types.is_list(f.type) and f.name != "logits"]
    if not layers:
        return Vectors(none, published=published)
    models = _linear(study, layers, published)
    layer, backbone = _chosen(study, layers, published)
    name = f"vectors-{fingerprint([made.fingerprint, layer, backbone])}.npy"
    ids = pa.array(picture_ids, pa.string())
    totals = {model.name: _Mean(n) for model in models}
    row = none.copy()
    with _mapping(study, folder / name, backbone) as file:
        for batch in _batches(study, [layer, *(model.layer for model in models)]):
            at = pc.index_in(batch["picture_id"], value_set=ids)
            place = at.fill_null(-1).to_numpy(zero_copy_only=False)
            nets = batch["backbone"]
            for model in models:
                mine = pc.and_(pc.equal(nets, model.backbone), at.is_valid())
                part = batch.filter(mine)
                if len(part):
                    rows = place[mine.to_numpy(zero_copy_only=False)]
                    totals[model.name].add(rows, model.score(matrix(part, model.layer)))
            upright = pc.and_(pc.equal(nets, backbone), pc.invert(batch["flipped"]))
            part = batch.filter(upright)
            if len(part):
                rows = place[upright.to_numpy(zero_copy_only=False)]
                numbers = file.add(matrix(part, layer))
                row[rows[rows >= 0]] = numbers[rows >= 0]
    scores = {model: total.mean for model, total in totals.items()}
    chances = {model.name: model.probability(scores[model.name]) for model in models}
    mapped = name if file.filled else None
    return Vectors(row, mapped, layer, backbone, published, scores, chances)


def _batches(study: Study, layers: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Rows of ``features`` that are ok, in the order of the parts."""
    columns = list(dict.fromkeys(["picture_id", "flipped", "backbone", "status", *layers]))
    for path in study.parts("features"):
        for batch in pq.ParquetFile(open_part(path)).iter_batches(BATCH, columns=columns):
            good = batch.filter(pc.equal(batch["status"], "ok"))
            if len(good):
                yield good


class _Mean:
    """Means of values that come in parts."""

    def __init__(self, n: int) -> None:
        self._sum, self._count = np.zeros(n), np.zeros(n)

    def add(self, rows: NDArray[np.int64], values: NDArray[np.float64]) -> None:
        np.add.at(self._sum, rows, values)
        np.add.at(self._count, rows, 1)

    @property
    def mean(self) -> NDArray[np.float64]:
        """(n,) means; NaN where there was no value."""
        some = self._count > 0
        return np.where(some, self._sum / np.maximum(self._count, 1), np.nan)


class _File:
    """The mapped file in the making; one that is there already is only counted through."""

    def __init__(self, path: Path | None, most: int) -> None:
        self._path, self._most = path, most
        self._rows: NDArray[np.float32] | None = None
        self.filled = 0

    def add(self, rows: NDArray[np.float32]) -> NDArray[np.int32]:
        """Append rows, scaled to length 1; returns their numbers."""
        numbers = np.arange(self.filled, self.filled + len(rows), dtype=np.int32)
        if self._path is not None:
            if self._rows is None:
                self._rows = create(self._path, (self._most, rows.shape[1]))
            norms = np.linalg.norm(rows, axis=1, keepdims=True)
            self._rows[numbers] = rows / np.maximum(norms, 1e-12)
        self.filled += len(rows)
        return numbers


@contextlib.contextmanager
def _mapping(study: Study, path: Path, backbone: str) -> Iterator[_File]:
    rule = (pc.field("status") == "ok") & ~pc.field("flipped") & (pc.field("backbone") == backbone)
    # Rows are counted where the file has to be made only: that reads two columns of all parts.
    if path.is_file() or not (most := study.dataset("features").count_rows(filter=rule)):
        yield _File(None, 0)
        return
    with whole_file(path) as staged:
        yield _File(staged, most)


def _linear(study: Study, layers: Sequence[str], published: str | None) -> list[Scorer]:
    """Saved linear models on these layers beside the published one; damaged ones are left out."""
    found: list[Scorer] = []
    for name in saved.names(study):
        try:
            model = saved.load(study, name)
        except LikewiseError:
            continue
        if isinstance(model, LinearScorer) and model.layer in layers and name != published:
            found.append(model)
    return found


def _chosen(study: Study, layers: Sequence[str], published: str | None) -> tuple[str, str]:
    """Layer and network whose features tell what is alike: the published model's where it can."""
    made = study.require("features")
    backbone = str(made.extra.get("backbone", ""))
    ranked = study.manifest("scores")
    if published is not None and ranked is not None and ranked.extra.get("layer") in layers:
        return str(ranked.extra["layer"]), str(ranked.extra["backbone"])
    if not backbone:
        first = study.dataset("features").head(1, columns=["backbone"])["backbone"].to_pylist()
        backbone = first[0] if first else ""
    return layers[-1], backbone
