"""What killed runs leave behind, and its removal: ``likewise doctor STUDY --clean``.

A run that ends in any way but ``kill -9`` leaves nothing; the next run goes on where a killed one
stopped and needs none of this either. It is room, and processes that nobody waits for.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil

from likewise.study import MARK, Study

__all__ = ["clean", "left_files", "left_folders", "left_processes"]

_OF_PROCESS = re.compile(
    r"joblib_memmapping_folder_(\d+)_|loky-(\d+)-|likewise-spark-\d+/(\d+)$|likewise-(\d+)-"
)
"""Temporary folders that hold a process's id in their names."""

_OF_SPARK = "likewise-spark-*/*"

_SHARED_MEMORY = "/dev/shm"  # noqa: S108 - joblib's own place, where it has room
"""What killed fits leave there takes memory until the machine starts anew."""


def clean(study: Study | str | os.PathLike[str]) -> dict[str, int]:
    """Remove what killed runs of this study left; returns how much of each kind.

    Raises:
        StudyBusyError: a run is at work; what it writes cannot be told from what is left.
    """
    opened = Study.open(study)
    with opened.lock():
        gone = {"processes": _end(left_processes(opened.root))}
        gone["files"] = sum(
            opened.store.delete(name, left_files(opened, name)) for name in opened.store.names()
        )
        folders = left_folders()
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)
        gone["temporary folders"] = len(folders)
    return gone


def left_processes(root: Path) -> list[psutil.Process]:
    """Processes that a run of this study started and that have outlived it. Hold the lock."""
    own = psutil.Process()
    ours = {own.pid, *(one.pid for one in own.parents())}
    ours |= {one.pid for one in own.children(recursive=True)}
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.pid not in ours and process.environ().get(MARK) == str(root):
                found.append(process)
    return found


def _end(processes: list[psutil.Process]) -> int:
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(processes, timeout=5)
    return len(processes)


def left_files(study: Study, name: str) -> list[str]:
    """Parts of a table that no version names: their writer was killed before its commit."""
    return study.store.unnamed(name)


def left_folders() -> list[Path]:
    """This user's temporary folders of likewise and its libraries whose process is gone."""
    return [path for path, pid in _temporary() if not psutil.pid_exists(pid)]


def _temporary() -> Iterator[tuple[Path, int]]:
    named = (tempfile.gettempdir(), os.environ.get("JOBLIB_TEMP_FOLDER"), _SHARED_MEMORY)
    bases = [base for base in {Path(name) for name in named if name} if base.is_dir()]
    for path in (one for base in bases for one in (*base.iterdir(), *base.glob(_OF_SPARK))):
        found = _OF_PROCESS.search(str(path))
        if found and not path.is_symlink() and path.is_dir() and path.stat().st_uid == os.getuid():
            yield path, int(next(filter(None, found.groups())))
