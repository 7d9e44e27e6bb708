"""Read the pictures of one bucket, write its features: the file side of ``extract``.

Both sides stream: a worker holds a few batches of pictures and at most one row group of features,
whatever the size of the bucket.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from backbones.inference import Batch, Picture, embed, record_batch
from backbones.plan import Plan
from likewise.store import filesystem_of, open_part
from likewise.study import Study
from likewise.tables import features_schema

__all__ = [
    "BucketResult",
    "extract_bucket",
    "features_writer",
    "labelled_pictures",
    "read_pictures",
    "write_features",
]

KEY = ("platform", "host", "post_id", "media_index")
ROW_GROUP_BYTES = 8 << 20
READ_BUFFER = 1 << 20
READ_BATCH = 16


class BucketResult(NamedTuple):
    """What became of one bucket: pictures asked for, rows written, failures by error class."""

    bucket: int
    pictures: int
    rows: int
    failed: dict[str, int]


def extract_bucket(
    pictures: Sequence[str], labels: Sequence[str], bucket: int, target: Path, plan: Plan
) -> BucketResult:
    """Features of the labelled pictures of one bucket as one Parquet file in ``target``.

    ``pictures`` are the bucket's parts, ``labels`` all parts of that table. Every label gives
    ``plan.views`` rows; one whose picture is missing or broken has the status ``failed``.
    """
    wanted = _wanted(labels, bucket)
    failed: dict[str, int] = {}
    rows = 0
    schema = features_schema(plan.layers)
    with features_writer(target / "part-0000.parquet", schema, plan) as write:
        for batch in embed(_with_missing(pictures, wanted), plan):
            rows += write(record_batch(batch, plan, schema, bucket=bucket))
            _count(batch, failed)
    return BucketResult(bucket, len(wanted), rows, failed)


def _count(batch: Batch, failed: dict[str, int]) -> None:
    for error in batch.errors:
        if error is not None:
            failed[error] = failed.get(error, 0) + 1


def _wanted(labels: Sequence[str], bucket: int) -> dict[tuple[Any, ...], str]:
    """Key of the picture -> picture_id of the labels of one bucket."""
    filesystem, paths = filesystem_of(labels)
    found = ds.dataset(paths, format="parquet", partitioning=None, filesystem=filesystem)
    table = found.to_table(columns=[*KEY, "picture_id"], filter=ds.field("bucket") == bucket)
    keys = zip(*(table[name].to_pylist() for name in KEY), strict=True)
    return dict(zip(keys, table["picture_id"].to_pylist(), strict=True))


def _with_missing(pictures: Sequence[str], wanted: dict[tuple[Any, ...], str]) -> Iterator[Picture]:
    left = dict(wanted)
    if left:
        yield from read_pictures(pictures, left)
    yield from ((picture_id, None) for picture_id in left.values())


def labelled_pictures(study: Study, n: int) -> list[tuple[str, bytes]]:
    """(picture_id, bytes) of up to ``n`` labelled pictures, bucket by bucket."""
    found: list[tuple[str, bytes]] = []
    labels = study.parts("labels")
    for bucket in range(int(study.require("pictures").made_from["n_buckets"])):
        parts = study.parts("pictures", bucket)
        for picture_id, data in read_pictures(parts, _wanted(labels, bucket)):
            if data is not None:
                found.append((picture_id, data))
            if len(found) == n:
                return found
    return found


def read_pictures(pictures: Sequence[str], wanted: dict[tuple[Any, ...], str]) -> Iterator[Picture]:
    """(picture_id, bytes) of the wanted rows, in the order of the parts; empties ``wanted``.

    Row groups are streamed a few pictures at a time.
    """
    for part in pictures:
        file = pq.ParquetFile(open_part(part), buffer_size=READ_BUFFER, pre_buffer=False)
        with file:
            for batch in file.iter_batches(READ_BATCH, columns=[*KEY, "bytes"], use_threads=False):
                yield from _pick(batch, wanted)


def _pick(batch: pa.RecordBatch, wanted: dict[tuple[Any, ...], str]) -> Iterator[Picture]:
    keys = zip(*(batch.column(name).to_pylist() for name in KEY), strict=True)
    contents = batch.column("bytes")
    for row, key in enumerate(keys):
        picture_id = wanted.pop(key, None)
        if picture_id is not None:
            yield picture_id, contents[row].as_py()


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
            use_dictionary=["backbone", "status", "error_class"],
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
