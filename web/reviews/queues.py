"""In which order pictures are shown for review, and what a model believes of each label.

Beliefs are out of fold (logistic regression, groups held together), so that no model judges a
label that it has learned. They take minutes on a large study: ``python -m web.reviews.queues``
makes them in a process of its own, and the random queue is there without them.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import pyarrow.compute as pc

from filters.classes import groups_of
from filters.pictures.hamming import near_pairs
from likewise.errors import DataError, LikewiseError, UsageError
from likewise.study import Study, fingerprint
from likewise.tables import AUTHOR_KEY
from likewise.whole import whole_file
from training.data.matrix import feature_layers
from training.data.reviews import LIKED

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["MODEL", "MODES", "Beliefs", "Mode", "Queues", "open_queues", "path_of"]

Mode = Literal["contradiction", "margin", "random"]
MODES: tuple[Mode, ...] = get_args(Mode)

MODEL = "out-of-fold logistic regression"
"""Whose belief a review's ``score`` is."""

CODE = 1
RADIUS = 4
"""Bits within which pictures are near copies: one of each cluster comes first."""
LEAST_GROUPS = 5


@dataclass(frozen=True, slots=True)
class Beliefs:
    """What models that have not seen a picture believe of its label; arrays are by row, (n,).

    ``given`` is the probability of the label it has, ``margin`` the lead of the likeliest label
    over the next, ``rather`` the number of the likeliest. NaN and -1 where nobody judged: held-out
    pictures are not offered, so that the next model is judged on labels that nobody touched.
    """

    given: NDArray[np.float64]
    margin: NDArray[np.float64]
    rather: NDArray[np.int64]


@dataclass(frozen=True)
class Queues:
    """The labelled pictures of one state of a study. ``names`` are its labels by their number."""

    picture_id: NDArray[np.object_]
    label: NDArray[np.int64]
    names: tuple[str, ...]
    cluster: NDArray[np.int64]
    seed: int
    beliefs: Beliefs | None = None
    why_not: str | None = None
    """Why there will be no beliefs; None while they are being made."""

    @cached_property
    def row(self) -> dict[str, int]:
        """Picture -> its row."""
        return {str(picture): row for row, picture in enumerate(self.picture_id)}

    @property
    def preparing(self) -> bool:
        """Whether beliefs are missing and may still come."""
        return self.beliefs is None and self.why_not is None

    def told(self, picture_id: str) -> dict[str, Any]:
        """``old_label``, ``model`` and ``score`` of a review of this picture.

        Raises:
            UsageError: the picture has no label in this state of the study.
        """
        row = self.row.get(picture_id)
        if row is None:
            raise UsageError(f"picture {picture_id[:12]} has no label in this state of the study")
        found: dict[str, Any] = {"old_label": self.names[self.label[row]]}
        if self.beliefs is not None and self.beliefs.rather[row] >= 0:
            found |= {"model": MODEL, "score": float(self.beliefs.given[row])}
        return found

    @cached_property
    def copies(self) -> NDArray[np.int64]:
        """(n,) how many near copies of itself each picture has, itself included."""
        size: NDArray[np.int64] = np.bincount(self.cluster)
        return size[self.cluster]

    def order(self, mode: Mode) -> NDArray[np.int64]:
        """Rows in the order of a queue.

        ``random`` draws from all pictures, clusters or not: its error rate speaks of pictures.

        Raises:
            DataError: the beliefs are not there.
        """
        if mode not in self._orders:
            self._orders[mode] = self._ordered(mode)
        return self._orders[mode]

    @cached_property
    def _orders(self) -> dict[Mode, NDArray[np.int64]]:
        return {}

    def _ordered(self, mode: Mode) -> NDArray[np.int64]:
        if mode == "random":
            key = str(self.seed).encode()
            drawn = [
                hashlib.blake2b(str(one).encode(), key=key, digest_size=8).digest()
                for one in self.picture_id
            ]
            return np.array(sorted(range(len(drawn)), key=drawn.__getitem__), np.int64)
        if self.beliefs is None:
            raise DataError(
                self.why_not or "the beliefs of the queue are still being computed",
                hint="the random queue needs none",
            )
        value = self.beliefs.given if mode == "contradiction" else self.beliefs.margin
        rows = np.flatnonzero(np.isfinite(value))
        rows = rows[np.argsort(value[rows], kind="stable")]
        first = np.zeros(len(rows), np.bool_)
        first[np.unique(self.cluster[rows], return_index=True)[1]] = True
        return np.concatenate([rows[first], rows[~first]])


def path_of(study: Study) -> Path:
    """File of the beliefs of this state; below ``reports/``, where ``forget`` deletes."""
    made_from: dict[str, Any] = {"code": CODE, "seed": study.config.study.seed}
    for table in ("labels", "features"):
        manifest = study.manifest(table)
        made_from[table] = None if manifest is None else manifest.fingerprint
    return study.root / "reports" / "review" / f"{fingerprint(made_from)}.npz"


