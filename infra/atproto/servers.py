"""Postgres and Bluesky's servers, started for as long as a block runs, on loopback only."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from infra.atproto.installation import Installation
from likewise.errors import LikewiseError, UsageError

__all__ = ["running"]

START_S = 120.0
STOP_S = 20.0


@contextlib.contextmanager
def running(installation: Installation) -> Iterator[dict[str, str]]:
    """Start the servers; yields ``pds`` and ``appview`` (addresses) and two secrets of the run.

    ``bypass`` is the value of the header ``x-ratelimit-bypass`` of calls that no rate limit
    counts, ``jwt_secret`` what the PDS signs its tokens with. Everything that the servers write
    lies in one temporary folder, which is deleted at the end.

    Raises:
        UsageError: Postgres is missing.
        LikewiseError: a server did not start; the message holds the end of its log.
    """
    bin_folder = _postgres_folder()
    with tempfile.TemporaryDirectory(prefix="likewise-atproto-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        with (
            _postgres(bin_folder, folder) as url,
            _network(installation, url, folder) as about,
        ):
            yield about


# -- Postgres ---------------------------------------------------------------------------------


def _postgres_folder() -> Path:
    """Where Postgres' programs lie; Debian keeps them out of the path."""
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: float(p.parent.name))
    on_path = shutil.which("initdb")
    if on_path is not None:
        return Path(on_path).resolve().parent
    if not places:
        raise UsageError(
            "Postgres is missing: Bluesky's servers keep their data in it",
            hint="install it (Debian: apt-get install postgresql); nothing has to be set up",
        )
    return places[-1]


def _unprivileged() -> dict[str, str]:
    """Postgres refuses to be run by root: root starts it as another user."""
    if os.geteuid() != 0:
        return {}
    known = {entry.pw_name for entry in pwd.getpwall()}
    return {"user": "postgres" if "postgres" in known else "nobody"}


@contextlib.contextmanager
def _postgres(bin_folder: Path, folder: Path) -> Iterator[str]:
    """A cluster of its own without a password, reached through a socket in ``folder``; its URL."""
    data, log = folder / "data", folder / "postgres.log"
    who = _unprivileged()
    data.mkdir(mode=0o700)
    if who:
        shutil.chown(data, who["user"])
    make = [str(bin_folder / "initdb"), "-D", str(data), "-U", "atproto", "-A", "trust"]
    make += ["--no-sync", "-E", "UTF8", "--no-locale"]
    port = _free_port()
    serve = [str(bin_folder / "postgres"), "-D", str(data), "-p", str(port)]
    serve += ["-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={data}"]
    serve += ["-c", "fsync=off", "-c", "max_connections=200"]
    with log.open("wb") as out:
        quiet = {"stdin": subprocess.DEVNULL, "stdout": out, "stderr": out, "cwd": data}
        if subprocess.run(make, check=False, **quiet, **who).returncode:  # type: ignore[call-overload]  # noqa: S603
            raise _failed("initdb", log)
        with subprocess.Popen(serve, **quiet, **who) as child, _stopping(child):  # type: ignore[call-overload]  # noqa: S603
            _wait_for(port, child, log)
            yield f"postgresql://atproto@127.0.0.1:{port}/postgres"


def _wait_for(port: int, child: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + START_S
    while time.monotonic() < end and child.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.1)
    raise _failed("Postgres", log)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# -- Bluesky ----------------------------------------------------------------------------------


@contextlib.contextmanager
def _network(installation: Installation, url: str, folder: Path) -> Iterator[dict[str, str]]:
    """The servers themselves; the end of their standard input stops them, so ours does too."""
    log = folder / "node.log"
    shared = {"bypass": secrets.token_hex(16), "jwt_secret": secrets.token_hex(16)}
    environment = {
        **os.environ,
        "ATPROTO_POSTGRES": url,
        "ATPROTO_BYPASS": shared["bypass"],
        "ATPROTO_JWT_SECRET": shared["jwt_secret"],
        "TMPDIR": str(folder),
        "NODE_ENV": "test",
        "LOG_ENABLED": "false",
    }
    command = [str(installation.node), str(installation.script)]
    with (
        log.open("wb") as out,
        subprocess.Popen(  # noqa: S603 - a fixed command
            command,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=out,
            start_new_session=True,
        ) as child,
        _stopping(child),
    ):
        assert child.stdout is not None
        for line in child.stdout:
            if line.startswith(b'{"pds"'):
                yield {**json.loads(line), **shared}
                return
        raise _failed("Bluesky's servers", log)


@contextlib.contextmanager
def _stopping(child: subprocess.Popen[bytes]) -> Iterator[None]:
    """Stop a process when the block ends: kindly, then by force."""
    try:
        yield
    finally:
        if child.stdin is not None:
            child.stdin.close()
        else:
            child.send_signal(2)
        try:
            child.wait(STOP_S)
        except subprocess.TimeoutExpired:
            child.kill()


def _failed(what: str, log: Path) -> LikewiseError:
    last = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-12:])
    return LikewiseError(f"{what} did not start:\n{last}")
