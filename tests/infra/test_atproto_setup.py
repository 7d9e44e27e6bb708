"""Setting up Bluesky's own servers: what is missing is named, what is there is left alone."""

from __future__ import annotations

import os
import platform
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from infra.atproto import servers
from infra.atproto.installation import install
from likewise.errors import LikewiseError, UsageError

ROOT = Path(__file__).resolve().parents[2]

linux = pytest.mark.skipif(platform.system() != "Linux", reason="the servers run on Linux only")


def program(folder: Path, name: str, text: str) -> None:
    """A program of that name, alone on the path beside the system's shell."""
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(0o755)


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder in which programs are looked for."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


@linux
def test_missing_programs_are_named(path: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="npm is missing") as caught:
        install(tmp_path / "servers")
    assert "apt-get install npm" in (caught.value.hint or "")
    program(path, "npm", "exit 0")
    with pytest.raises(UsageError, match="make is missing"):
        install(tmp_path / "servers")


@linux
def test_a_failed_installation_says_why_and_is_tried_again(path: Path, tmp_path: Path) -> None:
    program(path, "npm", "echo 'no such registry'; exit 7")
    for _ in range(2):
        with pytest.raises(LikewiseError, match=r"status 7:\nno such registry") as caught:
            install(tmp_path / "servers")
        assert "npm.log" in (caught.value.hint or "")


@linux
def test_an_installation_is_made_once(path: Path, tmp_path: Path) -> None:
    folder = tmp_path / "servers"
    node = f"node_modules/node-linux-{'x64' if platform.machine() == 'x86_64' else 'arm64'}/bin"
    made = [f"/bin/mkdir -p {node} node_modules/better-sqlite3", f"echo x >> {tmp_path / 'runs'}"]
    made += [f"printf '#!/bin/sh\\nexit 0\\n' > {node}/node", f"/bin/chmod 755 {node}/node"]
    program(path, "npm", "\n".join(made))
    for name in ("make", "c++"):
        program(path, name, "exit 0")
    assert install(folder) == install(folder)
    assert (tmp_path / "runs").read_text(encoding="ascii") == "x\n"
    assert (folder / "servers.mjs").is_file()


@pytest.mark.slow
def test_without_the_servers_their_tests_skip_with_a_reason() -> None:
    command = [sys.executable, "-m", "pytest", "-m", "atproto", "tests/atproto"]
    known = {name: text for name, text in os.environ.items() if name != "LIKEWISE_ATPROTO"}
    done = subprocess.run(command, cwd=ROOT, env=known, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout
    assert "make test-atproto starts them" in done.stdout
    assert " passed" not in done.stdout


def test_postgres_runs_as_long_as_the_block() -> None:
    try:
        programs = servers._postgres_folder()
    except UsageError as error:
        pytest.skip(str(error))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        with servers._postgres(programs, folder) as url:
            port = urlsplit(url).port
            socket.create_connection(("127.0.0.1", port), 5).close()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), 5)
