"""Copies: which pictures are the same, exactly or nearly.

Exact copies share the sha256 of their bytes. Near copies lie within a Hamming radius of each
other's 64-bit perceptual hash; pairs are found by banding, not by comparing all with all. Which
of two copies stays is decided by the order of the post keys, never by chance, and chains do not
grow: every picture that goes lies within the radius of one that stays.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from filters.pictures.hamming import near_pairs
from likewise.tables import AUTHOR_KEY, PICTURE_KEY

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["canonical", "copies", "originals", "phash"]

_SIDE, _KEEP = 32, 8
_WEIGHTS = np.array([1 << bit for bit in range(63, -1, -1)], np.uint64)


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
    keys = rows.select(["picture_id", *PICTURE_KEY])
    keys = keys.append_column("row", pa.array(np.arange(len(rows))))
    keys = keys.filter(keys["picture_id"].is_valid())
    keys = keys.sort_by([(name, "ascending") for name in PICTURE_KEY])
    _, first = np.unique(keys["picture_id"].to_numpy(zero_copy_only=False), return_index=True)
    chosen = keys["row"].to_numpy()[np.sort(first)]
    kept = rows.take(pa.array(chosen))
    return kept if columns is None else kept.select(list(columns))


def originals(codes: NDArray[np.int64], radius: int) -> NDArray[np.int64]:
    """For each row the row that it is a copy of; its own number when it is an original.

    Rows are taken in their order: one is a copy when an earlier original lies within ``radius``
    bits (of several, the earliest).

    Args:
        codes: Shape (n,), 64-bit perceptual hashes.
        radius: Largest Hamming distance, bits of 64; 0 takes equal hashes only.

    Returns:
        Shape (n,), row numbers.
    """
    unique, first, inverse = np.unique(codes, return_index=True, return_inverse=True)
    by_first = np.argsort(first)
    rank = np.empty_like(by_first)
    rank[by_first] = np.arange(len(unique))
    owner = np.arange(len(unique))
    earlier, later = near_pairs(unique[by_first], radius)
    order = np.lexsort((earlier, later))
    for one, other in zip(earlier[order].tolist(), later[order].tolist(), strict=True):
        if owner[other] == other and owner[one] == one:
            owner[other] = one
    answer: NDArray[np.int64] = first[by_first][owner[rank[inverse]]]
    return answer


KINDS = (
    "original",
    "exact, same author",
    "exact, other author",
    "near, same author",
    "near, other author",
)


def copies(rows: pa.Table, radius: int) -> pa.Table:
    """Which pictures are copies, of which picture, and whose.

    Args:
        rows: Any slice of the pictures table with the post key, ``author_id``, ``picture_id``
            and ``phash``; only rows with a picture.
        radius: Hamming radius of near copies, bits of 64.

    Returns:
        The key of each row, ``picture_id``, ``copy_of`` (picture_id of the original; its own for
        originals) and ``kind``: one of ``original``, ``exact, same author``,
        ``exact, other author``, ``near, same author``, ``near, other author``. A repost by the
        author and a copy by somebody else are told apart, because the second one says that a
        picture is liked elsewhere too. Rows come in the order of their keys.
    """
    ordered = rows.sort_by([(name, "ascending") for name in PICTURE_KEY])
    owner = originals(ordered["phash"].to_numpy(), radius)
    files = ordered["picture_id"].to_numpy(zero_copy_only=False)
    authors = _codes(ordered, AUTHOR_KEY)
    _, exact_first, inverse = np.unique(files, return_index=True, return_inverse=True)
    exact = exact_first[inverse]
    is_exact = exact != np.arange(len(files))
    source = np.where(is_exact, exact, owner)
    is_copy = source != np.arange(len(files))
    same = authors == authors[source]
    kind = np.where(is_exact, np.where(same, 1, 2), np.where(same, 3, 4)) * is_copy
    answer = ordered.select([*PICTURE_KEY, "picture_id"])
    answer = answer.append_column("copy_of", pa.array(files[owner], pa.string()))
    return answer.append_column("kind", pa.array(np.array(KINDS)[kind], pa.string()))


def _codes(rows: pa.Table, columns: Sequence[str]) -> NDArray[np.int64]:
    """A number for each different combination of columns."""
    codes = np.zeros(len(rows), np.int64)
    for name in columns:
        index = rows[name].combine_chunks().dictionary_encode().indices.to_numpy()
        _, codes = np.unique(codes * (index.max(initial=0) + 1) + index, return_inverse=True)
    return codes
