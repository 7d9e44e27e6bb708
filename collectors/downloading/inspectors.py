"""A pool of processes that look at downloaded bytes, so that no picture can hurt the download."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import signal
import struct
import sys
from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Any

from filters.pictures.decode import Hygiene, Inspection

__all__ = ["Inspected", "Inspectors", "open_inspectors"]

WALL_SECONDS = 30.0
"""A worker that has not answered after this is stuck outside the processor: it is replaced."""

PIPE_BYTES = 2**20

_READ_LIMIT = 2**16

_PROGRAM = """
import json, os, sys
os.environ["OPENBLAS_NUM_THREADS"] = "1"
sys.path[:] = json.loads(sys.argv[1])
from filters.pictures.decode import Hygiene
from filters.pictures.inspect_worker import main
main(Hygiene(**json.loads(sys.argv[2])))
"""


class Inspected:
    """An inspection with the sha256 of the bytes (None when the worker was lost)."""

    __slots__ = ("found", "sha256")

    def __init__(self, found: Inspection, sha256: str | None) -> None:
        self.found = found
        self.sha256 = sha256


class _Worker:
    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    @classmethod
    async def start(cls, rules: Hygiene) -> _Worker:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-I",  # nothing of the user's: neither variables nor the working folder
            "-Wignore",  # what readers think of a file is said by its reason alone
            "-c",
            _PROGRAM,
            json.dumps([path for path in sys.path if path]),
            json.dumps(asdict(rules)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={},  # whoever took over a decoder finds no token and no password in it
            limit=_READ_LIMIT,
        )
        _widen(process.stdin)
        return cls(process)

    async def ask(self, data: bytes) -> dict[str, Any] | None:
        """The worker's answer; None when it died over this picture."""
        stdin, stdout = self.process.stdin, self.process.stdout
        assert stdin is not None and stdout is not None
        try:
            async with asyncio.timeout(WALL_SECONDS):
                head = struct.pack("<I", len(data))
                if len(data) < PIPE_BYTES:
                    # In one piece: two writes would wake the worker twice.
                    stdin.write(head + data)
                else:
                    stdin.write(head)
                    stdin.write(data)
                await stdin.drain()
                line = await stdout.readline()
        except (TimeoutError, ConnectionError):
            return None
        if not line.endswith(b"\n"):
            return None
        answer: dict[str, Any] = json.loads(line)
        return answer

    async def stop(self) -> int | None:
        """End the process; returns its exit status."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        try:
            async with asyncio.timeout(2.0):
                return await self.process.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()
            await self.process.wait()
            return None


def _widen(stdin: asyncio.StreamWriter | None) -> None:
    """Let a whole picture fit into the pipe, so that it goes over in one call (Linux)."""
    size = getattr(fcntl, "F_SETPIPE_SZ", None)
    if stdin is not None and size is not None:
        # Beyond the user's share of pipe pages the usual 64 kB must do.
        with contextlib.suppress(OSError):
            fcntl.fcntl(stdin.get_extra_info("pipe"), size, PIPE_BYTES)


class Inspectors:
    """Hands pictures to idle workers and replaces those that die."""

    def __init__(self, rules: Hygiene) -> None:
        self._rules = rules
        self._idle: asyncio.Queue[_Worker] = asyncio.Queue()
        self._all: set[_Worker] = set()

    async def start(self, size: int) -> None:
        """Start ``size`` workers."""
        for _ in range(size):
            await self._add()

    async def _add(self) -> None:
        worker = await _Worker.start(self._rules)
        self._all.add(worker)
        self._idle.put_nowait(worker)

    async def inspect(self, data: bytes) -> Inspected:
        """Inspect one file. A lost worker gives ``decode_timeout`` or ``decoder_crashed``.

        A worker may also be killed from outside, most often for memory that others took: the
        picture then gets a second, fresh worker, and only if that is lost too it is to blame.
        """
        for _ in range(2):
            worker = await self._idle.get()
            answer = await worker.ask(data)
            if answer is not None:
                self._idle.put_nowait(worker)
                sha256 = answer.pop("sha256")
                return Inspected(Inspection(**answer), sha256)
            self._all.discard(worker)
            status = await worker.stop()
            await self._add()
            if status is None or status == -signal.SIGPROF:
                return Inspected(Inspection("failed", "decode_timeout"), None)
        return Inspected(Inspection("failed", "decoder_crashed"), None)

    async def stop(self) -> None:
        """End all workers."""
        await asyncio.gather(*(worker.stop() for worker in self._all))
        self._all.clear()


@contextlib.asynccontextmanager
async def open_inspectors(rules: Hygiene, size: int | None = None) -> AsyncIterator[Inspectors]:
    """A pool of ``size`` workers; by default one for each processor, eight at most."""
    pool = Inspectors(rules)
    try:
        await pool.start(size or min(8, os.cpu_count() or 1))
        yield pool
    finally:
        await pool.stop()
