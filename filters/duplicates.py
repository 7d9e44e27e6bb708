"""Copies: which pictures are the same, exactly or nearly.

Exact copies share the sha256 of their bytes. Near copies lie within a Hamming radius of each
other's 64-bit perceptual hash; pairs are found by banding, not by comparing all with all.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

__all__ = ["canonical", "phash"]

_SIDE, _KEEP = 32, 8
_WEIGHTS = np.array([1 << bit for bit in range(63, -1, -1)], np.uint64)

KEY = ("platform", "host", "post_id", "media_index")


def phash(rgb: NDArray[np.uint8]) -> int:
    """64-bit perceptual hash of a picture of shape (H, W, 3), as a signed integer.

    The DCT hash as imagehash defines it: grey, 32 x 32, the 8 x 8 lowest frequencies, each bit
    tells whether its coefficient is above their median; first bit first.
    """
    from PIL import Image

    grey = Image.fromarray(rgb).convert("L").resize((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    basis = _cosines()
    low = basis @ np.asarray(grey, np.float64) @ basis.T
    bits = (low > np.median(low)).ravel()
    return int(np.where(bits, _WEIGHTS, np.uint64(0)).sum(dtype=np.uint64).view(np.int64))


@functools.cache
def _cosines() -> NDArray[np.float64]:
    """Rows 0-7 of the unnormalised DCT-II of length 32."""
    k, n = np.ogrid[:_KEEP, :_SIDE]
    cosines: NDArray[np.float64] = 2 * np.cos(np.pi * k * (2 * n + 1) / (2 * _SIDE))
    return cosines


def canonical(rows: pa.Table, columns: Sequence[str] | None = None) -> pa.Table:
    """One row of each ``picture_id``: the one with the smallest post key.

    Args:
        rows: Any slice of the pictures table with ``picture_id`` and the key columns; rows
            without ``picture_id`` are left out.
        columns: Columns of the result; all when None.

    Returns:
        The kept rows, in the order of their keys.
    """
    keys = rows.select(["picture_id", *KEY])
    keys = keys.append_column("row", pa.array(np.arange(len(rows))))
    keys = keys.filter(keys["picture_id"].is_valid())
    keys = keys.sort_by([(name, "ascending") for name in KEY])
    _, first = np.unique(keys["picture_id"].to_numpy(zero_copy_only=False), return_index=True)
    chosen = keys["row"].to_numpy()[np.sort(first)]
    kept = rows.take(pa.array(chosen))
    return kept if columns is None else kept.select(list(columns))
