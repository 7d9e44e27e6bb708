"""Authors' labelled and good pictures, against one cut for all or each author's own."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from filters.columns import changes
from filters.labels import Cut, compared

__all__ = ["AUTHOR", "RATIO", "own_authors", "pooled_authors"]

RATIO = np.dtype([("key", "<u8"), ("ratio", "<f8"), ("post", "<u8")])
"""A picture's ratio, with hashes of its author and of its post."""

AUTHOR = np.dtype(
    [
        *(("key", "<u8"), ("n", "<i8"), ("good", "<i8")),
        *(("low", "<f8"), ("high", "<f8"), ("enough", "?")),
    ]
)
"""An author's labelled and good pictures, and the cut that the author's pictures are held to."""


def pooled_authors(rows: NDArray[Any], at: Cut) -> NDArray[Any]:
    """``AUTHOR`` records, by rising key, of ``RATIO`` records in any order: one cut for all."""
    rows = rows[np.argsort(rows["key"], kind="stable")]
    starts = np.flatnonzero(changes(rows["key"]))
    authors = np.empty(starts.size, AUTHOR)
    authors["low"], authors["high"], authors["enough"] = at.low, at.high, True
    return _counted(authors, rows, starts)


def own_authors(rows: NDArray[Any], margin: float, least: int) -> NDArray[Any]:
    """``AUTHOR`` records of ``RATIO`` records: each author's own cut, from ``least`` posts on.

    Quantiles interpolate linearly, as those of the pooled cut.
    """
    rows = rows[np.lexsort((rows["ratio"], rows["key"]))]
    starts = np.flatnonzero(changes(rows["key"]))
    sizes = np.diff([*starts, rows.size])
    authors = np.empty(starts.size, AUTHOR)
    for name, probability in (("low", 0.5 - margin), ("high", 0.5 + margin)):
        position = probability * (sizes - 1)
        below = np.floor(position).astype(np.int64)
        value = rows["ratio"][starts + below]
        more = rows["ratio"][starts + np.minimum(below + 1, sizes - 1)]
        authors[name] = value + (more - value) * (position - below)
    by_post = rows[np.lexsort((rows["post"], rows["key"]))]
    new = changes(by_post["key"]) | changes(by_post["post"])
    authors["enough"] = _sums(new, starts) >= least
    return _counted(authors, rows, starts)


def _counted(authors: NDArray[Any], rows: NDArray[Any], starts: NDArray[np.int64]) -> NDArray[Any]:
    """Fill in ``key``, ``n`` and ``good``; the rows of an author begin at each of ``starts``."""
    sizes = np.diff([*starts, rows.size])
    low, high, enough = (np.repeat(authors[name], sizes) for name in ("low", "high", "enough"))
    label = np.where(enough, compared(rows["ratio"], low, high), -1)
    authors["key"] = rows["key"][starts]
    authors["n"], authors["good"] = _sums(label >= 0, starts), _sums(label == 1, starts)
    return authors


def _sums(flags: NDArray[np.bool_], starts: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.add.reduceat(flags, starts, dtype=np.int64) if starts.size else starts
