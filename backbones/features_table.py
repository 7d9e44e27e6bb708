"""The Parquet of features: the file side of ``extract`` and ``embed``.

Rows are streamed: a writer holds at most one row group, whatever the number of pictures.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from backbones.inference import Batch, record_batch
from backbones.plan import Plan

__all__ = ["features_writer", "write_features"]

ROW_GROUP_BYTES = 8 << 20


class features_writer:  # noqa: N801 - used as a function
    """Context that gives ``write(record_batch) -> rows``; row groups of about 8 MB.

    Activations are stored byte by byte of their floats (BYTE_STREAM_SPLIT), which lets zstd
    shrink them; repeated words are stored once.
    """

    def __init__(self, path: Path, schema: pa.Schema, plan: Plan) -> None:
        layers = [f"{layer}.list.element" for layer in plan.layers]
        self._writer = pq.ParquetWriter(
            path,
            schema,
            compression="zstd",
            compression_level=1,
            use_dictionary=["backbone", "maker", "status", "error_class"],
            column_encoding=dict.fromkeys(layers, "BYTE_STREAM_SPLIT"),
            write_statistics=["picture_id"],
            write_page_checksum=True,
        )
        self._held: list[pa.RecordBatch] = []
        self._schema = schema

    def __enter__(self) -> Any:
        return self._write

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self._flush()
        self._writer.close()

    def _write(self, batch: pa.RecordBatch) -> int:
        self._held.append(batch)
        if sum(held.nbytes for held in self._held) >= ROW_GROUP_BYTES:
            self._flush()
        return int(batch.num_rows)

    def _flush(self) -> None:
        if self._held:
            self._writer.write_table(pa.Table.from_batches(self._held, self._schema))
            self._held.clear()


def write_features(path: Path, batches: Iterable[Batch], plan: Plan, schema: pa.Schema) -> int:
    """Write all ``batches`` as one file with the columns of ``schema``; return its rows."""
    with features_writer(path, schema, plan) as write:
        return sum(write(record_batch(batch, plan, schema)) for batch in batches)
