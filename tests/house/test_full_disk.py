"""A disk that is full in the middle of a stage: exit 8 and what to do; afterwards the same rows."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.sandbox import World, WorldSpec, running
from likewise.config import render
from likewise.errors import ExitCode
from likewise.study import MADE_BY, Study

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small file system: needs root"),
]

STAGES = ("collect", "clean", "download", "faces", "label", "extract", "compare", "rank", "report")
TABLES = {verb: table for table, verb in reversed(MADE_BY.items())}
"""Stage -> its first table."""
WHEN = {"fetched_at", "attempts", "collected_at", "audience_at", "age_days"}
"""Columns that say when a server was asked, by the real clock."""

ROOM_KB = (8, 64, 300, 1500, 4000)
"""What is left for the stage's work: next to nothing, and a part of what it writes."""


@contextlib.contextmanager
def small_disk(place: Path, size: str) -> Iterator[Path]:
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def stage(verb: str, study: Path) -> tuple[int, dict[str, object], str]:
    command = [sys.executable, "-m", "likewise", verb, str(study), "--json"]
    # What libraries put aside (joblib's maps) lies on the full disk as well.
    space = {**os.environ, "TMPDIR": str(study.parent / "tmp"), "JOBLIB_TEMP_FOLDER": str(study)}
    done = subprocess.run(command, cwd=ROOT, env=space, capture_output=True, text=True, timeout=600)
    lines = done.stdout.strip().splitlines()
    return done.returncode, json.loads(lines[-1]) if lines else {}, done.stderr


def rows(study: Path, verb: str) -> list[str]:
    found = Study.open(study).read(TABLES[verb])
    if "picture" in found.column_names and verb == "extract":
        found = found.drop_columns(["picture"])
    return sorted(str({k: v for k, v in row.items() if k not in WHEN}) for row in found.to_pylist())


def test_every_stage_on_a_disk_that_fills(tmp_path: Path) -> None:
    moments = random.Random(4)
    told: dict[str, list[int]] = {}
    with (
        running(World(WorldSpec(seed=5, authors=80, posts=220))) as sandbox,
        small_disk(tmp_path / "disk", "400m") as disk,
    ):
        sandbox.limiter.enabled = False
        source = {"platform": "mastodon", "host": sandbox.url, "permission": "x", "tags": ["photo"]}
        study = tmp_path / "calm" / "study"
        study.mkdir(parents=True)
        (study.parent / "tmp").mkdir()
        (disk / "tmp").mkdir()
        values = {
            "collect": {"sources": [source]},
            "download": {"allow_hosts": ["127.0.0.1"], "buckets": 2},
            "faces": {"detector": "dlib-hog"},
            "extract": {"backbone": "efficientnet-lite0"},
        }
        (study / "likewise.toml").write_text(render(values), encoding="utf-8")
        full = disk / "study"
        for verb in STAGES:
            shutil.copytree(study, full, symlinks=True)
            assert stage(verb, study)[0] in {0, 3}
            codes = told.setdefault(verb, [])
            room = moments.sample(ROOM_KB, 2)
            for kilobytes in (8, *room):
                filler = disk / "filler"
                free = shutil.disk_usage(disk).free
                with filler.open("wb") as file:
                    os.posix_fallocate(file.fileno(), 0, max(1, free - kilobytes * 1024))
                code, said, errors = stage(verb, full)
                filler.unlink()
                codes.append(code)
                assert code in {0, 3, ExitCode.STORAGE}, (verb, kilobytes, said, errors[-2000:])
                if code == ExitCode.STORAGE:
                    assert "Traceback" not in errors, (verb, kilobytes, errors[-2000:])
                    assert "move" not in str(said["hint"]), said
                    assert "free" in str(said["hint"]), said
            code, said, errors = stage(verb, full)
            assert code in {0, 3}, (verb, said, errors[-2000:])
            if verb in TABLES and verb != "compare":
                assert rows(full, verb) == rows(study, verb), verb
            shutil.rmtree(full)
    print(told)
    assert sum(code == ExitCode.STORAGE for codes in told.values() for code in codes) >= len(STAGES)
