"""Publishing, fingerprints, buckets and the lock of a study folder."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from likewise.errors import (
    FingerprintError,
    MissingTableError,
    StudyBusyError,
    StudyError,
)
from likewise.funnel import Funnel
from likewise.initialise import init
from likewise.study import Study, fingerprint


@pytest.fixture
def study(study_folder: Path) -> Study:
    return Study.open(study_folder)


def publish(study: Study, rows: list[int], **params: object) -> None:
    stage = study.begin("posts", params=params)
    stage.write(pa.table({"n": rows}))
    stage.publish()


def test_a_table_is_read_back_as_it_was_written(study: Study) -> None:
    publish(study, [1, 2, 3])
    assert study.read("posts").to_pydict() == {"n": [1, 2, 3]}
    assert study.require("posts").rows == 3


def test_nothing_is_visible_before_publish(study: Study) -> None:
    stage = study.begin("posts")
    stage.write(pa.table({"n": [1]}))
    assert study.manifest("posts") is None
    with pytest.raises(MissingTableError, match="no table 'posts'"):
        study.read("posts")


def test_a_failed_writer_leaves_nothing(study: Study) -> None:
    stage = study.begin("posts")
    with pytest.raises(ZeroDivisionError), stage.staging() as folder:
        (folder / "part-0.parquet").write_bytes(b"half" * (1 // 0))
    assert not stage.path.exists()
    assert list((study.root / ".staging").iterdir()) == []


def test_the_same_fingerprint_is_done_and_another_is_refused(study: Study) -> None:
    publish(study, [1], k=3.5)
    assert study.begin("posts", params={"k": 3.5}).done
    with pytest.raises(FingerprintError, match=r"params\.k was 3\.5, is 2"):
        study.begin("posts", params={"k": 2})


def test_redo_replaces_and_never_mixes(study: Study) -> None:
    publish(study, [1, 2], k=1)
    stage = study.begin("posts", params={"k": 2}, redo=True)
    stage.write(pa.table({"n": [9]}))
    stage.publish()
    assert study.read("posts").to_pydict() == {"n": [9]}
    assert len([p for p in (study.root / "tables" / "posts").iterdir() if p.is_dir()]) == 1


def test_a_change_upstream_changes_the_fingerprint_downstream(study: Study) -> None:
    publish(study, [1], k=1)
    before = study.begin("kept_posts", inputs=["posts"]).fingerprint
    stage = study.begin("posts", params={"k": 2}, redo=True)
    stage.write(pa.table({"n": [1]}))
    stage.publish()
    assert study.begin("kept_posts", inputs=["posts"]).fingerprint != before


def test_buckets_go_on_at_the_first_missing_one(study: Study) -> None:
    import pyarrow.parquet as pq

    for wanted in ([0, 1, 2, 3], [2, 3]):
        stage = study.begin("pictures", n_buckets=4)
        assert stage.missing_buckets() == wanted
        for bucket in wanted[:2]:
            with stage.bucket(bucket) as folder:
                pq.write_table(pa.table({"n": [bucket]}), folder / "part-0.parquet")
    stage = study.begin("pictures", n_buckets=4)
    assert stage.missing_buckets() == []
    stage.publish()
    assert sorted(study.read("pictures")["n"].to_pylist()) == [0, 1, 2, 3]


def test_publishing_with_missing_buckets_is_refused(study: Study) -> None:
    with pytest.raises(StudyError, match=r"buckets \[0, 1\]"):
        study.begin("pictures", n_buckets=2).publish()


def test_a_half_written_part_is_named(study: Study) -> None:
    stage = study.begin("posts")
    stage.write(pa.table({"n": list(range(1000))}))
    part = next(stage.path.glob("*.parquet"))
    part.write_bytes(part.read_bytes()[:-20])
    with pytest.raises(StudyError, match=r"part-0000\.parquet is not a whole Parquet file"):
        stage.publish()


@pytest.mark.parametrize("left", [0, 3, 100])
def test_a_damaged_input_is_named_before_a_stage_starts(study: Study, left: int) -> None:
    publish(study, list(range(1000)))
    part = next(study.table_path("posts").glob("*.parquet"))
    part.write_bytes(part.read_bytes()[:left])
    with pytest.raises(StudyError, match=r"part-0000\.parquet is not a whole Parquet file"):
        study.begin("kept_posts", inputs=["posts"])


def test_a_table_whose_parts_were_deleted_is_named(study: Study) -> None:
    publish(study, [1])
    next(study.table_path("posts").glob("*.parquet")).unlink()
    with pytest.raises(StudyError, match="holds no Parquet file, expected posts"):
        study.begin("kept_posts", inputs=["posts"])


def test_a_damaged_manifest_is_named(study: Study) -> None:
    publish(study, [1])
    (study.root / "tables" / "posts" / "_table.json").write_text("{", encoding="utf-8")
    with pytest.raises(StudyError, match=r"_table\.json is damaged"):
        study.read("posts")


@pytest.mark.parametrize("use", [Study.open, init])
def test_an_object_store_is_refused(
    use: Callable[[str], Study], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StudyError, match=r"s3://bucket/study .* expected a folder"):
        use("s3://bucket/study")
    assert not list(tmp_path.iterdir())


def test_a_study_that_is_a_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("x", encoding="utf-8")
    with pytest.raises(StudyError, match="is a file"):
        Study.open(path)


def test_a_folder_without_configuration_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"likewise\.toml does not exist"):
        Study.open(tmp_path)


def _hold(root: Path, ready: object, release: object) -> None:
    with Study.open(root).lock():
        ready.set()  # type: ignore[attr-defined]
        release.wait(30)  # type: ignore[attr-defined]


def test_a_second_run_is_refused_with_the_first_ones_pid(study: Study) -> None:
    context = multiprocessing.get_context("spawn")
    ready, release = context.Event(), context.Event()
    first = context.Process(target=_hold, args=(study.root, ready, release))
    first.start()
    try:
        assert ready.wait(30)
        with pytest.raises(StudyBusyError, match=str(first.pid)) as caught, study.lock():
            pass
        assert caught.value.pid == first.pid
    finally:
        release.set()
        first.join()
    with study.lock():
        pass


def test_a_lock_of_a_killed_process_frees_itself(study: Study) -> None:
    code = (
        "import os, sys; from likewise.study import Study\n"
        "lock = Study.open(sys.argv[1]).lock(); lock.__enter__(); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(study.root)], check=False)
    assert done.returncode == -9
    with study.lock():
        assert (study.root / ".lock").read_text(encoding="utf-8") == str(os.getpid())


def test_a_funnel_that_loses_rows_is_a_bug() -> None:
    from likewise.errors import LikewiseError

    Funnel("clean", "posts", 10, 7, {"too_young": 3})
    with pytest.raises(LikewiseError, match="1 rows have no named reason"):
        Funnel("clean", "posts", 10, 6, {"too_young": 3})


def test_fingerprints_do_not_depend_on_the_order_of_keys() -> None:
    assert fingerprint({"a": 1, "b": [1.5, None]}) == fingerprint({"b": [1.5, None], "a": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": 2})
