"""The course of a training: for TensorBoard, for the report, and as rows of a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import pyarrow as pa

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

__all__ = ["SCHEMA", "Board", "as_table"]

SCHEMA = pa.schema(
    [
        pa.field("iteration", pa.int64(), nullable=False),
        pa.field("part", pa.string(), nullable=False),
        pa.field("metric", pa.string(), nullable=False),
        pa.field("value", pa.float64(), nullable=False),
    ]
)
"""One measurement: metric ``loss``, ``accuracy``, ``average_precision`` or ``learning_rate``."""

Point = Mapping[str, Any]


class Board:
    """TensorBoard event files of one run, closed at the end of the block.

    Without a folder nothing is written. ``since`` is where a resumed run goes on: TensorBoard then
    hides what an earlier process had written after its last checkpoint.
    """

    def __init__(self, folder: Path | None, since: int) -> None:
        self._writer: SummaryWriter | None = None
        if folder is not None:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(folder), purge_step=since or None)

    def __enter__(self) -> Board:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._writer is not None:
            self._writer.close()

    def add(self, point: Point) -> None:
        """Write one measurement with the keys of ``SCHEMA``."""
        if self._writer is not None:
            name = f"{point['metric']}/{point['part']}"
            self._writer.add_scalar(name, point["value"], point["iteration"])


def as_table(points: Sequence[Point]) -> pa.Table:
    """Measurements as rows of ``SCHEMA``."""
    return pa.Table.from_pylist([dict(point) for point in points], schema=SCHEMA)