def open_queues(study: Study) -> Queues:
    """The pictures to review; with beliefs where their file is there.

    Raises:
        MissingTableError: there are no labels yet.
    """
    manifest = study.require("labels")
    rows = study.read("labels", ["picture_id", "label"]).sort_by("picture_id")
    question = manifest.extra.get("question", "likes")
    names = tuple(manifest.extra["classes"]) if question != "likes" else tuple(LIKED)
    ids = rows["picture_id"].to_numpy(zero_copy_only=False)
    found = Queues(
        picture_id=ids,
        label=rows["label"].to_numpy().astype(np.int64),
        names=names,
        cluster=_clusters(study, ids),
        seed=study.config.study.seed,
    )
    path = path_of(study)
    if not path.is_file():
        return found
    with np.load(path) as file:
        why = str(file["why_not"]) or None
        made = Beliefs(file["given"], file["margin"], file["rather"])
    return replace(found, beliefs=made if why is None else None, why_not=why)


def _clusters(study: Study, picture_id: NDArray[np.object_]) -> NDArray[np.int64]:
    """(n,) number of the near-copy cluster of each picture; its own without a hash."""
    if study.manifest("pictures") is None:
        return np.arange(len(picture_id))
    found = study.read("pictures", ["picture_id", "phash"], filter=pc.field("phash").is_valid())
    codes = dict(zip(found["picture_id"].to_pylist(), found["phash"].to_pylist(), strict=True))
    known = np.array([picture in codes for picture in picture_id], np.bool_)
    rows = np.flatnonzero(known)
    code = np.array([codes[picture_id[row]] for row in rows], np.int64)
    unique, first, inverse = np.unique(code, return_index=True, return_inverse=True)
    left, right = near_pairs(unique, RADIUS)
    near = np.stack([rows[first[left]], rows[first[right]]], axis=1)
    equal = np.stack([rows[first[inverse]], rows], axis=1)
    group, _ = groups_of([str(one) for one in picture_id], np.concatenate([near, equal]))
    return group


# -- beliefs ------------------------------------------------------------------------------


def prepare(study: Study) -> Path:
    """Compute the beliefs of this state and write their file; what stands in the way is told."""
    queues = open_queues(study)
    n = len(queues.picture_id)
    given, margin = np.full(n, np.nan), np.full(n, np.nan)
    rather, why = np.full(n, -1), ""
    try:
        rows, share = _out_of_fold(study, queues)
        ordered = np.sort(share, axis=1)
        given[rows] = share[np.arange(len(rows)), queues.label[rows]]
        margin[rows] = ordered[:, -1] - ordered[:, -2]
        rather[rows] = share.argmax(axis=1)
    except LikewiseError as error:
        why = str(error)
    path = path_of(study)
    for old in path.parent.glob("*.npz"):
        old.unlink(missing_ok=True)
    with whole_file(path) as staged, staged.open("wb") as file:
        np.savez(file, given=given, margin=margin, rather=rather, why_not=np.array(why))
    return path


def _out_of_fold(study: Study, queues: Queues) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Rows of the training and validation parts, and their (r, k) probabilities.

    Raises:
        DataError, MissingTableError: there are no features, one label, or too few groups.
    """
    from training.fitting.classes import mean_square
    from training.noise.cleaning import out_of_fold

    study.require("features")
    layers = [name for name in feature_layers(study) if name != "logits"]
    if not layers:
        raise DataError("the features hold no layer but the logits")
    layer = layers[-1]
    columns = ["picture_id", "split", "group_key", *AUTHOR_KEY]
    labels = study.read("labels", columns).sort_by("picture_id").to_pylist()
    learned = np.array([row["split"] != "test" for row in labels], np.bool_)
    keys = [row["group_key"] or "\x1f".join(row[name] for name in AUTHOR_KEY) for row in labels]
    ready = (pc.field("status") == "ok") & ~pc.field("flipped")
    found = study.read("features", ["picture_id", layer], filter=ready)
    place = {picture: at for at, picture in enumerate(found["picture_id"].to_pylist())}
    rows = np.array(
        [row for row in np.flatnonzero(learned) if queues.picture_id[row] in place], np.int64
    )
    _, group = np.unique(np.array(keys, object)[rows], return_inverse=True)
    classes, label = np.unique(queues.label[rows], return_inverse=True)
    if len(classes) < 2 or len(np.unique(group)) < LEAST_GROUPS:
        raise DataError(
            f"{len(rows)} pictures of {len(classes)} labels and {len(np.unique(group))} authors or "
            "groups are too few to doubt labels out of fold"
        )
    flat = found[layer].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    values = flat.reshape(found.num_rows, -1)[[place[queues.picture_id[row]] for row in rows]]
    features = values.astype(np.float32) * np.float32(1 / np.sqrt(mean_square(values)))
    share = np.zeros((len(rows), len(queues.names)))
    share[:, classes] = out_of_fold(features, label, group, seed=queues.seed)
    return rows, share


def main(arguments: Sequence[str]) -> int:
    """``ROOT`` and the versions of its tables as JSON."""
    root, versions = arguments
    study = Study.open(root, at=json.loads(versions))
    try:
        prepare(study)
    except (LikewiseError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
