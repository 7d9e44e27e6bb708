"""The process that scores; ``web.scoring.service`` starts it and replaces it when it is lost.

It reads frames from standard input (4-byte little-endian length, then a line of JSON and the
pictures' bytes, one after the other) and answers each with one line of JSON.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, BinaryIO

from filters.pictures.inspect_worker import receive
from likewise.errors import LikewiseError
from likewise.study import Study
from training.scoring.answers import Scored
from training.scoring.session import Session

__all__ = ["main"]

KEPT = 2
"""Studies, or states of one, whose networks stay in memory."""


def main(threads: int) -> None:
    """Answer frames until standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    source, sink = sys.stdin.buffer, _own_output()
    sessions: OrderedDict[str, Session] = OrderedDict()
    while frame := receive(source):
        head, _, body = frame[0].partition(b"\n")
        try:
            answer = _answer(json.loads(head), body, sessions, threads)
        except LikewiseError as error:
            answer = {"problem": _told(error)}
        sink.write(json.dumps(answer, allow_nan=False).encode() + b"\n")
        sink.flush()


def _own_output() -> BinaryIO:
    """Standard output for answers alone: what a library prints goes to standard error."""
    sink = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return sink


def _told(error: LikewiseError) -> dict[str, Any]:
    return {"kind": type(error).__name__, "detail": str(error), "hint": error.hint}


def _answer(
    asked: Mapping[str, Any], body: bytes, sessions: OrderedDict[str, Session], threads: int
) -> dict[str, Any]:
    """Rows of ``asked["pictures"]``: ``length``, ``author`` and ``neighbours`` of each."""
    session = _session(asked, sessions, threads)
    told = {"base_rate": session.base_rate, "models": [one.name for one in session.scorers]}
    pictures, start = [], 0
    for number, one in enumerate(asked["pictures"]):
        pictures.append((str(number), body[start : start + one["length"]]))
        start += one["length"]
    most = max((one["neighbours"] for one in asked["pictures"]), default=0)
    rows = session.score(pictures, neighbours=most) if pictures else []
    answers = (_row(session, row, one) for row, one in zip(rows, asked["pictures"], strict=True))
    return {**told, "rows": list(answers)}


def _row(session: Session, row: Scored, one: Mapping[str, Any]) -> dict[str, Any]:
    try:
        baseline = session.baseline(one["author"])
    except LikewiseError as error:
        return {"problem": _told(error)}
    n = one["neighbours"]
    chosen = replace(row, author=baseline, liked=row.liked[:n], unliked=row.unliked[:n])
    return chosen.to_dict()


def _session(
    asked: Mapping[str, Any], sessions: OrderedDict[str, Session], threads: int
) -> Session:
    key = json.dumps([asked["root"], asked["versions"], asked["models"]], sort_keys=True)
    if key not in sessions:
        study = Study.open(asked["root"], at=asked["versions"])
        made = Session(study, asked["models"], threads=threads)
        made.open()
        sessions[key] = made
        while len(sessions) > KEPT:
            sessions.popitem(last=False)
    sessions.move_to_end(key)
    return sessions[key]
