"""What Bluesky's servers need, installed into one folder: packages of npm, and Node itself."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from likewise.errors import LikewiseError, UsageError
from likewise.progress import note

__all__ = ["Installation", "install"]

HERE = Path(__file__).resolve().parent
_MACHINES = {"x86_64": "x64", "amd64": "x64", "aarch64": "arm64", "arm64": "arm64"}
_NATIVE = "better-sqlite3"
"""The one package that is compiled: npm leaves it to whoever installs with ``--ignore-scripts``."""


@dataclass(frozen=True, slots=True)
class Installation:
    """Node of a version that the servers run on, and the script that starts them."""

    node: Path
    script: Path


def install(folder: Path) -> Installation:
    """Install into ``folder`` whatever is not there yet: 660 MB, 2 to 7 minutes the first time.

    Raises:
        UsageError: npm, a C++ compiler or this kind of machine is missing.
        LikewiseError: a package could not be fetched or compiled.
    """
    folder.mkdir(parents=True, exist_ok=True)
    script = folder / "servers.mjs"
    shutil.copyfile(HERE / "servers.mjs", script)
    node = folder / "node_modules" / _node_package()
    stamp = folder / "installed"
    wanted = hashlib.sha256((HERE / "package.json").read_bytes()).hexdigest()
    if not stamp.is_file() or stamp.read_text(encoding="ascii") != wanted:
        note(f"installing Bluesky's servers into {folder} (660 MB, 2 to 7 minutes, once)")
        _fetch(folder)
        _compile(folder, node)
        stamp.write_text(wanted, encoding="ascii")
    return Installation(node / "bin" / "node", script)


def _node_package() -> str:
    machine = _MACHINES.get(platform.machine().lower())
    if platform.system() != "Linux" or machine is None:
        raise UsageError(
            f"Bluesky's servers are installed on Linux only, x86-64 or ARM64; this is "
            f"{platform.system()} on {platform.machine()}",
            hint="run it in a Linux container; pytest -m atproto skips without the servers",
        )
    return f"node-linux-{machine}"


def _fetch(folder: Path) -> None:
    npm = _tool("npm", "install Node.js with npm (Debian: apt-get install npm)")
    shutil.copyfile(HERE / "package.json", folder / "package.json")
    _run([npm, "install", "--ignore-scripts", "--no-audit", "--no-fund"], folder, "npm.log", {})


def _compile(folder: Path, node: Path) -> None:
    _tool("make", "install a C++ compiler and make (Debian: apt-get install g++ make)")
    _tool("c++", "install a C++ compiler and make (Debian: apt-get install g++ make)")
    modules = folder / "node_modules"
    gyp = modules / "node-gyp" / "bin" / "node-gyp.js"
    command = [str(node / "bin" / "node"), str(gyp), "rebuild", "--release", f"--nodedir={node}"]
    paths = {"PATH": f"{node / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    _run(command, modules / _NATIVE, str(folder / "compile.log"), paths)


def _tool(name: str, mend: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise UsageError(f"{name} is missing: Bluesky's servers cannot be installed", hint=mend)
    return found


def _run(command: list[str], folder: Path, log: str, environment: dict[str, str]) -> None:
    """Run a command in a folder; what it says goes into ``log``.

    Raises:
        LikewiseError: it failed; the message holds the end of the log.
    """
    path = folder / log
    with path.open("w", encoding="utf-8") as out:
        done = subprocess.run(  # noqa: S603 - a fixed command
            command,
            cwd=folder,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if done.returncode:
        last = "\n".join(path.read_text(encoding="utf-8", errors="replace").splitlines()[-12:])
        raise LikewiseError(
            f"{Path(command[0]).name} failed with status {done.returncode}:\n{last}",
            hint=f"all it said is in {path}",
        )
