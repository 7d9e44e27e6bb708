"""``likewise sandbox`` as a process."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import requests
from click.testing import CliRunner

from likewise.commands.sandbox import command

PROGRAM = [sys.executable, "-c", "from likewise.cli import main; main()", "sandbox"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_it_serves_until_it_is_stopped(number: signal.Signals, code: int) -> None:
    words = [*PROGRAM, "--port", "0", "--json", "--authors", "30", "--posts", "50", "--seed", "7"]
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        facts = json.loads(process.stdout.readline())
        assert facts["world"] == "synthetic world" and facts["seed"] == 7
        page = requests.get(f"{facts['url']}/api/v1/timelines/tag/photo", timeout=10)
        assert len(page.json()) == 20
        process.send_signal(number)
        assert process.wait(20) == code


def test_describe_prints_the_law_and_ends() -> None:
    done = CliRunner().invoke(
        command, ["--describe", "--strength", "0.25", "--epoch", "2026-11-01"]
    )
    assert done.exit_code == 0
    assert "synthetic world" in done.output and "exp(0.25 * appeal)" in done.output
    assert "2026-11-01" in done.output


def test_a_taken_port_is_explained() -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = subprocess.run([*PROGRAM, "--port", port], capture_output=True, text=True)
    assert done.returncode == 2
    assert port in done.stderr and "--port" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "words",
    [
        ["--authors", "0"],
        ["--errors", "1.5"],
        ["--limits-factor", "0"],
        ["--errors", "0.7", "--resets", "0.7"],
        ["--pictures", "nowhere"],
    ],
)
def test_impossible_options_are_refused(words: list[str]) -> None:
    done = subprocess.run([*PROGRAM, *words, "--port", "0"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_a_folder_of_pictures(tmp_path: Path) -> None:
    done = CliRunner().invoke(command, ["--describe", "--pictures", str(tmp_path)])
    assert done.exit_code == 1 and "holds no pictures" in str(done.exception)
