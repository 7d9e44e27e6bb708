"""Structured logs: one JSON object a line in ``logs/likewise.jsonl`` of the study."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

__all__ = ["study_log"]

log = logging.getLogger("likewise")


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": dt.datetime.fromtimestamp(record.created, dt.UTC).isoformat(
                timespec="milliseconds"
            ),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info and record.exc_info[0] is not None:
            line["error"] = record.exc_info[0].__name__
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


@contextlib.contextmanager
def study_log(root: Path) -> Iterator[None]:
    """Write what the loggers below ``likewise`` say into the study while the block runs.

    The command line and a traceback are logged; values of variables never are, so that no
    secret can slip in.
    """
    folder = root / "logs"
    folder.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(folder / "likewise.jsonl", encoding="utf-8")
    handler.setFormatter(_JsonLines())
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False
    log.info("begin: %s", " ".join(Path(sys.argv[0]).name.split()[:1] + sys.argv[1:2]))
    try:
        yield
    except BaseException as error:
        log.error("end: %s", error, exc_info=True)
        raise
    else:
        log.info("end: done")
    finally:
        log.removeHandler(handler)
        handler.close()
