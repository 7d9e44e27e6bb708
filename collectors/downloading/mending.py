"""Stored pictures compared with what was fetched: those that have changed are fetched again."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pyarrow as pa

from collectors.downloading.store import Store
from likewise.pictures import is_whole, pictures_writer
from likewise.progress import note, progress
from likewise.store import parquet_file, unique

__all__ = ["drop_damaged"]


def drop_damaged(store: Store) -> None:
    """Take pictures out of the table whose bytes are not those that were fetched.

    The others of their part are kept, as far as it can be read.
    """
    parts = store.picture_parts()
    rows = {name: one.rows for name, one in store.sizes("pictures").items()}
    with progress("download: comparing pictures with their sha256", len(parts)) as bar:
        for part in parts:
            whole = sum(table.num_rows for table in _whole(part))
            name = part.rsplit("/", 1)[-1]
            if whole < rows[name]:
                note(f"download: {rows[name] - whole} pictures of {part} have changed")
                _exchange(store, part, name)
            bar.advance()


def _exchange(store: Store, part: str, name: str) -> None:
    """A part like this one, without what has changed."""
    staged = store.study.folder(".staging") / f"mended-{uuid.uuid4().hex[:12]}.parquet"
    try:
        with pictures_writer(staged) as writer:
            rows = 0
            for table in _whole(part):
                writer.write_table(table)
                rows += table.num_rows
        mended = unique(name.rpartition("-")[0])
        adds = [store.study.store.put(staged, "pictures", mended, rows)] if rows else []
        store.exchange("pictures", [name], adds)
    finally:
        staged.unlink(missing_ok=True)


def _whole(part: str) -> Iterator[pa.Table]:
    """Row groups without the pictures whose sha256 is not their id."""
    with parquet_file(part) as file:
        for group in range(file.num_row_groups):
            try:
                table = file.read_row_group(group, use_threads=False)
            except OSError as error:
                if error.errno is not None:  # the store does not answer: nothing is known
                    raise
                continue  # a page's checksum is wrong: all of its rows are in doubt
            pairs = zip(table["picture_id"].to_pylist(), table["bytes"].to_pylist(), strict=True)
            whole = [is_whole(picture_id, data) for picture_id, data in pairs]
            yield table.filter(pa.array(whole, pa.bool_()))
