"""Publishing, fingerprints, buckets and the lock of a study folder."""

from __future__ import annotations

import datetime as dt
import fcntl
import json
import multiprocessing
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from likewise.errors import (
    CommitRaceError,
    MissingTableError,
    StudyBusyError,
    StudyError,
)
from likewise.funnel import Funnel
from likewise.initialise import init
from likewise.nights import end_night, nights, prune
from likewise.overview import at_work
from likewise.store import Store
from likewise.study import Study, fingerprint
from likewise.upgrading import upgrade


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


def test_the_same_parameters_are_done_and_others_make_the_next_version(study: Study) -> None:
    publish(study, [1, 2], k=3.5)
    assert study.begin("posts", params={"k": 3.5}).done
    assert not study.begin("posts", params={"k": 3.5}, redo=True).done
    before = Study.open(study.root, at="now")
    publish(study, [9], k=2)
    assert study.read("posts").to_pydict() == {"n": [9]}
    assert before.read("posts").to_pydict() == {"n": [1, 2]}
    publish(study, [1, 2], k=3.5)
    assert study.read("posts").to_pydict() == {"n": [1, 2]}


def test_other_rows_upstream_start_the_stage_below_and_the_same_rows_do_not(study: Study) -> None:
    publish(study, [1], k=1)
    before = study.begin("kept_posts", inputs=["posts"]).fingerprint
    publish(study, [1], k=2)
    assert study.begin("kept_posts", inputs=["posts"]).fingerprint == before
    publish(study, [2], k=2)
    assert study.begin("kept_posts", inputs=["posts"]).fingerprint != before


def test_a_snapshot_refuses_to_be_written(study: Study) -> None:
    publish(study, [1])
    with pytest.raises(StudyError, match="snapshot"):
        Study.open(study, at="now").begin("posts")


def test_a_night_is_read_by_number_and_by_moment_until_it_is_pruned(study: Study) -> None:
    for night in range(1, 4):
        publish(study, [night])
        assert end_night(study) == night
        assert end_night(study) == night, "nothing has changed"
    times = [one["ended_at"] for one in nights(study)]
    assert Study.open(study, at=1).read("posts").to_pydict() == {"n": [1]}
    assert Study.open(study, at="2").read("posts").to_pydict() == {"n": [2]}
    for moment in (times[1], times[1].isoformat()):
        assert Study.open(study, at=moment).read("posts").to_pydict() == {"n": [2]}
    for wrong in (4, times[0] - dt.timedelta(seconds=1)):
        with pytest.raises(StudyError, match="no run had ended"):
            Study.open(study, at=wrong)
    assert prune(study, keep=2) == {"nights": 2, "posts": 1}
    with pytest.raises(StudyError, match="no run had ended"):
        Study.open(study, at=1)
    for night in (2, 3):
        assert Study.open(study, at=night).read("posts").to_pydict() == {"n": [night]}


def test_a_study_of_the_older_layout_is_refused_and_converted(study: Study) -> None:
    import pyarrow.parquet as pq

    table = study.root / "tables" / "pictures"
    for bucket in range(2):
        folder = table / "0123456789abcdef" / f"bucket={bucket:04d}"
        folder.mkdir(parents=True)
        pq.write_table(pa.table({"n": [bucket]}), folder / "part-0000.parquet")
    said = {"table": "pictures", "fingerprint": "0123456789abcdef", "rows": 2, "made_from": {}}
    (table / "_table.json").write_text(json.dumps(said), encoding="utf-8")
    with pytest.raises(StudyError, match="older likewise") as refused:
        study.read("pictures")
    assert "likewise upgrade" in str(refused.value.hint)
    assert upgrade(study) == ["pictures"]
    assert study.read("pictures").to_pydict() == {"n": [0, 1]}
    assert study.read("pictures").num_rows == study.require("pictures").rows == 2
    assert [pq.read_table(p).to_pydict() for p in study.parts("pictures", 1)] == [{"n": [1]}]
    assert sorted(p.suffix for p in table.iterdir()) == ["", ".parquet", ".parquet"]
    # Killed after the commit: the old names are still there.
    (table / "0123456789abcdef").mkdir()
    (table / "_table.json").write_text(json.dumps(said), encoding="utf-8")
    assert upgrade(study) == ["pictures"]
    assert study.read("pictures").num_rows == 2
    assert upgrade(study) == []


