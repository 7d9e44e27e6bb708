"""Published reviews: what people said of labels, put in the place of what training would learn.

Training pictures alone change. A held-out picture keeps its label, since a review of it was asked
for because a model doubted it: taking those answers would flatter the next model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from likewise.errors import DataError
from likewise.tables import REVIEWS
from spark_jobs.label_classes import reviewed_classes
from training.data.labels import Labels

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from likewise.study import Study

__all__ = ["LIKED", "REJECTED", "Reviewed", "reviewed_labels", "reviewed_likes", "reviews_table"]

LIKED = {"bad": 0, "good": 1}
"""Words of a study about likes for its two labels."""

REJECTED = "rejected in review"


@dataclass(frozen=True, slots=True)
class Reviewed:
    """What reviews say of n pictures.

    ``label`` (n,) are the labels to learn, ``keep`` (n,) is False where a training picture was
    rejected, ``touched`` (n,) is True where anybody said anything, training picture or not.
    """

    label: NDArray[np.int64]
    keep: NDArray[np.bool_]
    touched: NDArray[np.bool_]
    changed: int
    rejected: int
    confirmed: int


def reviews_table(study: Study) -> pa.Table:
    """The published reviews in today's columns; no rows before any were published."""
    if study.manifest("reviews") is None:
        return REVIEWS.schema.empty_table()
    there = study.dataset("reviews").schema.names
    found = study.read("reviews", [name for name in REVIEWS.schema.names if name in there])
    columns = [
        found[field.name] if field.name in there else pa.nulls(found.num_rows, field.type)
        for field in REVIEWS.schema
    ]
    return pa.table(columns, names=REVIEWS.schema.names).cast(REVIEWS.schema)


def reviewed_labels(
    study: Study,
    picture_id: NDArray[np.object_],
    label: NDArray[np.int64],
    training: NDArray[np.bool_],
    names: Mapping[str, int],
) -> Reviewed:
    """Labels of (n,) pictures with the newest review in the place of each training picture's.

    Args:
        study: with a published table ``reviews``.
        picture_id, label: (n,) pictures and their labels.
        training: (n,) which of them reviews may change.
        names: label's name -> its number.

    Raises:
        MissingTableError: nothing has been published.
        DataError: a review gives a label that the study does not have.
    """
    said = reviewed_classes(study)
    found, keep = label.copy(), np.ones(len(label), np.bool_)
    touched = np.array([picture in said for picture in picture_id], np.bool_)
    confirmed = 0
    for row in np.flatnonzero(touched & training).tolist():
        word = said[picture_id[row]]
        if not word:
            keep[row] = False
        elif word not in names:
            raise DataError(
                f"a review says {word!r}, which is no label of the study; it has "
                + ", ".join(names),
                hint="take it back on the page review, or add the class under [question]",
            )
        else:
            found[row] = names[word]
            confirmed += int(names[word] == label[row])
    changed = int((found != label).sum())
    return Reviewed(found, keep, touched, changed, int((~keep).sum()), confirmed)


def reviewed_likes(study: Study, labels: Labels) -> tuple[Labels, Reviewed]:
    """Labels of a study about likes as reviews leave them; rejected training pictures are gone."""
    training = np.arange(len(labels.label)) < labels.n_train
    found = reviewed_labels(study, labels.picture_id, labels.label, training, LIKED)
    changed = replace(labels, label=found.label)
    dropped = {REJECTED: found.rejected} if found.rejected else {}
    return changed.only(found.keep, dropped), found
