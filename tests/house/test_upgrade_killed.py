"""``likewise upgrade`` killed at any moment: what is half converted is named, and loses nothing."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from likewise import cli
from likewise.config import render
from likewise.errors import ExitCode, StudyError
from likewise.nights import end_night, nights, prune
from likewise.study import Study
from likewise.tables import FETCHED, TABLES
from likewise.upgrading import upgrade

ADDRESSES, CONTENTS, BUCKETS = 600, 400, 4


def rows() -> pa.Table:
    """Fetches with their pictures; a third of the pictures was posted twice."""
    found = []
    for number in range(ADDRESSES):
        data = hashlib.sha256(str(number % CONTENTS).encode()).digest() * 400
        key = {"platform": "mastodon", "host": "h", "post_id": str(number), "media_index": 0}
        found.append(
            key
            | {
                "author_id": str(number % 7),
                "bucket": number % BUCKETS,
                "url": f"https://h/{number}",
            }
            | {"picture_id": hashlib.sha256(data).hexdigest(), "bytes": data, "n_bytes": len(data)}
            | {"format": "jpeg", "status": "ok", "attempts": 1}
        )
    return pa.Table.from_pylist(found, FETCHED)


def old_table(folder: Path, name: str, buckets: list[pa.Table]) -> None:
    """A table of the layout before Delta: parts in a folder of the fingerprint, and a manifest."""
    made = hashlib.sha256(name.encode()).hexdigest()[:16]
    for number, part in enumerate(buckets):
        place = folder / "tables" / name / made / f"bucket={number:04d}"
        place.mkdir(parents=True)
        pq.write_table(part, place / "part-0000.parquet", row_group_size=16)
    said = {"table": name, "fingerprint": made, "rows": sum(map(len, buckets)), "made_from": {}}
    said["made_from"] = {"n_buckets": len(buckets)}
    (folder / "tables" / name / "_table.json").write_text(json.dumps(said), encoding="utf-8")


def make(folder: Path, layout: str) -> Study:
    """A study of an older likewise: before Delta tables, or before ``fetches`` were a table."""
    folder.mkdir()
    (folder / "likewise.toml").write_text(render({}), encoding="utf-8")
    wide = rows()
    pictures = [wide.filter(pa.compute.equal(wide["bucket"], n)) for n in range(BUCKETS)]
    posts = TABLES["posts"].schema
    blank = {field.name: None for field in posts}
    some = blank | {"platform": "mastodon", "host": "h", "collected_at": 0, "author_id": "1"}
    known = pa.Table.from_pylist([some | {"post_id": str(n)} for n in range(ADDRESSES)], posts)
    study = Study.open(folder)
    if layout == "folders":
        old_table(folder, "posts", [known])
        old_table(folder, "authors", [TABLES["authors"].schema.empty_table()])
        old_table(folder, "pictures", pictures)
        return study
    stage = study.begin("posts")
    stage.write(known)
    stage.publish()
    stage = study.begin("pictures", n_buckets=BUCKETS)
    for number, part in enumerate(pictures):
        with stage.bucket(number) as place:
            pq.write_table(part, place / "part-0000.parquet", row_group_size=16)
    stage.publish()
    end_night(study)
    return study


def state(study: Study) -> dict[str, list[str]]:
    """Every row of every table, and which nights can be read."""
    tables = {name: sorted(map(str, study.read(name).to_pylist())) for name in study.tables()}
    return {name: found for name, found in tables.items() if name != "nights"} | {
        "nights": [str(one) for one in nights(study)]
    }


def mended(study: Study) -> bool:
    """Whether nothing is left to convert; where there is, whoever asks is told how."""
    try:
        study.require("fetches")
        study.tables()
    except StudyError as refused:
        if "likewise upgrade" not in str(refused.hint):
            raise
        return False
    return not list(study.root.glob("tables/*/_table.json"))


def test_killed_while_a_log_had_no_commit_yet(tmp_path: Path) -> None:
    """The log's folder is there before its first commit: the old parts are still all there is."""
    calm, rough = make(tmp_path / "calm", "folders"), make(tmp_path / "rough", "folders")
    upgrade(calm)
    for name in ("posts", "pictures"):
        log = rough.root / "tables" / name / "_delta_log"
        log.mkdir()
        (log / "_commit_0123.json.tmp").write_text("{", encoding="utf-8")
    for work in (rough.tables, lambda: rough.require("fetches"), lambda: rough.read("posts")):
        with pytest.raises(StudyError, match="older likewise") as refused:
            work()
        assert "likewise upgrade" in str(refused.value.hint)
    assert cli.run(["clean", str(rough.root)]) == ExitCode.USAGE
    assert upgrade(rough) == ["authors", "fetches", "pictures", "posts"]
    assert state(rough) == state(calm)


