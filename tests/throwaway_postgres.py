"""A PostgreSQL cluster of Debian's packages for one test run, under a user that is not root."""

from __future__ import annotations

import contextlib
import getpass
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)


def _user() -> dict[str, Any]:
    """How to start its programs: PostgreSQL refuses to run as root."""
    if os.getuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            found = pwd.getpwnam(name)
            return {"user": found.pw_uid, "group": found.pw_gid, "extra_groups": []}
    pytest.skip("PostgreSQL does not run as root, and no user postgres or nobody is here")


@dataclass(frozen=True)
class Cluster:
    """A server on a socket of its own, that can be killed and started again."""

    folder: Path
    url: str
    binaries: Path
    how: dict[str, Any]

    def start(self) -> None:
        """Returns when it answers; what it had when it was killed is there again."""
        options = f"-c listen_addresses='' -c unix_socket_directories={self.folder} -c fsync=off"
        subprocess.run([*self._control(), "-l", self.folder / "log", "-o", options, "start"],
                       **self.how)  # fmt: skip

    def kill(self) -> None:
        """``kill -9`` of the server and of all its sessions."""
        lines = (self.folder / "data" / "postmaster.pid").read_text(encoding="ascii").splitlines()
        master = psutil.Process(int(lines[0]))
        all_of_it = [master, *master.children(recursive=True)]
        for process in all_of_it:
            with contextlib.suppress(psutil.NoSuchProcess):  # its master is gone, and so is it
                process.kill()
        psutil.wait_procs(all_of_it, timeout=30)

    def stop(self) -> None:
        subprocess.run([*self._control(), "-m", "immediate", "stop"], **self.how)

    def _control(self) -> list[Path | str]:
        return [self.binaries / "pg_ctl", "-D", self.folder / "data", "-w"]


@contextlib.contextmanager
def cluster() -> Iterator[Cluster]:
    """A fresh server; it is gone at the end."""
    binaries = next((path for path in BINARIES if (path / "initdb").is_file()), None)
    if binaries is None:
        pytest.skip("no PostgreSQL: apt-get install postgresql")
    who = _user()
    # Socket paths are short: pytest's folders are too long, and root's are closed to others.
    folder = Path(tempfile.mkdtemp(prefix="lwpg-", dir="/tmp"))
    if who:
        os.chown(folder, who["user"], who["group"])
    how: dict[str, Any] = {"check": True, "capture_output": True, "cwd": folder, **who}
    owner = pwd.getpwuid(who["user"]).pw_name if who else getpass.getuser()
    try:
        subprocess.run(
            [binaries / "initdb", "-D", folder / "data", "-A", "trust", "-N", "--no-instructions"],
            **how,
        )
        server = Cluster(folder, f"postgresql://{owner}@/postgres?host={folder}", binaries, how)
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
