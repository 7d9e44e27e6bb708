"""A stated sample of whole groups, for what has to fit into one machine's memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from filters.folds import author_keys
from training.data.unit import UNIT_KEY

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from likewise.study import Study

__all__ = ["sample_of", "sampled"]

LEAST = 100
"""Pictures of a class that come before others: too few to move the shares of a large sample."""


def sampled(study: Study) -> dict[str, int]:
    """The size of the sample where one has to be drawn; other studies do not depend on it."""
    most = study.config.compare.most_pictures
    return {"most_pictures": most} if study.require("labels").rows > most else {}


def sample_of(
    table: pa.Table, most: int, seed: int, *, label: NDArray[np.int64] | None = None
) -> NDArray[np.bool_]:
    """Which of (n,) labelled pictures stay when at most ``most`` may: all of a group or none.

    Groups (authors, or what else was dealt) come in the order of a keyed hash, which neither folds
    nor likes know of; those that fit whole are taken, the first one always. A group that was in the
    sample is so again after a night unless the groups before it have grown.

    Of each class of (n,) ``label`` the first groups of ``LEAST`` pictures come before all others:
    a class of a few pictures among a million would be lost by chance.
    """
    if table.num_rows <= most:
        return np.ones(table.num_rows, np.bool_)
    columns = [table[name].fill_null("").to_pylist() for name in UNIT_KEY]
    group: dict[tuple[str, ...], int] = {}
    code = np.array([group.setdefault(key, len(group)) for key in zip(*columns, strict=True)])
    # Folds are dealt by the same hash of the same keys: the first part makes this another draw.
    drawn = author_keys((f"sample {seed}", *key) for key in group)
    order = np.argsort(drawn, kind="stable")
    if label is not None:
        order = _rare_first(order, code, label, most)
    ends = np.cumsum(np.bincount(code)[order])
    fits = ends <= most
    fits[0] = True
    stays = np.zeros(len(group), np.bool_)
    stays[order[fits]] = True
    chosen: NDArray[np.bool_] = stays[code]
    return chosen


def _rare_first(
    order: NDArray[np.intp], code: NDArray[np.int64], label: NDArray[np.int64], most: int
) -> NDArray[np.intp]:
    """The (g,) groups of ``order``, those first that hold the first pictures of a class."""
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    rows = np.lexsort([place[code], label])
    starts = np.searchsorted(label[rows], label[rows], side="left")
    least = min(LEAST, most // len(np.unique(label)))
    early = np.zeros(len(order), np.bool_)
    early[code[rows[np.arange(len(rows)) - starts < least]]] = True
    return order[np.argsort(~early[order], kind="stable")]
