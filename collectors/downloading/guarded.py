"""Processes that look at unknown bytes and may be lost over them: a pool that replaces them."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import signal
import struct
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Self

__all__ = ["GuardedPool", "GuardedProcess", "LostError"]

WALL_SECONDS = 30.0
"""A worker that has not answered after this is stuck outside the processor: it is replaced."""

KILLED = 8
"""Workers that may be killed over one picture before it is taken for the reason."""

PIPE_BYTES = 2**20

_PROGRAM = """
import importlib, json, os, sys
os.environ["OPENBLAS_NUM_THREADS"] = "1"
sys.path[:] = json.loads(sys.argv[1])
importlib.import_module(sys.argv[2]).main(*json.loads(sys.argv[3]))
"""


class LostError(Exception):
    """A worker was lost: ``reason`` is ``decode_timeout`` or ``decoder_crashed``."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class GuardedProcess:
    """A process of this program that is asked over pipes, and may be lost at any moment."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    @classmethod
    async def start(
        cls,
        module: str,
        arguments: Sequence[Any],
        limit: int,
        environment: Mapping[str, str] | None = None,
    ) -> Self:
        """Run ``module.main(*arguments)``; see ``GuardedPool``."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-I",  # nothing of the user's: neither variables nor the working folder
            "-Wignore",  # what readers think of a file is said by its reason alone
            "-c",
            _PROGRAM,
            json.dumps([path for path in sys.path if path]),
            module,
            json.dumps(list(arguments)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=dict(
                environment or {}
            ),  # whoever took over a decoder finds no token and no password in it
            limit=limit,
        )
        _widen(process.stdin)
        return cls(process)

    async def ask(self, data: bytes, seconds: float = WALL_SECONDS) -> dict[str, Any] | None:
        """The worker's answer; None when it died over it, or took longer than ``seconds``."""
        stdin, stdout = self.process.stdin, self.process.stdout
        assert stdin is not None and stdout is not None
        try:
            async with asyncio.timeout(seconds):
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
        # Beyond the user's share of pipe pages the usual 64 kB must do, and on uvloop, which takes
        # a pair of sockets for a pipe.
        with contextlib.suppress(OSError, TypeError):
            fcntl.fcntl(stdin.get_extra_info("pipe"), size, PIPE_BYTES)


class GuardedPool:
    """Hands bytes to idle workers and replaces those that die.

    ``module`` has ``main(*arguments)``, which reads 4-byte little-endian lengths and as many bytes
    from standard input, and answers each with one line of JSON of at most ``limit`` bytes.
    """

    def __init__(self, module: str, arguments: Sequence[Any] = (), *, limit: int = 2**16) -> None:
        self._module, self._arguments, self._limit = module, arguments, limit
        self._idle: asyncio.Queue[GuardedProcess] = asyncio.Queue()
        self._all: set[GuardedProcess] = set()

    async def start(self, size: int) -> None:
        """Start ``size`` workers."""
        for _ in range(size):
            await self._add()

    async def _add(self) -> None:
        worker = await GuardedProcess.start(self._module, self._arguments, self._limit)
        self._all.add(worker)
        self._idle.put_nowait(worker)

    async def ask(self, data: bytes) -> dict[str, Any]:
        """A worker's answer.

        A worker may also be killed from outside, most often for memory that others took: the
        bytes then get a fresh worker, and only if two are lost they are to blame. Deaths by
        SIGKILL, which no decoder brings about by itself, count less: ``KILLED`` are believed.

        Raises:
            LostError: the worker did not answer in time, or died.
        """
        deaths = 0.0
        while deaths < 2:
            worker = await self._idle.get()
            answer = await worker.ask(data)
            if answer is not None:
                self._idle.put_nowait(worker)
                return answer
            self._all.discard(worker)
            status = await worker.stop()
            await self._add()
            if status is None or status == -signal.SIGPROF:
                raise LostError("decode_timeout")
            deaths += 2 / KILLED if status == -signal.SIGKILL else 1
        raise LostError("decoder_crashed")

    async def stop(self) -> None:
        """End all workers."""
        await asyncio.gather(*(worker.stop() for worker in self._all))
        self._all.clear()