def test_two_writers_of_one_version_one_wins_and_the_other_is_told(study: Study) -> None:
    publish(study, [0])
    stages = [study.begin("posts", params={"k": k}) for k in (1, 2)]
    for k, stage in enumerate(stages, start=1):
        stage.write(pa.table({"n": [k]}))
    opened = [study.store.open("posts"), study.store.open("posts")]
    stages[0].publish()

    class Behind(Store):
        def open(self, name: str, version: int | None = None) -> DeltaTable | None:
            return opened.pop() if opened else super().open(name, version)

    study.store = Behind(study.store.address)
    with pytest.raises(CommitRaceError):
        stages[1].publish()
    assert study.read("posts").to_pydict() == {"n": [1]}


def test_links_are_not_followed_for_the_lock_nor_for_deletion(study: Study, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("x", encoding="utf-8")
    staging = study.root / ".staging"
    staging.symlink_to(outside)
    with pytest.raises(StudyError, match=r"\.staging is a link"), study.lock():
        pass
    assert (outside / "precious").exists()
    staging.unlink()
    (study.root / ".lock").unlink()
    (study.root / ".lock").symlink_to(outside / "precious")
    with pytest.raises(StudyError), study.lock():
        pass
    assert (outside / "precious").read_text(encoding="utf-8") == "x"


def test_a_table_of_a_newer_reader_version_is_refused(study: Study) -> None:
    publish(study, [1])
    log = study.root / "tables" / "posts" / "_delta_log" / f"{1:020d}.json"
    protocol = {"minReaderVersion": 9, "minWriterVersion": 9}
    log.write_text(json.dumps({"protocol": protocol}) + "\n", encoding="utf-8")
    with pytest.raises(StudyError, match="newer program"):
        study.read("posts")


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
    part = Path(study.parts("posts")[0])
    part.write_bytes(part.read_bytes()[:left])
    with pytest.raises(StudyError, match=rf"{part.name} is not a whole Parquet file"):
        study.begin("kept_posts", inputs=["posts"])


def test_a_table_whose_parts_were_deleted_is_named(study: Study) -> None:
    publish(study, [1])
    part = Path(study.parts("posts")[0])
    part.unlink()
    with pytest.raises(StudyError, match=rf"{part.name}, a part of posts, is not there"):
        study.begin("kept_posts", inputs=["posts"])


def test_a_damaged_manifest_is_named(study: Study) -> None:
    publish(study, [1])
    log = study.root / "tables" / "posts" / "_delta_log" / f"{0:020d}.json"
    log.write_text("{", encoding="utf-8")
    with pytest.raises(StudyError, match=r"posts cannot be opened"):
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


def test_a_look_at_the_lock_does_not_keep_a_run_out(study: Study) -> None:
    with study.lock():
        pass
    with (study.root / ".lock").open() as look:
        fcntl.flock(look, fcntl.LOCK_SH)
        threading.Timer(0.02, fcntl.flock, (look, fcntl.LOCK_UN)).start()
        with study.lock():
            assert at_work(study) is not None
    assert at_work(study) is None


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


def test_the_lock_sweeps_nothing_that_others_write_without_it(study_folder: Path) -> None:
    """``score`` and a server write below reports/ while a night runs."""
    staged = [
        study_folder / "reports" / place
        for place in (".report.html.0123abcd", "score/.m.npz.0123abcd", "review/.b.npz.89abcdef")
    ]
    for path in staged:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    with Study.open(study_folder).lock():
        pass
    assert [path.exists() for path in staged] == [False, True, True]
