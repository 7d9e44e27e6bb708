"""Labelled pictures as arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from training.data.unit import AUTHORS, Unit

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Labels"]


@dataclass(frozen=True)
class Labels:
    """Labelled pictures, training authors first, then by picture_id. Arrays have n entries.

    ``author`` numbers the authors (platform, host and id together) from 0, ``group`` what stands on
    one side only and is resampled, named by ``unit``: the author, or a block of its time; ``fold``
    is -1 for what is held out; ``created`` is the time of the post in days since 1970 (UTC), NaN
    where it is unknown. ``method`` is what the labels were made by. ``dropped`` counts labelled
    pictures that are not compared, by reason.
    """

    picture_id: NDArray[np.object_]
    author: NDArray[np.int64]
    group: NDArray[np.int64]
    label: NDArray[np.int64]
    weight: NDArray[np.float64]
    fold: NDArray[np.int64]
    followers: NDArray[np.float64]
    created: NDArray[np.float64]
    n_train: int
    method: str = "pooled"
    unit: Unit = AUTHORS
    dropped: Mapping[str, int] = field(default_factory=dict)

    @property
    def hour(self) -> NDArray[np.float64]:
        """Hour of the post, 0 ... 24 in UTC; NaN where the time is unknown."""
        return (self.created % 1.0) * 24.0

    @property
    def weekday(self) -> NDArray[np.float64]:
        """Day of the post, 0 (Monday) ... 6 in UTC; NaN where the time is unknown."""
        return np.floor(self.created + 3.0) % 7.0

    @property
    def folds(self) -> list[int]:
        """Folds that hold training authors, ascending."""
        return sorted(int(f) for f in np.unique(self.fold[: self.n_train]))

    def only(self, keep: NDArray[np.bool_], dropped: Mapping[str, int]) -> Labels:
        """The (n,) pictures where ``keep`` is true; ``dropped`` says why the others go."""
        arrays = {
            name: getattr(self, name)[keep]
            for name in (
                *("picture_id", "author", "group", "label", "weight", "fold", "followers"),
                "created",
            )
        }
        n_train = int(keep[: self.n_train].sum())
        return replace(self, **arrays, n_train=n_train, dropped={**self.dropped, **dropped})

    @property
    def sign(self) -> NDArray[np.float32]:
        """The labels as -1 and +1."""
        return (2 * self.label - 1).astype(np.float32)
