"""Work in a process of its own: ``python -m MODULE``, one JSON object on standard input."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Callable, Mapping
from typing import Any

from likewise.errors import LikewiseError
from likewise.study import Study

__all__ = ["environment", "have_done", "work"]


def environment() -> dict[str, str]:
    """This process's variables, and where it finds its modules."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


async def have_done(module: str, asked: Mapping[str, Any]) -> str | None:
    """Have ``module`` do what is asked; None when it is done, else why it could not be.

    The words are empty where the process was lost. Whoever is cancelled ends the process.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        module,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env=environment(),
    )
    try:
        said, _ = await process.communicate(json.dumps(asked).encode())
    except asyncio.CancelledError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        raise
    return said.decode().strip() if process.returncode else None


def work(
    do: Callable[[Study, dict[str, Any]], None],
    failures: tuple[type[Exception], ...] = (LikewiseError, OSError),
) -> int:
    """The process's side: ``do`` what is asked of the study that ``root`` and ``versions`` name.

    It makes way for the pages unless the asking is ``urgent``: when there are none without it.

    One of ``failures`` is told in one line; returns the exit status.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the server's; it ends this process
    asked = json.load(sys.stdin)
    if not asked.get("urgent"):
        os.nice(10)  # pages come first
    study = Study.open(asked["root"], at=asked["versions"])
    try:
        do(study, asked)
    except failures as error:
        sys.stdout.write(f"{error}\n")
        return 1
    return 0
