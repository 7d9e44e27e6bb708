"""The same rows come out whatever the number of parts, partitions and machines."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from study_rows import author, configure, picture, post, publish, publish_pictures

from likewise.study import Study
from likewise.tables import POSTS
from spark_jobs.clean import clean
from spark_jobs.label import label


def publish_in_parts(folder: Path, rows: list[dict[str, Any]], parts: int) -> None:
    """Publish posts in ``parts`` files, in an order of their own."""
    order = np.random.default_rng(parts).permutation(len(rows))
    stage = Study.open(folder).begin("posts")
    with stage.staging() as directory:
        for number, chunk in enumerate(np.array_split(order, parts)):
            table = pa.Table.from_pylist([rows[i] for i in chunk], schema=POSTS.schema)
            pq.write_table(table, directory / f"part-{number:04d}.parquet")
    stage.publish()


def tables(folder: Path) -> dict[str, list[dict[str, Any]]]:
    keys = [(name, "ascending") for name in ("platform", "host", "post_id")]
    study = Study.open(folder)
    found = {name: study.read(name).sort_by(keys).to_pylist() for name in ("kept_posts", "labels")}
    extras = {name: study.require(name).extra for name in found}
    funnels = {name: study.require(name).funnel for name in found}
    return found | {"extras": [extras], "funnels": [funnels]}


@pytest.fixture
def answers(study_folder: Path) -> Any:
    rng = np.random.default_rng(4)
    followers = [*(rng.lognormal(6, 1, 110) + 1).astype(int), *[9_000_000] * 5, *[0] * 5]
    authors = [author(f"a{n}", int(count)) for n, count in enumerate(followers)]
    posts, pictures = [], []
    for number in range(640):
        owner = f"a{int(rng.integers(120))}"
        posts.append(post(number, owner, likes=int(rng.lognormal(3, 1))))
        code = int(rng.integers(-(2**62), 2**62))
        pictures.append(picture(number, number.to_bytes(4, "big"), owner, phash=code))
    publish(study_folder, "authors", authors)
    publish_pictures(study_folder, pictures)

    def run(parts: int, master: str | None = None) -> dict[str, list[dict[str, Any]]]:
        for name in ("posts", "kept_posts", "labels"):
            shutil.rmtree(study_folder / "tables" / name, ignore_errors=True)
        publish_in_parts(study_folder, posts, parts)
        clean(study_folder, master=master)
        label(study_folder, master=master)
        return tables(study_folder)

    return run


SETTINGS = {"require_faces": False, "age_correction": True, "hour_correction": True}


@pytest.mark.parametrize("method", ["pooled", "per-author"])
def test_any_number_of_parts_gives_the_same_tables(
    answers: Any, study_folder: Path, method: str
) -> None:
    configure(study_folder, label={**SETTINGS, "method": method})
    one = answers(1)
    assert 300 < len(one["labels"]) < 640
    for parts in (2, 7, 64) if method == "pooled" else (7,):
        assert answers(parts) == one


@pytest.mark.slow
def test_any_number_of_spark_partitions_gives_the_tables_of_one_machine(
    answers: Any, study_folder: Path, spark: Any
) -> None:
    configure(study_folder, label={**SETTINGS, "method": "per-author", "margin": 0.05})
    one = answers(1)
    before = spark.conf.get("spark.sql.shuffle.partitions")
    try:
        for partitions in (1, 7):
            spark.conf.set("spark.sql.shuffle.partitions", str(partitions))
            assert answers(3, "local[2]") == one
    finally:
        spark.conf.set("spark.sql.shuffle.partitions", before)
