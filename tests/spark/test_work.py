"""Work items: how a table is cut, read, written, and what is left of a task that fails."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from study_rows import author, post

from filters.hashing import mixed, xxhash64
from likewise.errors import DataError
from likewise.tables import AUTHORS, KEPT_POSTS, POSTS
from spark_jobs.work import Target, gather, items_of, ranges, scatter, spread

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Parts of 10, 0 and 25 posts in row groups of at most 5."""
    for name, numbers in (("a", range(10)), ("b", range(0)), ("c/d", range(10, 35))):
        path = tmp_path / "posts" / f"{name}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = pa.Table.from_pylist([post(n) for n in numbers], POSTS.schema)
        pq.write_table(rows, path, row_group_size=5)
    return tmp_path / "posts"


@pytest.mark.parametrize("wanted", [1, 2, 3, 7, 64])
def test_items_hold_every_row_once_and_are_alike(folder: Path, wanted: int) -> None:
    items = items_of(folder, wanted)
    read = [
        [n for batch in item.batches(POSTS.schema) for n in batch["post_id"].to_pylist()]
        for item in items
    ]
    assert list(itertools.chain(*read)) == [str(n) for n in range(35)]
    assert [len(rows) for rows in read] == [item.rows for item in items]
    assert len(items) == min(wanted, 7)
    assert max(map(len, read)) - min(map(len, read)) <= 5


def test_columns_that_a_part_has_not_are_null(tmp_path: Path) -> None:
    """As in studies of earlier versions; a key may not be missing, nor be of another type."""
    rows = pa.Table.from_pylist([post(1)], POSTS.schema)
    path = tmp_path / "part.parquet"
    pq.write_table(rows.drop_columns(["media", "indexed_at"]), path)
    (batch,) = items_of(tmp_path)[0].batches(POSTS.schema)
    assert batch.schema == POSTS.schema
    assert batch["media"].null_count == batch["indexed_at"].null_count == 1
    pq.write_table(rows.drop_columns(["author_id"]), path)
    with pytest.raises(DataError, match=r"part.parquet: column 'author_id' \(string\) is missing"):
        list(items_of(tmp_path)[0].batches(POSTS.schema))
    at = POSTS.schema.get_field_index("likes")
    pq.write_table(rows.set_column(at, "likes", pa.array([[1]])), path)
    with pytest.raises(DataError, match="'likes' is list<element: int64>, expected int64"):
        list(items_of(tmp_path)[0].batches(POSTS.schema))


def test_media_of_every_shape_come_through(tmp_path: Path) -> None:
    shapes = [None, [], [{"index": 0, "kind": "image"}], [{"index": 1, "kind": "video"}] * 3]
    rows = pa.Table.from_pylist([post(n, media=m) for n, m in enumerate(shapes)], POSTS.schema)
    pq.write_table(rows, tmp_path / "part.parquet")
    target = Target("posts", tmp_path / "out", tmp_path)
    target.folder.mkdir()
    with target.part(0) as write:
        for batch in items_of(tmp_path)[0].batches(POSTS.schema):
            write(batch.filter(pa.array([True, False, True, True])))
    found = pq.read_table(tmp_path / "out")
    assert found.equals(rows.take([0, 2, 3]))


def test_a_task_that_fails_leaves_nothing_and_its_repetition_the_same(tmp_path: Path) -> None:
    target = Target("authors", tmp_path / "out", tmp_path / "scratch")
    target.folder.mkdir()
    target.scratch.mkdir()
    rows = pa.RecordBatch.from_pylist([author("a", 1), author("b", None)], AUTHORS.schema)

    def attempt(*, fail: bool) -> None:
        with target.part(3) as write:
            write(rows)
            assert not fail, "planted"

    with pytest.raises(AssertionError, match="planted"):
        attempt(fail=True)
    assert list(target.folder.iterdir()) == list(target.scratch.iterdir()) == []
    attempt(fail=False)
    (part,) = target.folder.iterdir()
    once = part.read_bytes()
    attempt(fail=False)
    assert part.read_bytes() == once and part.name == "part-00003.parquet"
    with pytest.raises(AssertionError, match="planted"):
        attempt(fail=True)
    assert part.read_bytes() == once and list(target.scratch.iterdir()) == []


