"""Pictures of known classes with their features, in the parts that ``label`` has dealt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.compute as pc

from likewise.errors import DataError
from training.data.matrix import feature_layers

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from likewise.study import Study

__all__ = ["ClassProblem", "load_problem"]


@dataclass(frozen=True)
class ClassProblem:
    """n pictures in the order of their ids; ``features`` (v, n, d) holds v = 1 or 2 views each.

    ``unseen`` are the numbers of classes that no model may learn; their pictures lie in the part
    ``test``. ``dropped`` counts labelled pictures without usable features, by reason.
    """

    picture_id: NDArray[np.object_]
    label: NDArray[np.int64]
    group: NDArray[np.int64]
    fold: NDArray[np.int64]
    part: NDArray[np.object_]
    features: NDArray[np.float32]
    names: tuple[str, ...]
    unseen: frozenset[int]
    layer: str
    backbone: str
    maker: str
    dropped: dict[str, int]
    fingerprint: str

    def rows(self, *parts: str, unseen: bool = False) -> NDArray[np.int64]:
        """Numbers of the pictures of these parts, without the unseen classes or only these."""
        hidden = np.isin(self.label, list(self.unseen))
        return np.flatnonzero(np.isin(self.part, parts) & (hidden == unseen))

    @property
    def known(self) -> NDArray[np.int64]:
        """Numbers of the classes that models learn, in order: their columns."""
        return np.array([c for c in range(len(self.names)) if c not in self.unseen], np.int64)

    def columns(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """(r,) column of each picture's class among the known ones; -1 for an unseen class."""
        place = np.full(len(self.names), -1, np.int64)
        place[self.known] = np.arange(len(self.known))
        answer: NDArray[np.int64] = place[self.label[rows]]
        return answer

    def training(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """(v r, d) features of every view of these pictures, and the (v r,) columns of classes."""
        views = self.features[:, rows].reshape(-1, self.features.shape[2])
        return views, np.tile(self.columns(rows), len(self.features))


def load_problem(study: Study, layer: str | None = None) -> ClassProblem:
    """The classes of a study and the features of one layer; the default is the table's last.

    Raises:
        MissingTableError: there are no labels or features yet.
        DataError: the study asks about likes; a class has no training picture; features are of two
            makers or not finite.
    """
    manifest = study.require("labels")
    if manifest.extra.get("question", "likes") == "likes":
        raise DataError(
            f"{study.root} asks what is liked, not which class a picture is of",
            hint='set kind = "classes" under [question] of likewise.toml, then: likewise label',
        )
    layers = [name for name in feature_layers(study) if name != "logits"]
    chosen = layer or (layers[-1] if layers else "logits")
    columns = ["picture_id", "label", "group_key", "fold", "split"]
    labels = study.read("labels", columns).sort_by("picture_id")
    found = study.read(
        "features",
        ["picture_id", "flipped", "backbone", "maker", chosen],
        filter=pc.field("status") == "ok",
    )
    makers = found["maker"].unique().to_pylist()
    if len(makers) > 1:
        raise DataError(
            f"features were made by {len(makers)} networks or weights",
            hint="keep one: likewise prune, or set [extract] to the one that is meant",
        )
    found = found.sort_by([("flipped", "ascending"), ("picture_id", "ascending")])
    flat = found[chosen].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    views = flat.reshape(found.num_rows, -1) if found.num_rows else np.empty((0, 0), np.float32)
    if not np.isfinite(views).all():
        raise DataError(f"features.{chosen} holds values that are not finite")
    return _joined(study, labels, found, views.astype(np.float32, copy=False), chosen)


def _joined(
    study: Study, labels: pa.Table, found: pa.Table, views: NDArray[np.float32], layer: str
) -> ClassProblem:
    """Labels with the features of all their views; ``found`` and ``views`` are row by row."""
    manifest = study.require("labels")
    ids = labels["picture_id"].to_numpy(zero_copy_only=False)
    flipped = found["flipped"].to_numpy(zero_copy_only=False).astype(bool)
    theirs = found["picture_id"].to_numpy(zero_copy_only=False)
    place = []
    for side in (False, True) if flipped.any() else (False,):
        at = {picture: row for row, picture in enumerate(theirs) if flipped[row] == side}
        place.append(np.array([at.get(picture, -1) for picture in ids]))
    rows = np.stack(place)
    has = (rows >= 0).all(axis=0)
    names = tuple(manifest.extra["classes"])
    unseen = frozenset(names.index(name) for name in manifest.extra.get("unseen", ()))
    _, group = np.unique(labels["group_key"].to_numpy(zero_copy_only=False), return_inverse=True)
    problem = ClassProblem(
        picture_id=ids[has],
        label=labels["label"].to_numpy().astype(np.int64)[has],
        group=group.astype(np.int64)[has],
        fold=labels["fold"].to_numpy().astype(np.int64)[has],
        part=labels["split"].to_numpy(zero_copy_only=False)[has],
        features=views[rows[:, has]],
        names=names,
        unseen=unseen,
        layer=layer,
        backbone=str(found["backbone"][0]) if found.num_rows else "",
        maker=str(found["maker"][0]) if found.num_rows else "",
        dropped={"no features": int((~has).sum())},
        fingerprint=f"{manifest.fingerprint}-{study.require('features').fingerprint}",
    )
    trained = set(problem.label[problem.rows("train")].tolist())
    missing = [names[c] for c in problem.known.tolist() if c not in trained]
    if missing:
        raise DataError(
            f"no training picture with features is of class {', '.join(missing)}",
            hint="extract anew, or gather more pictures of it",
        )
    return problem
