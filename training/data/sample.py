"""A stated sample of whole groups, for what has to fit into one machine's memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from filters.folds import author_keys
from training.data.unit import UNIT_KEY

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

__all__ = ["sample_of"]


def sample_of(table: pa.Table, most: int, seed: int) -> NDArray[np.bool_]:
    """Which of (n,) labelled pictures stay when at most ``most`` may: all of a group or none.

    Groups (authors, or what else was dealt) come in the order of a keyed hash, which neither folds
    nor likes know of; those that fit whole are taken, the first one always. A group that was in the
    sample is so again after a night unless the groups before it have grown.
    """
    if table.num_rows <= most:
        return np.ones(table.num_rows, np.bool_)
    columns = [table[name].fill_null("").to_pylist() for name in UNIT_KEY]
    group: dict[tuple[str, ...], int] = {}
    code = np.array([group.setdefault(key, len(group)) for key in zip(*columns, strict=True)])
    # Folds are dealt by the same hash of the same keys: the first part makes this another draw.
    drawn = author_keys((f"sample {seed}", *key) for key in group)
    order = np.argsort(drawn, kind="stable")
    ends = np.cumsum(np.bincount(code)[order])
    fits = ends <= most
    fits[0] = True
    stays = np.zeros(len(group), np.bool_)
    stays[order[fits]] = True
    chosen: NDArray[np.bool_] = stays[code]
    return chosen
