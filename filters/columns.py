"""Arrow columns as NumPy arrays, and where sorted ones change."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

__all__ = ["changes", "numbers"]


def numbers(column: pa.Array) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Integers or times (microseconds) as (values, known), each (n,); unknown ones are 0."""
    known = column.is_valid().to_numpy(zero_copy_only=False)
    return column.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False), known


def changes(column: NDArray[Any]) -> NDArray[np.bool_]:
    """True where a value differs from the one before, and for the first; shape (n,)."""
    answer = np.ones(column.size, np.bool_)
    np.not_equal(column[1:], column[:-1], out=answer[1:])
    return answer
