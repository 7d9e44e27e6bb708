"""Picture bytes: the one door to them, and fetches apart from the pictures that they brought.

Whoever reads a picture comes through here, so that a flipped bit is found by the first reader.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from likewise.errors import StudyError
from likewise.store import parquet_file
from likewise.study import lost_part
from likewise.tables import FETCHES, PICTURES, bucket_of

if TYPE_CHECKING:
    import pyarrow.parquet as pq

    from likewise.study import Study

__all__ = ["bytes_at", "bytes_of", "is_whole", "picture_bytes", "pictures_writer", "split"]

GROUP_ROWS = 64
GROUP_BYTES = 16_000_000
"""Rows of a row group, at most."""

AT_ONCE = 16
"""Rows read at once: with their pictures they take some megabytes."""

SHA256 = 64

MEND = "look at the disk; this fetches it again: likewise download --retry damaged"


def picture_bytes(study: Study, picture_ids: Collection[str]) -> Iterator[tuple[str, bytes]]:
    """(picture_id, file) of each wanted picture that is there, one at a time, in no order.

    Only ids are read, and then the bytes of the row groups that hold a wanted one, so memory does
    not grow with the study.

    Raises:
        StudyError: a file is not the one that was fetched.
    """
    left = set(picture_ids)
    if not left or study.manifest("pictures") is None:
        return
    for part in study.parts("pictures"):
        for found in bytes_of(part, left):
            left.discard(found[0])
            yield found
        if not left:
            return


def bytes_of(part: str, wanted: Collection[str]) -> Iterator[tuple[str, bytes]]:
    """(picture_id, file) of the wanted pictures of a part, in its order.

    Only row groups that hold one of them are read.

    Raises:
        StudyError: a file is not the one that was fetched: its sha256 is not its picture_id; or
            the part cannot be read, since a page's checksum is wrong.
    """
    left = frozenset(wanted)
    with _readable(part):
        opened = parquet_file(part)
    with opened as file:
        for group in range(file.num_row_groups):
            yield from _group(file, group, left, part)


def _group(
    file: pq.ParquetFile, group: int, left: frozenset[str], part: str
) -> Iterator[tuple[str, bytes]]:
    with _readable(part):
        ids = file.read_row_group(group, columns=["picture_id"])["picture_id"].to_pylist()
    if left.isdisjoint(ids):
        return
    columns = ["picture_id", "bytes"]
    batches = file.iter_batches(AT_ONCE, [group], columns, use_threads=False)
    while True:
        with _readable(part):
            batch = next(batches, None)
        if batch is None:
            return
        for row, picture_id in enumerate(batch["picture_id"].to_pylist()):
            if picture_id in left:
                yield picture_id, _checked(part, picture_id, batch["bytes"][row].as_py())


def bytes_at(picture_id: str, part: str, group: int, place: int) -> bytes:
    """The file in row ``place`` of a part's row group. Errors are those of ``bytes_of``."""
    with _readable(part), parquet_file(part) as file:
        column = file.read_row_group(group, columns=["bytes"])["bytes"]
    return _checked(part, picture_id, column[place].as_py())


@contextlib.contextmanager
def _readable(part: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise lost_part(part, "pictures", "STUDY") from error
    except OSError as error:
        if error.errno is not None:  # the store's fault, not the part's
            raise
        raise StudyError(f"{part} cannot be read: {error}", hint=MEND) from error


def _checked(part: str, picture_id: str, data: bytes) -> bytes:
    if not is_whole(picture_id, data):
        raise StudyError(
            f"{part}: picture {picture_id} is not what was fetched: its bytes have changed",
            hint=MEND,
        )
    return data


def is_whole(picture_id: str, data: bytes) -> bool:
    """Whether these are the bytes that were fetched: their sha256 is the id, where it is one."""
    return len(picture_id) != SHA256 or hashlib.sha256(data).hexdigest() == picture_id


def pictures_writer(path: Path) -> pq.ParquetWriter:
    """Writes rows of ``pictures``; readers hold a row group at once, see ``GROUP_ROWS``."""
    import pyarrow.parquet as pq

    plain = [name for name in PICTURES.schema.names if name != "bytes"]
    return pq.ParquetWriter(
        path,
        PICTURES.schema,
        # Pictures are compressed already; their smallest and largest bytes tell nothing.
        compression={**dict.fromkeys(plain, "zstd"), "bytes": "none"},
        use_dictionary=["format"],
        write_statistics=plain,
        write_page_checksum=True,
    )


def split(fetched: pa.Table, n_buckets: int) -> tuple[pa.Table, pa.Table]:
    """Rows of ``FETCHED`` as rows of ``fetches``, and of ``pictures`` once for each content."""
    held = fetched.filter(pc.and_(pc.equal(fetched["status"], "ok"), pc.is_valid(fetched["bytes"])))
    first: dict[str, int] = {}
    for row, picture_id in enumerate(held["picture_id"].to_pylist()):
        first.setdefault(picture_id, row)
    # Taking rows copies their pictures: most often there is nothing to leave out.
    once = held if len(first) == held.num_rows else held.take(pa.array(first.values(), pa.int64()))
    buckets = pa.array([bucket_of(one, n_buckets) for one in first], pa.int32())
    place = once.schema.get_field_index("bucket")
    pictures = once.set_column(place, PICTURES.schema.field("bucket"), buckets)
    return (
        fetched.select(FETCHES.schema.names).cast(FETCHES.schema),
        pictures.select(PICTURES.schema.names).cast(PICTURES.schema),
    )
