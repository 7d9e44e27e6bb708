"""The process that decodes unknown bytes; ``collectors.downloading.inspectors`` starts it.

It reads pictures from standard input (4-byte little-endian length, then the bytes) and answers
each with one line of JSON on standard output. It is made to be lost: it has no environment, memory
is limited by the kernel, and a picture that needs more than ``CPU_SECONDS`` ends the process by
SIGPROF, even in the middle of a decoder that never comes back. The parent starts another one.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import resource
import signal
import struct
import sys
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any, BinaryIO

from filters.pictures.decode import Hygiene, Inspection, inspect

__all__ = ["CPU_SECONDS", "MEMORY", "answer", "limited_seconds", "main", "receive", "serve"]

CPU_SECONDS = 4.0
"""Processor seconds that one picture may take: more than three times what the estimate before
decoding allows, so that a slower machine refuses no picture that a faster one takes."""

MEMORY = 600_000_000
"""Bytes that the process may grow by after its start."""


def answer(data: bytes, rules: Hygiene) -> dict[str, object]:
    """Inspection and sha256 of one file, as plain JSON types."""
    with limited_seconds():
        try:
            found = inspect(data, rules)
        except MemoryError:
            found = Inspection("rejected", "too_costly")
    return {**vars_of(found), "sha256": hashlib.sha256(data).hexdigest()}


def vars_of(found: Inspection) -> dict[str, object]:
    """Fields of an inspection; they are plain, so that nothing has to be copied deeply."""
    return {field.name: getattr(found, field.name) for field in fields(found)}


def main(rules: dict[str, Any]) -> None:
    """Inspect pictures by these rules until standard input ends."""
    hygiene = Hygiene(**rules)
    serve(lambda data: answer(data, hygiene))


def serve(work: Callable[[bytes], dict[str, object]]) -> None:
    """Answer each file of standard input with ``work``'s, in one line of JSON."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _limit_memory()
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    while data := receive(source):
        sink.write(json.dumps(work(data[0])).encode() + b"\n")
        sink.flush()


@contextlib.contextmanager
def limited_seconds() -> Iterator[None]:
    """End the process when the block takes more than ``CPU_SECONDS``."""
    signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def receive(source: BinaryIO) -> list[bytes]:
    """One frame: 4-byte little-endian length, then the bytes; nothing at the end."""
    head = source.read(4)
    if len(head) < 4:
        return []
    return [source.read(struct.unpack("<I", head)[0])]


def _limit_memory() -> None:
    # Where there is no /proc (macOS) the bounds on headers alone must do.
    with contextlib.suppress(OSError, ValueError):
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        limit = pages * os.sysconf("SC_PAGE_SIZE") + MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
