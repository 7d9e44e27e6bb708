"""Feature layers of an Arrow batch as matrices."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from likewise.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["matrix"]


def matrix(batch: pa.RecordBatch, layer: str) -> NDArray[np.float32]:
    """Column ``layer`` of a batch as a (rows, d) float32 matrix, without a copy where possible.

    Raises:
        DataError: the lists are not all of one length.
    """
    column = batch[layer]
    values: NDArray[np.float32] = column.flatten().to_numpy(zero_copy_only=False)
    if len(batch) == 0 or len(values) % len(batch):
        raise DataError(f"features: lists of layer {layer!r} differ in length")
    lengths = pc.unique(pc.list_value_length(column))
    if len(lengths) != 1:
        raise DataError(f"features: lists of layer {layer!r} differ in length")
    return values.reshape(len(batch), -1)
