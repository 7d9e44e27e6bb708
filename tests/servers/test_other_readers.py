"""Other programs read a study's tables: DuckDB from the parts that a snapshot names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest
from deltalake import DeltaTable
from kept_posts import keep
from misbehaving import Misbehaving

from collectors.download import download
from likewise.nights import end_night
from likewise.study import Study

pytestmark = pytest.mark.slow


def test_duckdb_reads_what_study_reads(
    server: Misbehaving, make_study: Callable[..., Study]
) -> None:
    urls = [server.url(f"/ok/{number % 5}") for number in range(12)]
    study = make_study(urls)
    download(study)
    end_night(study)
    keep(study, [*urls, server.url("/ok/7")])
    download(study)
    end_night(study)
    for night, (asked, pictures) in {1: (12, 5), 2: (13, 6)}.items():
        seen = Study.open(study.root, at=night)
        with duckdb.connect() as db:
            for table in seen.tables():
                parts = seen.parts(table)
                rows = db.read_parquet(parts)
                assert rows.count("*").fetchall()[0][0] == seen.read(table).num_rows
                assert set(rows.columns) == set(seen.dataset(table).schema.names)
            for table in ("fetches", "pictures"):
                db.read_parquet(seen.parts(table)).create_view(table)
            [found] = db.execute(
                "SELECT count(*), count(DISTINCT picture_id), bool_and(sha256(bytes) = picture_id) "
                "FROM fetches JOIN pictures USING (picture_id)"
            ).fetchall()
        assert found == (asked, pictures, True)
    # The log names the same files to whoever reads Delta tables.
    newest = DeltaTable(str(study.root / "tables" / "pictures"))
    assert {Path(uri).name for uri in newest.file_uris()} == {
        Path(part).name for part in study.parts("pictures")
    }
