"""What a study tells of itself: places, snapshots, parts, funnels; and what its lock does."""

from __future__ import annotations

import fcntl
import os
import random
import time
from pathlib import Path

import pyarrow as pa
import pytest

from likewise.errors import MissingTableError, StudyBusyError, StudyError
from likewise.funnel import Funnel
from likewise.initialise import init
from likewise.study import LOOKS, MARK, Study, lost_part
from likewise.tables import LABELS, TABLES, features_schema


@pytest.fixture
def study(study_folder: Path) -> Study:
    return Study.open(study_folder)


def publish(study: Study, table: str, rows: pa.Table, **facts: object) -> None:
    stage = study.begin(table, redo=True)
    stage.write(rows)
    stage.publish(**facts)  # type: ignore[arg-type]


ONE = pa.table({"n": [1]})


def test_places(study: Study) -> None:
    assert study.journal_path == study.root / "journal.sqlite"
    for _ in range(2):
        assert study.folder("reports", "deep", "er") == study.root / "reports" / "deep" / "er"
    assert (study.root / "reports" / "deep" / "er").is_dir()


def test_open_knows_studies_folders_and_snapshots(study: Study) -> None:
    assert Study.open(study) is study
    publish(study, "posts", ONE)
    publish(study, "authors", ONE)
    publish(study, "posts", pa.table({"n": [1, 2]}))
    assert study.current() == {"authors": 0, "posts": 1}
    pinned = Study.open(study, at="now")
    assert pinned.versions == {"authors": 0, "posts": 1} and pinned is not study
    earlier = Study.open(study.root, at={"posts": 0})
    assert earlier.read("posts").num_rows == 1 < pinned.read("posts").num_rows
    assert earlier.tables() == ["posts"] and pinned.tables() == ["authors", "posts"]
    assert study.tables() == ["authors", "posts"]
    assert earlier.manifest("authors") is None
    with pytest.raises(MissingTableError, match="no table 'authors'") as caught:
        earlier.require("authors")
    assert caught.value.hint == f"run: likewise collect {study.root}"
    with pytest.raises(MissingTableError) as caught:
        study.require("labels", "another stage")
    assert caught.value.hint == f"run: likewise another stage {study.root}"
    for make in (lambda: earlier.begin("labels"), lambda: earlier.grow("features", {}, [])):
        with pytest.raises(StudyError, match="opened as a snapshot"):
            make()


@pytest.mark.parametrize(
    ("part", "table", "again"),
    [
        ("x/part-0000.parquet", "posts", "likewise collect here"),
        ("x/part-0000.parquet", "kept_posts", "likewise clean here --redo"),
        ("b0001-a.parquet", "features", "likewise extract here"),
        ("a/import-/b/c.parquet", "authors", "likewise collect here"),
        ("x/import-a.parquet", "posts", "likewise import here SOURCE, with the source that the "
         "part is named after"),
    ],
)  # fmt: skip
def test_a_lost_part_says_what_brings_it_back(part: str, table: str, again: str) -> None:
    error = lost_part(part, table, "here")
    assert str(error) == f"{part}, a part of {table}, is not there"
    assert error.hint == f"this brings back what it held: {again}"


def test_funnels_stand_in_the_order_of_the_stages(study: Study) -> None:
    labels = Funnel("label", "pictures", 5, 4, {"copy": 1})
    clean = Funnel("clean", "posts", 9, 9, {})
    publish(study, "labels", ONE, funnel=labels)
    publish(study, "authors", ONE)  # it has none
    publish(study, "kept_posts", ONE, funnel=clean)
    assert study.funnels() == [clean, labels]


def test_pictures_need_their_fetches_and_other_tables_do_not(study: Study) -> None:
    for table in ("authors", "posts", "pictures"):
        publish(study, table, ONE, publication="x")
    study.begin("kept_posts", inputs=["posts", "authors"])
    with pytest.raises(MissingTableError, match="no table 'fetches'"):
        study.begin("labels", inputs=["pictures"])


def test_a_whole_file_of_any_length_is_taken(study: Study) -> None:
    draw, lengths = random.Random(1), set()
    for n in range(24):
        publish(study, "posts", pa.table({"n": [draw.randbytes(n)]}))
        size = Path(study.parts("posts")[0]).stat().st_size
        lengths.add(size % 8)
        study.begin("kept_posts", inputs=["posts"])
    assert len(lengths) == 8


def test_a_table_of_no_part_has_its_columns(study: Study) -> None:
    for table in ("labels", "features"):
        stage = study.begin(table, redo=True)
        stage.publish(**({"layers": ["fc6"]} if table == "features" else {}))
    assert study.read("labels").schema == TABLES["labels"].schema == LABELS.schema
    assert study.read("features").schema == features_schema(["fc6"])


def test_columns_and_filters_are_pushed_down(study: Study) -> None:
    import pyarrow.compute as pc

    publish(study, "posts", pa.table({"n": [1, 2, 3], "m": [4, 5, 6]}))
    found = study.read("posts", ["m"], filter=pc.field("n") > 1)
    assert found.to_pydict() == {"m": [5, 6]}


def test_a_page_that_was_changed_on_disk_is_noticed(study: Study) -> None:
    publish(study, "posts", pa.table({"n": list(range(5000))}))
    part = Path(study.parts("posts")[0])
    content = bytearray(part.read_bytes())
    content[len(content) // 3] ^= 1
    part.write_bytes(bytes(content))
    with pytest.raises(OSError, match="CRC checksum"):
        study.read("posts")


def test_a_lock_inside_a_lock_is_the_same_run(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its file holds the process alone, and processes below inherit whose they are."""
    (study.root / ".lock").write_text("123456789012345", encoding="utf-8")
    for before in (None, "another"):
        if before is not None:
            monkeypatch.setenv(MARK, before)
        assert study.run is None
        with study.lock() as run:
            assert (study.root / ".lock").read_text(encoding="utf-8") == str(os.getpid())
            assert os.environ[MARK] == str(study.root)
            assert study.run is run
            with study.lock() as inner:
                assert inner is run
            assert study.run is run
        assert os.environ.get(MARK) == before


def test_another_study_has_a_lock_of_its_own(study: Study, tmp_path: Path) -> None:
    other = init(tmp_path / "other")
    with study.lock() as run:
        assert other.run is None
        with other.lock() as second:
            assert second is not run and other.run is second


@pytest.mark.parametrize(("text", "pid"), [("4711\n", 4711), ("", None), ("rubbish", None)])
def test_a_lock_that_is_held_is_asked_for_again(
    study: Study, monkeypatch: pytest.MonkeyPatch, text: str, pid: int | None
) -> None:
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    with (study.root / ".lock").open("w", encoding="utf-8") as held:
        held.write(text)
        held.flush()
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(StudyBusyError) as caught, study.lock():
            pass
    assert caught.value.pid == pid
    assert slept == [0.05] * 3 and LOOKS == 4  # 50 ms apart
    assert (study.root / ".lock").read_text(encoding="utf-8") == text
