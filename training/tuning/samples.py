"""Which labelled pictures are for training, validation and test, and in which order they come."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from likewise.errors import DataError
from likewise.study import Study
from likewise.tables import AUTHOR_KEY
from training.data.reviews import LIKED, reviewed_labels

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Order", "Samples", "read_samples"]

AUTHOR = [*AUTHOR_KEY]
COLUMNS = ["picture_id", *AUTHOR, "label", "weight", "fold", "split"]
FEWEST_AUTHORS = 2


@dataclass(frozen=True)
class Samples:
    """The labelled pictures, ordered by ``picture_id``; all arrays have one entry a picture."""

    picture_ids: tuple[str, ...]
    authors: NDArray[np.object_]
    labels: NDArray[np.int64]
    weights: NDArray[np.float32]
    folds: NDArray[np.int32]
    test: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.picture_ids)

    @property
    def classes(self) -> int:
        """Number of classes: labels are 0 ... classes - 1."""
        return int(self.labels.max()) + 1

    def only(self, keep: NDArray[np.bool_]) -> Samples:
        """The pictures where ``keep`` is true."""
        return Samples(
            picture_ids=tuple(np.asarray(self.picture_ids, dtype=object)[keep]),
            authors=self.authors[keep],
            labels=self.labels[keep],
            weights=self.weights[keep],
            folds=self.folds[keep],
            test=self.test[keep],
        )

    def parts(self, validation_fold: int) -> dict[str, NDArray[np.int64]]:
        """Indices of ``train``, ``validation`` and ``test``; no author is in two of them.

        The validation fold is taken from the training authors; -1 leaves it empty.

        Raises:
            DataError: a part has too few authors, or lacks a class.
        """
        validation = ~self.test & (self.folds == validation_fold)
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
        authors = len(set(self.authors[indices]))
        if authors < FEWEST_AUTHORS:
            raise DataError(
                f"fine-tuning: the {part} part has {authors} author(s), at least "
                f"{FEWEST_AUTHORS} are needed",
                hint="collect more authors, or change [label] folds and test_fraction",
            )
        present = np.unique(self.labels[indices]).tolist()
        missing = sorted(set(range(max(self.classes, 2))) - set(present))
        if missing:
            raise DataError(
                f"fine-tuning: the {part} part has no picture of class {missing[0]}",
                hint="collect more posts, or look at the labels with: likewise status",
            )


def read_samples(study: Study) -> Samples:
    """The table ``labels`` as arrays; ``[finetune] reviews`` corrects the training labels.

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
        authors=column["platform"] + "/" + column["host"] + "/" + column["author_id"],
        labels=labels,
        weights=weights / weights.mean(),
        folds=column["fold"].astype(np.int32),
        test=column["split"] == "test",
    )
    if not study.config.finetune.reviews or study.manifest("reviews") is None:
        return samples
    names = np.asarray(samples.picture_ids, dtype=object)
    said = reviewed_labels(study, names, samples.labels, ~samples.test, LIKED)
    return replace(samples, labels=said.label).only(said.keep)


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
