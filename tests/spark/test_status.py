"""``status`` says what is stale, and which parameter or input made it so, from top to bottom."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fetched_rows import publish_fetched
from study_rows import author, configure, picture, post, publish

import likewise
from collectors.downloading.store import CODE, Store
from likewise.planning import plan
from likewise.study import Study
from likewise.tables import TABLES
from spark_jobs.clean import clean
from spark_jobs.label import label

NOBODY: dict[str, Any] = {
    "label": {"require_faces": False, "folds": 2, "test_fraction": 0.5},
    "download": {"buckets": 16},
}


@pytest.fixture
def folder(study_folder: Path) -> Path:
    configure(study_folder, **NOBODY)
    publish(study_folder, "authors", [author(f"a{n}", 100 + n) for n in range(10)])
    publish(study_folder, "posts", [post(n, f"a{n}", likes=n) for n in range(10)])
    clean(study_folder)
    download(study_folder)
    label(study_folder)
    return study_folder


def download(folder: Path) -> None:
    """The table as ``download`` publishes it."""
    study = Study.open(folder)
    store = Store(study)
    params = {"hygiene": store.hygiene}
    rows = [picture(n, str(n).encode(), f"a{n}", phash=None) for n in range(10)]
    publish_fetched(study, rows)
    fetches = study.read("fetches")
    stage = study.begin(
        "fetches", inputs=["kept_posts"], params=params, code=CODE, n_buckets=store.n_buckets
    )
    for number in range(store.n_buckets):
        with stage.bucket(number) as directory:
            part = fetches if number == 0 else fetches.slice(0, 0)
            pq.write_table(part, directory / "part-0000.parquet")
    stage.publish(kept_posts=store.kept_posts)


def found(folder: Path) -> dict[str, tuple[str, ...]]:
    """Table -> why it is stale, of those that are."""
    stages = likewise.status(folder).stages
    assert all(bool(one.why) == (one.state == "stale") for one in stages)
    return {one.table: one.why for one in stages if one.state == "stale"}


def test_a_parameter_is_named_with_both_values_down_to_the_last_table(folder: Path) -> None:
    assert found(folder) == {}
    versions = Study.open(folder).current()
    configure(folder, clean={"threshold": 2.0, "max_gap_days": 60.0}, **NOBODY)
    changed = ("max_gap_days was 90.0, is 60.0", "threshold was 3.5, is 2.0")
    below = tuple(f"clean: {one}" for one in changed)
    assert found(folder) == {"kept_posts": changed, "fetches": below, "labels": below}
    assert Study.open(folder).current() == versions, "a look changes nothing"
    configure(folder, **NOBODY)
    assert found(folder) == {}, "the old value is back"


def test_an_input_is_named_by_the_table_where_it_changed(folder: Path) -> None:
    publish(folder, "posts", [post(n, f"a{n}", likes=n + 1) for n in range(10)])
    below = ("clean: posts holds other rows",)
    assert found(folder) == {
        "kept_posts": ("posts holds other rows",), "fetches": below, "labels": below,
    }  # fmt: skip


def test_a_rule_of_the_pictures_is_named(folder: Path) -> None:
    configure(folder, label=NOBODY["label"], download={"buckets": 8, "min_side": 77})
    changed = ("hygiene.min_side was 224, is 77", "n_buckets was 16, is 8")
    assert found(folder) == {
        "fetches": changed, "labels": tuple(f"download: {one}" for one in changed),
    }  # fmt: skip


def test_a_plan_writes_nothing_where_a_part_is_lost(folder: Path) -> None:
    """What is lost is computed again by the run, not taken out of the table by a look at it."""
    study = Study.open(folder)
    growth = study.grow("faces", {"detector": "x"}, ["pictures"])
    schema = TABLES["faces"].schema

    def write(path: Path) -> tuple[int, dict[str, int]]:
        one = {"picture_id": "p", "bucket": 0, "detector": "x", "status": "ok"}
        pq.write_table(pa.Table.from_pylist([one], schema), path)
        return 1, {}

    growth.commit([growth.place.put(["p"], write)], schema)
    Path(growth.parts()[0]).unlink()
    version = study.store.version("faces")
    again = study.grow("faces", {"detector": "x"}, ["pictures"])
    assert again.known().to_pylist() == [] and not again.done
    plan(study)
    assert study.store.version("faces") == version
    again.commit([again.place.put(["p"], write)], schema)
    assert again.known().to_pylist() == ["p"]
    assert study.store.lost("faces") == []
