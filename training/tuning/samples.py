"""Which labelled pictures are for training, validation and test, and in which order they come."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from likewise.errors import DataError
from likewise.study import Study
from training.data.reviews import LIKED, Reviewed, reviewed_labels
from training.data.unit import AUTHORS, UNIT_KEY, Unit, unit_codes, unit_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Order", "Samples", "read_samples", "said_of"]

COLUMNS = ["picture_id", *UNIT_KEY, "label", "weight", "fold", "split"]
FEWEST = 2


@dataclass(frozen=True)
class Samples:
    """The labelled pictures, ordered by ``picture_id``; all arrays have one entry a picture.

    ``groups`` numbers what stands on one side only, ``unit`` names it: authors, or blocks of time.
    Where classes are asked ``names`` are theirs, and ``validation`` flags the part of that name;
    without such a part, and for likes, a fold stands in its place.
    """

    picture_ids: tuple[str, ...]
    groups: NDArray[np.int64]
    labels: NDArray[np.int64]
    weights: NDArray[np.float32]
    folds: NDArray[np.int32]
    test: NDArray[np.bool_]
    unit: Unit = AUTHORS
    names: tuple[str, ...] = ()
    validation: NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        return len(self.picture_ids)

    @property
    def classes(self) -> int:
        """Number of classes: labels are 0 ... classes - 1."""
        return len(self.names) or int(self.labels.max()) + 1

    def only(self, keep: NDArray[np.bool_]) -> Samples:
        """The pictures where ``keep`` is true."""
        return replace(
            self,
            picture_ids=tuple(np.asarray(self.picture_ids, dtype=object)[keep]),
            groups=self.groups[keep],
            labels=self.labels[keep],
            weights=self.weights[keep],
            folds=self.folds[keep],
            test=self.test[keep],
            validation=None if self.validation is None else self.validation[keep],
        )

    def parts(self, validation_fold: int) -> dict[str, NDArray[np.int64]]:
        """Indices of ``train``, ``validation`` and ``test``; no unit is in two of them.

        The validation fold is taken from the training authors where there is no part of that name;
        -1 trains on both.

        Raises:
            DataError: a part has too few units, or lacks a class.
        """
        chosen = self.folds == validation_fold
        if self.validation is not None:
            chosen = self.validation & (validation_fold >= 0)
        validation = ~self.test & chosen
        masks = {
            "train": ~self.test & ~validation,
            "validation": validation,
            "test": self.test,
        }
        parts = {name: np.flatnonzero(mask) for name, mask in masks.items()}
        for name, indices in parts.items():
            if name != "validation" or validation_fold >= 0:
                self._check(name, indices)
        return parts

    def _check(self, part: str, indices: NDArray[np.int64]) -> None:
        units = len(np.unique(self.groups[indices]))
        if units < FEWEST:
            one, many = self.unit.one, self.unit.many
            raise DataError(
                f"fine-tuning: the {part} part has {units} {one if units == 1 else many}, at least "
                f"{FEWEST} are needed",
                hint=f"more {many} are needed, or change [label] folds and test_fraction",
            )
        if self.names and part != "train":
            return  # a rare class may lack a picture there; its rate then has no value
        present = np.unique(self.labels[indices]).tolist()
        missing = sorted(set(range(max(self.classes, 2))) - set(present))
        if missing:
            raise DataError(
                f"fine-tuning: the {part} part has no picture of class "
                f"{self.names[missing[0]] if self.names else missing[0]}",
                hint="collect more posts, or look at the labels with: likewise status",
            )


def read_samples(study: Study, *, reviews: bool | None = None) -> Samples:
    """The table ``labels`` as arrays, the training labels as people corrected them.

    Args:
        study: the study.
        reviews: whether reviews count; None takes ``[finetune] reviews``.

    Raises:
        DataError: the table is empty or has bad labels.
    """
    rows = study.read("labels", columns=COLUMNS).sort_by("picture_id")
    if rows.num_rows == 0:
        raise DataError(f"{study.root}: the table 'labels' has no rows", hint="likewise status")
    column = {name: rows.column(name).to_numpy(zero_copy_only=False) for name in COLUMNS}
    labels = column["label"].astype(np.int64)
    weights = column["weight"].astype(np.float32)
    if labels.min() < 0:
        raise DataError(f"table labels: label {labels.min()}, expected 0, 1, ...")
    if not np.isfinite(weights).all() or weights.min() < 0 or weights.sum() <= 0:
        raise DataError("table labels: weights must be finite, not negative and not all 0")
    samples = Samples(
        picture_ids=tuple(column["picture_id"]),
        groups=unit_codes(rows),
        labels=labels,
        weights=weights / weights.mean(),
        folds=column["fold"].astype(np.int32),
        test=column["split"] == "test",
        unit=unit_of(study),
    )
    manifest = study.require("labels")
    if manifest.extra.get("question", "likes") != "likes":
        names, unseen = manifest.extra["classes"], set(manifest.extra.get("unseen", ()))
        known = [name for name in names if name not in unseen]
        place = np.array([known.index(name) if name in known else -1 for name in names], np.int64)
        held = column["split"] == "validation"
        samples = replace(
            samples,
            labels=place[labels],
            names=tuple(known),
            validation=held if held.any() else None,
        )
        # What no model may learn is no matter of this network.
        samples = samples.only(samples.labels >= 0)
        if study.config.question.kind == "reviewed":
            return samples
    wanted = study.config.finetune.reviews if reviews is None else reviews
    if not wanted or study.manifest("reviews") is None:
        return samples
    said = said_of(study, samples)
    return replace(samples, labels=said.label).only(said.keep)


def said_of(study: Study, samples: Samples) -> Reviewed:
    """What published reviews say of samples whose labels are those of the table ``labels``."""
    words = {name: number for number, name in enumerate(samples.names)} or LIKED
    ids = np.asarray(samples.picture_ids, dtype=object)
    return reviewed_labels(study, ids, samples.labels, ~samples.test, words)


class Order:
    """An endless stream of pictures: each epoch is one permutation, drawn from seed and epoch.

    Any place in the stream can be computed without those before it, so a resumed run needs no
    more than the number of its next iteration.
    """

    def __init__(self, indices: Sequence[int] | NDArray[np.int64], seed: int) -> None:
        self._indices = np.asarray(indices, dtype=np.int64)
        self._seed = seed
        self._permutation = lru_cache(maxsize=2)(self._draw)

    def _draw(self, epoch: int) -> NDArray[np.int64]:
        return np.random.default_rng([self._seed, epoch]).permutation(self._indices)

    def batch(self, iteration: int, size: int) -> list[tuple[int, int]]:
        """(epoch, index) of each picture of the batch; a batch may reach into the next epoch."""
        n = len(self._indices)
        places = (divmod(p, n) for p in range(iteration * size, (iteration + 1) * size))
        return [(epoch, int(self._permutation(epoch)[offset])) for epoch, offset in places]
