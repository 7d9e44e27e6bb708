"""Tables of fetches and pictures for tests, from rows that hold both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from likewise.funnel import Funnel
from likewise.pictures import split
from likewise.study import Study
from likewise.tables import FETCHED, bucket_of


def publish_fetched(
    study: Study,
    rows: Sequence[Mapping[str, Any]],
    *,
    parts: int = 2,
    row_group_size: int | None = None,
    inputs: Sequence[str] = (),
    funnel: Funnel | None = None,
) -> None:
    """Publish rows of ``FETCHED`` as ``fetches`` and ``pictures``, each in so many parts."""
    fetches, pictures = split(pa.Table.from_pylist(list(rows), FETCHED), parts)
    keys = {"pictures": "picture_id", "fetches": "post_id"}
    for name, table in (("pictures", pictures), ("fetches", fetches)):
        mine = [bucket_of(str(one), parts) for one in table[keys[name]].to_pylist()]
        stage = study.begin(
            name, inputs=inputs if name == "fetches" else (), n_buckets=parts, redo=True
        )
        for bucket in range(parts):
            with stage.bucket(bucket) as folder:
                pq.write_table(
                    table.filter(pa.array([one == bucket for one in mine], pa.bool_())),
                    folder / "part-0000.parquet",
                    row_group_size=row_group_size,
                )
        stage.publish(funnel=funnel if name == "fetches" else None)
