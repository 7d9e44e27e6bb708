"""What a scheduler's night may meet, from the command line: each is named, with what mends it."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path

import pytest

import likewise
from likewise import cli
from likewise.errors import ExitCode
from likewise.study import Study
from likewise.tables import TABLES


@pytest.fixture
def study(tmp_path: Path) -> Study:
    """A study with two tables."""
    made = likewise.init(tmp_path / "study")
    for table in ("posts", "authors"):
        stage = made.begin(table, params={"k": 1})
        stage.write(TABLES[table].schema.empty_table())
        stage.publish()
    return made


def ran(*command: str | Path) -> int:
    return cli.run(list(map(str, command)))


def commit_after(study: Study, table: str, *actions: dict[str, object]) -> None:
    """What another program may have written into the log."""
    version = study.store.version(table) + 1
    log = study.root / "tables" / table / "_delta_log" / f"{version:020d}.json"
    log.write_text("\n".join(map(json.dumps, actions)) + "\n", encoding="utf-8")


FEATURES = {"readerFeatures": ["teleport"], "writerFeatures": ["teleport"]}


@pytest.mark.parametrize(
    "protocol",
    [{"minReaderVersion": 99, "minWriterVersion": 99},
     {"minReaderVersion": 3, "minWriterVersion": 7, **FEATURES}],
)  # fmt: skip
def test_a_table_of_a_newer_reader(
    study: Study, protocol: dict[str, object], capsys: pytest.CaptureFixture[str]
) -> None:
    commit_after(study, "posts", {"protocol": protocol})
    for verb in ("status", "clean", "prune"):
        assert ran(verb, study.root) == ExitCode.USAGE
        said = capsys.readouterr().err
        assert f"{study.root}/tables/posts was written by a newer program" in said
        assert "install the newer likewise" in said


@pytest.mark.parametrize(
    "protocol",
    [{"minReaderVersion": 1, "minWriterVersion": 99},
     {"minReaderVersion": 1, "minWriterVersion": 7, "writerFeatures": ["teleport"]}],
)  # fmt: skip
def test_a_table_that_only_newer_programs_may_write(
    study: Study, protocol: dict[str, object], capsys: pytest.CaptureFixture[str]
) -> None:
    """It is read as ever, although its last commit says nothing of likewise."""
    commit_after(study, "posts", {"protocol": protocol})
    assert ran("status", study.root) == ExitCode.DONE
    assert study.read("posts").num_rows == 0

    def publish() -> None:
        stage = study.begin("posts", params={"k": 2})
        stage.write(TABLES["posts"].schema.empty_table())
        stage.publish()

    assert cli.guarded(publish) == ExitCode.USAGE
    assert "was written by a newer program" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["clean", "status"])
def test_two_schedulers_in_one_night(
    study: Study, verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """One works; the other is told who, and a look is let in."""
    lock = os.open(study.root / ".lock", os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        os.write(lock, b"4711")
        expected = ExitCode.DONE if verb == "status" else ExitCode.BUSY
        assert ran(verb, study.root) == expected
        said = capsys.readouterr().err
        assert ("4711" in said) == (verb != "status")
    finally:
        os.close(lock)


def test_a_lost_part_is_named_by_whoever_reads_pictures(study: Study) -> None:
    from likewise.errors import StudyError
    from likewise.pictures import bytes_of

    part = study.root / "tables" / "pictures" / "pictures-0123456789ab.parquet"
    with pytest.raises(StudyError, match="a part of pictures, is not there") as lost:
        list(bytes_of(str(part), ["a"]))
    assert "likewise download" in str(lost.value.hint)
