"""Hostile or hurt study folders: nothing is written through a link, each fault has its mend."""

from __future__ import annotations

import json
import os
import sqlite3
from pathlib import Path

import pytest

import likewise
from collectors.crawling.journal import Journal
from likewise.cli import run
from likewise.errors import ExitCode, StudyBusyError, StudyError
from likewise.study import Study


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize(
    "name",
    [".staging", ".unfinished", "tables", "tables/posts", "tables/posts/_delta_log", "spool",
     "logs", "reports", "models", "journal.sqlite", "journal.sqlite-wal", "observed.json",
     "rates.json"],
)  # fmt: skip
def test_no_link_is_followed(
    study_folder: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    aim = tmp_path / "aim"
    aim.mkdir()
    (aim / "precious").write_text("mine", encoding="utf-8")
    link = study_folder / name
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(aim / "precious" if "." in link.name[1:] else aim)
    before = tree(aim)
    assert run(["clean", str(study_folder), "--json"]) == ExitCode.USAGE
    said = json.loads(capsys.readouterr().out)
    assert said["message"].startswith(f"{link} is a link") and "mounted" in said["hint"]
    assert tree(aim) == before


def test_a_lock_that_is_a_link_is_not_written(study_folder: Path, tmp_path: Path) -> None:
    aim = tmp_path / "aim"
    aim.write_text("mine", encoding="utf-8")
    (study_folder / ".lock").symlink_to(aim)
    with pytest.raises(StudyError, match=r"\.lock|cannot be written"):
        likewise.prune(study_folder)
    assert aim.read_text(encoding="utf-8") == "mine"


def test_links_inside_of_staging_are_removed_not_followed(
    study_folder: Path, tmp_path: Path
) -> None:
    aim = tmp_path / "aim"
    aim.mkdir()
    (aim / "precious").write_text("mine", encoding="utf-8")
    staging = study_folder / ".staging" / "x"
    staging.mkdir(parents=True)
    (staging / "link").symlink_to(aim)
    with Study.open(study_folder).lock():
        assert not staging.exists()
    assert (aim / "precious").read_text(encoding="utf-8") == "mine"


def test_an_empty_journal_beside_posts_is_not_a_fresh_one(study_folder: Path) -> None:
    path = study_folder / "journal.sqlite"
    path.touch()
    Journal(path).db.close()  # killed at the very start of a first crawl: it goes on
    path.write_bytes(b"")
    for other in ("-wal", "-shm"):
        path.with_name(path.name + other).unlink(missing_ok=True)
    (study_folder / "tables" / "posts" / "_delta_log").mkdir(parents=True)
    with pytest.raises(StudyError, match=r"journal\.sqlite is empty") as caught:
        Journal(path)
    assert "backup" in str(caught.value.hint)


def test_a_newer_journal_is_refused_and_stays(study_folder: Path) -> None:
    path = study_folder / "journal.sqlite"
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE later (x)")
        db.execute("PRAGMA user_version = 9")
    db.close()
    before = path.read_bytes()
    with pytest.raises(StudyError, match=r"newer likewise \(its version is 9, known is 1\)"):
        Journal(path)
    assert path.read_bytes() == before


def test_an_older_journal_is_completed(study_folder: Path) -> None:
    path = study_folder / "journal.sqlite"
    Journal(path).db.close()
    with sqlite3.connect(path) as db:
        db.execute("ALTER TABLE posts DROP COLUMN uri")
        db.execute("PRAGMA user_version = 0")
    db.close()
    Journal(path).db.close()
    with sqlite3.connect(path) as db:
        assert "uri" in {row[1] for row in db.execute("PRAGMA table_info(posts)")}
        assert db.execute("PRAGMA user_version").fetchone() == (1,)
    db.close()


def test_a_locked_journal_is_busy_not_broken(
    study_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = study_folder / "journal.sqlite"
    Journal(path).db.close()
    monkeypatch.setattr("collectors.crawling.journal.journal.BUSY_S", 0.2)
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    try:
        with pytest.raises(StudyBusyError) as caught:
            Journal(path)
        assert caught.value.exit_code == ExitCode.BUSY
    finally:
        holder.close()


def test_a_damaged_journal_tells_its_mend_but_never_on_a_full_disk(
    study_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = study_folder / "journal.sqlite"
    path.write_bytes(b"this is no database" * 100)
    with pytest.raises(StudyError, match="damaged") as caught:
        Journal(path)
    assert caught.value.exit_code == ExitCode.USAGE and "backup" in str(caught.value.hint)
    full = os.statvfs_result  # what shutil.disk_usage reads: no block is free
    seen = os.statvfs(study_folder)
    monkeypatch.setattr(os, "statvfs", lambda _: full((*seen[:3], 0, 0, *seen[5:])))
    with pytest.raises(StudyError, match="its disk is full") as caught:
        Journal(path)
    assert caught.value.exit_code == ExitCode.STORAGE and "move" not in str(caught.value.hint)


def test_a_journal_that_is_a_folder(study_folder: Path) -> None:
    (study_folder / "journal.sqlite").mkdir()
    with pytest.raises(StudyError, match=r"journal\.sqlite"):
        Journal(study_folder / "journal.sqlite")