def test_a_table_without_rows_has_its_schema(tmp_path: Path) -> None:
    target = Target("kept_posts", tmp_path / "out", tmp_path)
    target.folder.mkdir()
    with target.part(0) as write:
        write(pa.RecordBatch.from_pylist([], KEPT_POSTS.schema))
    assert list(target.folder.iterdir()) == []
    target.finish()
    assert pq.read_table(target.folder).schema.equals(KEPT_POSTS.schema)


def test_scattered_records_are_gathered_by_range(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spark_jobs.work.RANGE_ROWS", 100)
    kind = np.dtype([("key", "<u8"), ("value", "<i4")])
    rows = np.empty(1500, kind)
    rows["key"] = np.random.default_rng(1).integers(0, 2**64, 1500, dtype=np.uint64)
    rows["key"][:2] = 0, 2**64 - 1
    rows["value"] = np.arange(1500)
    (tmp_path / "pieces").mkdir()
    for number, piece in enumerate(np.array_split(rows, 4)):
        scatter(piece, tmp_path / "pieces" / f"{number}.npy")
    found = [
        gather(tmp_path / "pieces", low, high, kind) for _, low, high in ranges(tmp_path / "pieces")
    ]
    assert len(found) == 16 and max(map(len, found)) < 200
    assert sorted(np.concatenate(found)["value"]) == list(range(1500))
    edges = [(part["key"].min(), part["key"].max()) for part in found]
    assert all(before[1] < after[0] for before, after in itertools.pairwise(edges))


def test_answers_come_in_order_from_tasks_of_their_own(spark: Any) -> None:
    def where(thing: int) -> tuple[int, int]:
        from pyspark import TaskContext

        context = TaskContext.get()
        assert context is not None
        return thing, context.partitionId()

    assert spread(spark, where, [5, 3, 9]) == [(5, 0), (3, 1), (9, 2)]
    assert spread(spark, where, []) == []


def test_keys_hashed_here_and_in_spark_agree(spark: Any) -> None:
    """Joins in Spark and look-ups in Python go by the same hash: of every length, of nulls."""
    from pyspark.sql import functions as F  # noqa: N812

    texts = [None, *("é" * (n % 3) + "x" * n for n in range(100))]
    rng = np.random.default_rng(0)
    rows = [(*(texts[i] for i in rng.integers(0, len(texts), 3)), n - 50) for n in range(400)]
    frame = spark.createDataFrame(rows, "a string, b string, c string, n long")
    found = frame.select(F.xxhash64("a", "b", "c").alias("key"), F.xxhash64("n").alias("n"))
    expected = found.toArrow()
    columns = [pa.array(column, pa.string()) for column in list(zip(*rows, strict=True))[:3]]
    assert xxhash64(columns).view(np.int64).tolist() == expected["key"].to_pylist()
    n = np.array([row[3] for row in rows])
    assert mixed(n).view(np.int64).tolist() == expected["n"].to_pylist()
    padded = [pa.concat_arrays([pa.array(["skipped"]), column]).slice(1) for column in columns]
    assert (xxhash64(padded) == xxhash64(columns)).all()


DYING = """
import os, sys
from pathlib import Path
from likewise.tables import POSTS
from spark_jobs.session import spark_session
from spark_jobs.work import Target, items_of, spread

root = Path(sys.argv[1])
target = Target("posts", root / "out", root / "scratch")
target.folder.mkdir()
target.scratch.mkdir()

def work(item):
    with target.part(item.number) as write:
        for batch in item.batches(POSTS.schema):
            write(batch)
        first = root / f"tried-{item.number}"
        if item.number == 1 and not first.exists():
            (target.scratch / "left-behind").touch()
            first.touch()
            os._exit(9)
    return item.rows

items = items_of(root / "posts", 3)
print(spread(spark_session(master="local[2,2]"), work, items))
"""


@pytest.mark.slow
def test_a_killed_worker_is_replaced_and_no_row_is_lost_or_doubled(folder: Path) -> None:
    root = folder.parent
    done = subprocess.run(
        [sys.executable, "-c", DYING, root], capture_output=True, text=True, cwd=ROOT, timeout=280
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[10, 15, 10]"
    assert (root / "tried-1").exists()
    found = pq.read_table(root / "out")["post_id"].to_pylist()
    assert found == [str(n) for n in range(35)]
    assert len(list((root / "out").iterdir())) == 3
