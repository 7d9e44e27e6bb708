"""Small parts of a table joined into larger ones: many nights must not mean many files."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from likewise.store import PartFacts, Store, parquet_file, unique

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

__all__ = ["LARGE", "MOST_SMALL", "SMALL", "join_small"]

SMALL, LARGE = 32_000_000, 128_000_000
MOST_SMALL = 64
"""Parts below ``SMALL`` bytes are joined, up to ``LARGE``, when more than so many are alike in
size: a night adds a handful of parts, and most nights join none."""

ALIKE = 3
"""Sizes of so many binary digits more or less: a part is not written again for one that is an
eighth of it, so each row is written a few times in all, however many nights there are."""

GROUP_BYTES = 8 << 20
"""Of a row group in memory; what a reader holds at once."""


def join_small(store: Store, table: str, prefix: str, scratch: str | None) -> int:
    """Join the small parts of like size whose names begin so, when there are many.

    Returns how many were joined.

    The rows and the manifest stay. Parts are written as the first of them was: compression,
    encodings, statistics. Earlier versions keep the parts that they name.
    """
    facts = store.facts(table, prefix)
    small = defaultdict[int, list[str]](list)
    for name, one in sorted(facts.items()):
        if one.size < SMALL:
            small[one.size.bit_length() // ALIKE].append(name)
    return sum(
        _join(store, table, facts, names, scratch)
        for names in small.values()
        if len(names) > MOST_SMALL
    )


def _join(
    store: Store, table: str, facts: dict[str, PartFacts], small: list[str], scratch: str | None
) -> int:
    adds = []
    for names in _shares(small, facts):
        with tempfile.TemporaryDirectory(dir=scratch, prefix="joined-") as folder:
            path = Path(folder) / "part.parquet"
            places = [f"{store.place(table)}/{name}" for name in names]
            rows = _write(places, path)
            adds.append(store.put(path, table, unique(names[0].rpartition("-")[0]), rows))
    store.exchange(table, small, adds)
    return len(small)


def _shares(names: Sequence[str], facts: dict[str, PartFacts]) -> Iterator[list[str]]:
    """The parts in their order, so many together that they are ``LARGE`` at most."""
    share: list[str] = []
    size = 0
    for name in names:
        if share and size + facts[name].size > LARGE:
            yield share
            share, size = [], 0
        share.append(name)
        size += facts[name].size
    yield share


def _write(parts: Sequence[str], path: Path) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with parquet_file(parts[0]) as first:
        schema, options = first.schema_arrow, _options(first)
    rows = held_bytes = 0
    held: list[pa.Table] = []
    with pq.ParquetWriter(path, schema, **options) as writer:
        for table in _groups(parts):
            held.append(table)
            held_bytes += table.nbytes
            rows += table.num_rows
            if held_bytes >= GROUP_BYTES:
                writer.write_table(pa.concat_tables(held))
                held, held_bytes = [], 0
        if held:
            writer.write_table(pa.concat_tables(held))
    return rows


def _groups(parts: Sequence[str]) -> Iterator[pa.Table]:
    for part in parts:
        with parquet_file(part) as file:
            for group in range(file.num_row_groups):
                yield file.read_row_group(group, use_threads=False)


def _options(file: pq.ParquetFile) -> dict[str, Any]:
    """How the file was written, for ``ParquetWriter``."""
    options: dict[str, Any] = {"write_page_checksum": True, "compression": "zstd"}
    if not file.num_row_groups:
        return options
    group = file.metadata.row_group(0)
    columns = [group.column(number) for number in range(group.num_columns)]
    split = {c.path_in_schema for c in columns if "BYTE_STREAM_SPLIT" in c.encodings}
    worded = [c.path_in_schema for c in columns if c.has_dictionary_page]
    return options | {
        "compression": {
            c.path_in_schema: "none" if c.compression == "UNCOMPRESSED" else c.compression.lower()
            for c in columns
        },
        "use_dictionary": worded,
        "column_encoding": dict.fromkeys(sorted(split), "BYTE_STREAM_SPLIT") or None,
        "write_statistics": [c.path_in_schema for c in columns if c.is_stats_set],
    }
