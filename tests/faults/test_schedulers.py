"""What schedulers meet: two of them in one night, a commit that lost, a store that goes away."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import boto3
import pytest
from night_runs import TABLES, differing, finish, make, place, start, state
from s3_servers import KEYS, PROXY, free_port, served

from likewise.errors import ExitCode
from likewise.study import Study

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

GOOD = {ExitCode.DONE, ExitCode.PARTIAL}  # some of the world's pictures are gone


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def ended(process: subprocess.Popen[bytes]) -> tuple[int, dict[str, Any], str]:
    """Exit code, what it said as JSON, and what people were told."""
    said, told = process.communicate(timeout=900)
    return process.returncode, json.loads(said.splitlines()[-1]), told.decode()


def test_two_schedulers_start_at_once(url: str, tmp_path: Path) -> None:
    """One makes the night; the other says who holds the study, and has changed nothing."""
    folder = make(tmp_path / "study", url)
    both = [start(folder, 0) for _ in range(2)]
    answers = {process.pid: ended(process) for process in both}
    busy = [pid for pid, answer in answers.items() if answer[0] == ExitCode.BUSY]
    worked = [pid for pid, answer in answers.items() if answer[0] in GOOD]
    assert len(busy) == len(worked) == 1, answers
    _, said, told = answers[busy[0]]
    assert said["message"] == f"{folder} is in use by process {worked[0]}"
    assert said["code"] == ExitCode.BUSY and "wait for it to end" in said["hint"]
    assert "Traceback" not in told
    calm = make(tmp_path / "calm", url)
    finish(calm, 0)
    mine, yours = state(Study.open(folder)), state(Study.open(calm))
    assert differing(mine, yours) == dict.fromkeys(TABLES, 0)
    assert len(Study.open(folder).nights()) == 1


def likewise(verb: str, folder: Path, endpoint: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "likewise", verb, str(folder), "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "AWS_ENDPOINT_URL": endpoint},
    )


@pytest.mark.parametrize("version", ["first", "next"])
def test_a_commit_that_lost_a_race(
    url: str, tmp_path: Path, environment: pytest.MonkeyPatch, version: str
) -> None:
    """Two machines, one store: no lock holds both. The later commit is refused and says so."""
    hold = tmp_path / "hold"
    with (
        served("-m", "moto.server") as moto,
        served(PROXY, moto, "--hold", "kept_posts/_delta_log/", str(tmp_path)) as slow,
    ):
        environment.setenv("AWS_ENDPOINT_URL", moto)
        boto3.client("s3").create_bucket(Bucket="bucket")
        here, there = (make(tmp_path / name, url, "s3://bucket/study") for name in ("a", "b"))
        assert ended(start(here, 0, "--until", "collect"))[0] in GOOD
        if version == "next":
            assert ended(likewise("clean", here, moto))[0] in GOOD
            change(here, "# min_age_days = 30.0", "min_age_days = 29.0")
        change(there, "# min_age_days = 30.0", "min_age_days = 28.0")
        hold.touch()
        loser = likewise("clean", there, slow)
        while not (tmp_path / "held").exists():
            assert loser.poll() is None, ended(loser)
            time.sleep(0.01)
        assert ended(likewise("clean", here, moto))[0] in GOOD
        won = Study.open(here).require("kept_posts")
        hold.unlink()
        code, said, told = ended(loser)
        assert code == ExitCode.BUSY, (said, told)
        assert said["message"].startswith("s3://bucket/study/kept_posts: another run has committed")
        assert "two schedulers share this store" in said["hint"]
        assert "Traceback" not in told
        assert Study.open(here).require("kept_posts") == won
        code, _, told = ended(likewise("clean", there, moto))
        assert code in GOOD, told
        assert Study.open(there).require("kept_posts").made != won.made


def change(folder: Path, before: str, after: str) -> None:
    file = folder / "likewise.toml"
    text = file.read_text(encoding="utf-8")
    assert before in text
    file.write_text(text.replace(before, after), encoding="utf-8")


STAGES = ("collect", "clean", "download", "extract")


def test_a_store_goes_away_in_mid_run(
    url: str, tmp_path: Path, environment: pytest.MonkeyPatch
) -> None:
    """8, which schedulers try again, and no traceback; when it is back the next run goes on."""
    calm = make(tmp_path / "calm", url)
    finish(calm, 0)
    expected = state(Study.open(calm))
    environment.setenv("AWS_MAX_ATTEMPTS", "1")
    # A client waits minutes for a store to come back, so these wait together.
    ports = {stage: free_port() for stage in STAGES}
    with ThreadPoolExecutor(len(STAGES)) as pool:
        for one in [pool.submit(goes_away, url, tmp_path, *item) for item in ports.items()]:
            one.result()
    for stage, port in ports.items():
        with served("-m", "localbucket", str(tmp_path / f"{stage}-store"), port=port) as endpoint:
            environment.setenv("AWS_ENDPOINT_URL", endpoint)
            folder = tmp_path / stage
            finish(folder, 0)
            assert differing(state(Study.open(folder)), expected) == dict.fromkeys(TABLES, 0), stage


def goes_away(url: str, tmp_path: Path, stage: str, port: int) -> None:
    """Start a night, and kill its store as soon as the stage begins."""
    own = {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}"}
    with served("-m", "localbucket", str(tmp_path / f"{stage}-store"), port=port) as endpoint:
        boto3.client("s3", endpoint_url=endpoint).create_bucket(Bucket=stage)
        folder = make(tmp_path / stage, url, f"s3://{stage}/study")
        process = start(folder, 0, environment=own)
        while process.poll() is None and place(folder, process.pid) != stage:
            time.sleep(0.01)
    began = time.monotonic()
    code, said, told = ended(process)
    print(f"\n{stage}: {code} after {time.monotonic() - began:.0f} s: {said.get('message')}")
    assert code == ExitCode.STORAGE, (stage, said, told)
    assert f"s3://{stage}/study" in said["message"] and "Traceback" not in told, (said, told)