def test_what_fetches_will_be_made_of_is_not_pruned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calm, rough = make(tmp_path / "calm", "delta"), make(tmp_path / "rough", "delta")
    upgrade(calm)
    with monkeypatch.context() as killed:
        killed.setattr("likewise.upgrading._fetches_apart", lambda _: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            upgrade(rough)
    with pytest.raises(StudyError, match="before 'fetches'") as refused:
        prune(rough, keep=0)
    assert "likewise upgrade" in str(refused.value.hint)
    upgrade(rough)
    assert state(rough) == state(calm)
    assert prune(rough, keep=0)["pictures"] == BUCKETS
    assert state(rough) == state(calm)


def test_killed_after_the_last_table_no_night_of_the_old_layout_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = make(tmp_path / "study", "delta")
    assert len(nights(study)) == 1
    commit = type(study.store).commit

    def killed(self: Any, said: Any, *arguments: Any, **options: Any) -> int:
        done = commit(self, said, *arguments, **options)
        if said.table == "fetches":
            raise KeyboardInterrupt
        return done

    with monkeypatch.context() as patch:
        patch.setattr(type(study.store), "commit", killed)
        with pytest.raises(KeyboardInterrupt):
            upgrade(study)
    upgrade(study)
    assert nights(study) == []


def started(folder: Path) -> subprocess.Popen[bytes]:
    """An upgrade that has begun: it holds the study."""
    command = [sys.executable, "-m", "likewise", "upgrade", str(folder), "--json"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    process = subprocess.Popen(command, start_new_session=True, **quiet)
    lock = folder / ".lock"
    while process.poll() is None and not (
        lock.is_file() and lock.read_text(encoding="utf-8") == str(process.pid)
    ):
        time.sleep(0.001)
    return process


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("layout", ["folders", "delta"])
def test_kills_at_random_moments(tmp_path: Path, layout: str) -> None:
    """Ten studies of a layout, killed up to three times each: equal tables after all."""
    calm = make(tmp_path / "calm", layout)
    shutil.copytree(calm.root, tmp_path / "old")
    process = started(calm.root)
    began = time.monotonic()
    _, said = process.communicate(timeout=60)
    assert process.returncode == ExitCode.DONE, said.decode()
    lasts = time.monotonic() - began
    expected, draw, came = state(calm), random.Random(14), Counter[str]()
    for number in range(10):
        study = Study.open(shutil.copytree(tmp_path / "old", tmp_path / f"rough-{number}"))
        for _ in range(3):
            process = started(study.root)
            time.sleep(draw.uniform(0, lasts))
            hit = process.poll() is None
            if hit:
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            whole = mended(study)
            came["missed" if not hit else "whole" if whole else "half"] += 1
            if whole:
                break
        upgrade(study)
        assert state(study) == expected
        assert upgrade(study) == []
        shutil.rmtree(study.root)
    print(f"\n{layout}: an upgrade takes {lasts:.2f} s; killed {came.total()} times: {dict(came)}")
    assert came["half"] >= 5
