"""DuckDB and Spark give identical tables; both read what parts of other versions hold."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from study_rows import author, configure, picture, post, publish, publish_pictures
from test_clean_oracle import dirty

from filters.folds import author_keys
from likewise.errors import DataError
from likewise.study import Study
from likewise.tables import POSTS, TABLES, check_schema
from spark_jobs.clean import clean
from spark_jobs.label import label
from spark_jobs.sql import sql_engine

ROOT = Path(__file__).resolve().parents[2]


def made(folder: Path, master: str | None) -> list[Any]:
    """Rows, funnels and what the report shows of both tables."""
    answer: list[Any] = []
    for stage, name in ((clean, "kept_posts"), (label, "labels")):
        manifest = stage(folder, redo=True, master=master)
        rows = Study.open(folder).read(name)
        check_schema(rows.schema, TABLES[name].schema, name)
        keys = [(key, "ascending") for key in TABLES[name].key]
        # The second labelling has a first to differ from, and tells by how much.
        told = {key: value for key, value in manifest.extra.items() if key != "flips"}
        answer += [rows.sort_by(keys).to_pylist(), manifest.funnel, told]
    return answer


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({}, id="pooled"),
        pytest.param(
            {"method": "per-author", "margin": 0.1, "hour_correction": True},
            id="per-author",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            {"target": "likes/views", "age_correction": True, "margin": 0.2},
            id="views",
            marks=pytest.mark.slow,
        ),
        pytest.param({"target": "likes"}, id="likes", marks=pytest.mark.slow),
    ],
)
def test_both_engines_give_identical_tables(
    study_folder: Path, spark: Any, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    posts, authors = dirty(seed=12)
    publish(study_folder, "posts", posts)
    publish(study_folder, "authors", authors)
    files = [picture(int(p["post_id"]), p["post_id"].encode()[:3], p["author_id"]) for p in posts]
    publish_pictures(study_folder, files)
    configure(study_folder, label={"require_faces": False, **settings})
    monkeypatch.setattr("spark_jobs.label.SAMPLE", 300)  # corrections from some of the authors
    one = made(study_folder, None)
    assert len(one[0]) > 500 and len(one[3]) > 200
    assert made(study_folder, "local[2]") == one


def test_powers_of_ten_fall_into_the_same_tenth(study_folder: Path, spark: Any) -> None:
    powers = pa.table({"x": 10.0 ** np.arange(-15, 9)})
    found = []
    for master in (None, "local[2]"):
        with sql_engine(Study.open(study_folder), "powers", master) as engine:
            engine.known("powers", powers)
            rows = engine.fetch("SELECT x, floor(log10(x) * 10) AS tenth FROM powers ORDER BY x")
            found.append(rows["tenth"].to_pylist())
    assert found[0] == found[1] == list(range(-150, 90, 10))


def test_authors_are_dealt_by_the_hash_that_spark_knows(spark: Any) -> None:
    """Of every length and script: folds of older studies were dealt by that expression."""
    rng = np.random.default_rng(0)
    texts = ["é" * (n % 3) + "x" * n for n in range(100)]
    rows = [tuple(texts[i] for i in rng.integers(0, len(texts), 3)) for _ in range(300)]
    spark.createDataFrame(rows, "a string, b string, c string").createOrReplaceTempView("keys")
    found = spark.sql("SELECT a, b, c, xxhash64(a, b, c) AS hash FROM keys").collect()
    keys = author_keys([(row.a, row.b, row.c) for row in found])
    assert keys.tolist() == [row.hash for row in found]


def test_parts_of_earlier_versions(study_folder: Path) -> None:
    """Columns that they have not are null; a key may not be missing, nor be of another type."""
    study = Study.open(study_folder)
    rows = pa.Table.from_pylist([post(1), post(2)], POSTS.schema)

    def read(*parts: pa.Table) -> list[dict[str, Any]]:
        stage = study.begin("posts", redo=True)
        with stage.staging() as folder:
            for number, part in enumerate(parts):
                pq.write_table(part, folder / f"part-{number}.parquet")
        stage.publish()
        with sql_engine(study, "test") as engine:
            engine.table(study, "posts")
            return engine.fetch("SELECT post_id, indexed_at, likes FROM posts").to_pylist()

    old = rows.drop_columns(["media", "indexed_at"])
    expected = [{"post_id": str(n), "indexed_at": None, "likes": 5} for n in (1, 2)]
    assert read(old) == expected
    assert read(old.slice(0, 1), rows.slice(1)) == expected
    with pytest.raises(
        DataError, match=r"part-1-\w+.parquet: column 'author_id' \(string\) is missing"
    ):
        read(rows, rows.drop_columns(["author_id"]))
    at = POSTS.schema.get_field_index("likes")
    with pytest.raises(DataError, match="'likes' is list<element: int64>, expected int64"):
        read(rows.set_column(at, "likes", pa.array([[1], [2]])))


def test_one_machine_needs_no_java(study_folder: Path) -> None:
    publish(study_folder, "posts", [post(1)])
    publish(study_folder, "authors", [author(f"a{n}", 100 + n) for n in range(40)])
    script = (
        "import sys, likewise; print(likewise.clean(sys.argv[1]).rows); "
        "assert not {'pyspark', 'py4j'} & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, study_folder], capture_output=True, text=True, cwd=ROOT
    )
    assert (done.stdout, done.returncode) == ("1\n", 0), done.stderr
