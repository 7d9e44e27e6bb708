"""Structured logs: one JSON object a line in ``logs/likewise.jsonl`` of the study.

A line says which run it belongs to, and of a stage what it read, made and cost. It never holds what
somebody wrote, nor an exception's message, which may hold a name that ``likewise forget`` erases.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import logging
import logging.handlers
import os
import sys
import traceback
import uuid
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from io import TextIOWrapper
from pathlib import Path
from typing import Any

from likewise.errors import ExitCode, LikewiseError

__all__ = ["Run", "current_run", "exit_code_of", "study_log", "tell"]

log = logging.getLogger("likewise")

LARGEST = 10 * 2**20
"""Bytes of a log file; then it becomes ``likewise.jsonl.1``, and so on."""
KEPT = 9
"""Older files that stay: with a night's 20 lines, years."""


@dataclass(slots=True)
class Run:
    """One holding of a study's lock: its id, the folder, and a line for each stage done in it."""

    root: Path
    id: str = field(default_factory=lambda: uuid.uuid4().hex[:12])
    night: int | None = None
    stages: list[Mapping[str, Any]] = field(default_factory=list)
    stage: str | None = None
    """The stage at work."""


_RUN: ContextVar[Run | None] = ContextVar("run", default=None)


def current_run() -> Run | None:
    """The run that this thread or task belongs to; None outside of a study's lock."""
    return _RUN.get()


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        run = current_run()
        line = {
            "time": dt.datetime.fromtimestamp(record.created, dt.UTC).isoformat(
                timespec="milliseconds"
            ),
            "level": record.levelname.lower(),
            "logger": record.name,
            "run": None if run is None else run.id,
            "night": None if run is None else run.night,
            "message": record.getMessage(),
            **getattr(record, "facts", {}),
        }
        if record.exc_info and (error := record.exc_info[1]) is not None:
            line |= _trouble(error)
        return json.dumps(line, ensure_ascii=False, default=str)


class _Rotating(logging.handlers.RotatingFileHandler):
    """Does not follow a link: whoever can write the folder could else let us write elsewhere."""

    def _open(self) -> TextIOWrapper:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        opened = os.fdopen(os.open(self.baseFilename, flags, 0o644), "a", encoding="utf-8")
        assert isinstance(opened, TextIOWrapper)
        return opened

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's own name
        """A disk that is full ends the run by what it writes, not by what it tells about it."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)


def _trouble(error: BaseException) -> dict[str, Any]:
    """An error's kind, code and places in the code, without its message."""
    found: dict[str, Any] = {"error": type(error).__name__, "exit_code": exit_code_of(error)}
    if isinstance(error, OSError) and error.errno is not None:
        found["errno"] = os.strerror(error.errno)
    if not isinstance(error, LikewiseError):
        frames = traceback.extract_tb(error.__traceback__)
        found["traceback"] = [f"{one.filename}:{one.lineno} {one.name}" for one in frames]
    return found


def exit_code_of(error: BaseException | None) -> int:
    """The exit code that the command line ends with for this error; see ``likewise.errors``."""
    if error is None:
        return int(ExitCode.DONE)
    if isinstance(error, KeyboardInterrupt):
        return int(ExitCode.INTERRUPTED)
    if isinstance(error, OSError):
        return int(ExitCode.STORAGE)
    return int(getattr(error, "exit_code", ExitCode.UNEXPECTED))


def tell(message: str, **facts: Any) -> None:
    """One line with numbers and names of our own (tables, stages, versions); nothing of people."""
    log.info(message, extra={"facts": facts})


@contextlib.contextmanager
def study_log(root: Path) -> Iterator[Run]:
    """Write what the loggers below ``likewise`` say into the study while the block runs."""
    folder = root / "logs"
    folder.mkdir(parents=True, exist_ok=True)
    handler = _Rotating(
        folder / "likewise.jsonl", maxBytes=LARGEST, backupCount=KEPT, encoding="utf-8"
    )
    handler.setFormatter(_JsonLines())
    run = Run(root)
    token = _RUN.set(run)
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False
    tell("begin", command=[Path(sys.argv[0]).name, *sys.argv[1:2]], pid=os.getpid())
    try:
        yield run
    except BaseException as error:
        log.error("end", exc_info=error, extra={"facts": {"stages": len(run.stages)}})
        raise
    else:
        tell("end", exit_code=0, stages=len(run.stages))
    finally:
        _RUN.reset(token)
        log.removeHandler(handler)
        handler.close()
