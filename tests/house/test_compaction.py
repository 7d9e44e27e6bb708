"""Small parts of an itemwise table are joined, and nothing else changes."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import likewise
from likewise import compaction
from likewise.funnel import Funnel
from likewise.growth import Growth, Place
from likewise.nights import end_night
from likewise.study import Study
from likewise.tables import features_schema

SCHEMA = features_schema(["fc7"])


def rows_of(ids: list[str], rng: np.random.Generator, maker: str) -> pa.Table:
    fixed = {"bucket": 0, "backbone": "tiny", "maker": maker, "flipped": False, "status": "ok"}
    values = rng.normal(size=(len(ids), 2000)).astype(np.float32)
    rows = [{**fixed, "picture_id": one, "fc7": v} for one, v in zip(ids, values, strict=True)]
    return pa.Table.from_pylist(rows, SCHEMA)


def night(study: Study, maker: str, ids: list[str], rng: np.random.Generator) -> Growth:
    growth = study.grow("features", {"network": maker}, ["labels"])
    table = rows_of(ids, rng, growth.maker)

    def write(path: Path) -> tuple[int, dict[str, int]]:
        with pq.ParquetWriter(
            path,
            SCHEMA,
            compression="zstd",
            use_dictionary=["backbone", "maker", "status"],
            column_encoding={"fc7.list.element": "BYTE_STREAM_SPLIT"},
            write_statistics=["picture_id"],
            write_page_checksum=True,
        ) as writer:
            writer.write_table(table)
        return table.num_rows, {}

    place: Place = growth.place
    growth.commit([place.put(ids, write)], SCHEMA)
    known = growth.known()
    growth.publish(SCHEMA, Funnel("extract", "pictures", len(known), len(known)), len(known))
    return growth


def sorted_rows(study: Study) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = study.read("features").sort_by("picture_id").to_pylist()
    return rows


def test_nights_leave_few_parts_and_the_same_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compaction, "MOST_SMALL", 8)
    study = likewise.init(tmp_path)
    stage = study.begin("labels")
    stage.write(pa.table({"picture_id": ["a"]}))
    stage.publish()
    rng = np.random.default_rng(0)
    other = night(study, "other", ["x"], rng)
    theirs = set(other.parts())
    written: list[dict[str, object]] = []
    sizes: list[dict[str, int]] = []
    for number in range(20):
        ids = [f"{number:02d}-{k}" for k in range(3)]
        growth = night(study, "one", ids, rng)
        sizes.append({p: one.rows for p, one in study.store.facts("features").items()})
        assert len(study.parts("features")) <= compaction.MOST_SMALL + 2
        assert growth.known().to_pylist() and len(sorted_rows(study)) == 3 * (number + 1)
        before = {row["picture_id"]: row for row in written}
        written = sorted_rows(study)
        assert all(row == before.get(row["picture_id"], row) for row in written)
        if number == 6:
            end_night(study)
            seventh = written
    new = [sum(b[p] for p in b.keys() - a.keys()) for a, b in pairwise(sizes)]
    assert sum(new) <= 2 * sum(sizes[-1].values()), "a row is written about twice, not each night"
    assert set(other.parts()) == theirs, "another maker's parts are left alone"
    earlier = Study.open(tmp_path, at=1)
    assert sorted_rows(earlier) == seventh, "earlier nights stay readable"
    assert sorted_rows(Study.open(tmp_path, at=earlier.versions)) == seventh
    joined = max(study.parts("features"), key=lambda part: Path(part).stat().st_size)
    column = pq.ParquetFile(joined).metadata.row_group(0).column(len(SCHEMA) - 1)
    assert column.path_in_schema == "fc7.list.element" and column.compression == "ZSTD"
    assert "BYTE_STREAM_SPLIT" in column.encodings and not column.is_stats_set
    assert pq.ParquetFile(joined).metadata.row_group(0).num_rows > 3, "groups are joined, too"
    # None is larger than it may be.
    facts = study.store.facts("features")
    monkeypatch.setattr(compaction, "LARGE", 2 * max(one.size for one in facts.values()))
    monkeypatch.setattr(compaction, "MOST_SMALL", 0)
    growth = night(study, "one", ["zz"], rng)
    assert 2 <= len(study.parts("features")) < 8
    assert len(sorted_rows(study)) == 61
