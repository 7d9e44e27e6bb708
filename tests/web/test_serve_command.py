"""The command itself: what it loads, how it starts, is stopped, and refuses."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_study import make
from page_server import Running

from likewise.cli import run
from likewise.study import Study


def test_neither_torch_nor_spark_is_loaded() -> None:
    program = (
        "import importlib, pkgutil, sys\nimport web.api, web.pages, web.serve\n"
        "for package in (web.api, web.pages):\n"
        "    for found in pkgutil.iter_modules(package.__path__):\n"
        "        importlib.import_module(f'{package.__name__}.{found.name}')\n"
        "heavy = {'torch', 'pyspark', 'sklearn', 'scipy', 'cv2', 'duckdb', 'matplotlib'}\n"
        "sys.exit(', '.join(sorted(heavy & set(sys.modules))) or 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_says_where_it_listens_and_ends_in_order(
    ranked_study: Study, number: signal.Signals
) -> None:
    command = [sys.executable, "-m", "likewise", "serve", str(ranked_study.root), "--port", "0"]
    with subprocess.Popen(
        [*command, "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None and server.stderr is not None
        url = json.loads(server.stdout.readline())["url"]
        with urllib.request.urlopen(f"{url}/healthz", timeout=60) as answer:  # noqa: S310
            assert json.load(answer) == {"status": "ok"}
        server.send_signal(number)
        assert server.wait(60) == 0
        assert "Traceback" not in server.stderr.read()


def test_what_it_refuses(
    tmp_path: Path, ranked_study: Study, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["serve", str(tmp_path / "nothing")]) == 2
    assert "likewise.toml does not exist" in capsys.readouterr().err
    assert run(["serve", str(ranked_study.root), "--host", "0.0.0.0"]) == 2
    assert "needs a password or a token" in capsys.readouterr().err
    (tmp_path / "people").write_text("ada:plain text\n")
    people = ["--passwords", str(tmp_path / "people")]
    assert run(["serve", str(ranked_study.root), *people]) == 2
    assert "people:1" in capsys.readouterr().err
    assert os.environ.get("LIKEWISE_SERVE_TOKEN") is None


def test_two_studies_are_kept_apart(
    tmp_path: Path, ranked_study: Study, run_server: Callable[..., Running]
) -> None:
    other = make(tmp_path / "other", n_authors=3, features=False)
    running = run_server(ranked_study.root, other.root)
    running.wait_until_ready()
    with running.client(headers={"Accept": "text/html"}) as client:
        counts = "/api/v1/rankings/counts"
        assert client.get(counts).json()["total"] == 120
        assert client.get(counts, params={"study": "other"}).json()["total"] == 12
        assert client.get(counts, params={"study": "third"}).status_code == 404
        page = client.get("/gallery", params={"study": "other"}).text
        assert 'href="/compare?study=other"' in page and "<option selected>other" in page
