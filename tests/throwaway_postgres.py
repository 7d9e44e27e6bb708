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
from pathlib import Path
from typing import Any

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


@contextlib.contextmanager
def cluster() -> Iterator[str]:
    """URL of a fresh server on a socket of its own; it is gone at the end."""
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
    data = folder / "data"
    try:
        subprocess.run(
            [binaries / "initdb", "-D", data, "-A", "trust", "-N", "--no-instructions"], **how
        )
        options = f"-c listen_addresses='' -c unix_socket_directories={folder} -c fsync=off"
        control = [binaries / "pg_ctl", "-D", data, "-w", "-l", folder / "log"]
        subprocess.run([*control, "-o", options, "start"], **how)
        try:
            yield f"postgresql://{owner}@/postgres?host={folder}"
        finally:
            subprocess.run([*control, "-m", "immediate", "stop"], **how)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
