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

    Where classes are asked, ``classes`` names them and ``label`` is their number. Classes that no
    model may learn (``n_unseen``) have the last numbers. After the training pictures come
    ``n_validation`` of validation, then those of test, pictures of unseen classes last.
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
    classes: tuple[str, ...] = ()
    n_unseen: int = 0
    n_validation: int = 0

    @property
    def known(self) -> tuple[str, ...]:
        """Names of the classes that models learn: their columns."""
        return self.classes[: len(self.classes) - self.n_unseen]

    @property
    def unseen(self) -> tuple[str, ...]:
        """Names of the classes that were held out whole."""
        return self.classes[len(self.known) :]

    @property
    def validation(self) -> slice:
        """Where the pictures of validation stand."""
        return slice(self.n_train, self.n_train + self.n_validation)

    @property
    def test(self) -> slice:
        """Where the test pictures of known classes stand."""
        hidden = int((self.label >= len(self.known)).sum()) if self.classes else 0
        return slice(self.n_train + self.n_validation, len(self.label) - hidden)

    @property
    def hidden(self) -> slice:
        """Where the pictures of unseen classes stand."""
        return slice(self.test.stop, len(self.label))

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
        return replace(
            self,
            **arrays,
            n_train=int(keep[: self.n_train].sum()),
            n_validation=int(keep[self.validation].sum()),
            dropped={**self.dropped, **dropped},
        )

    @property
    def sign(self) -> NDArray[np.float32]:
        """The labels as -1 and +1."""
        return (2 * self.label - 1).astype(np.float32)
