"""Scores for many clients at once: a bounded queue, batches as they come, replaced workers.

A picture is looked at by an inspector first (a process that decodes it within bounds); what passes
waits for a scoring process. While that is busy others gather, and the next batch takes up to
``BATCH`` of them: nobody waits for a batch to fill.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import time
from collections import deque
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from collectors.downloading.guarded import GuardedProcess
from collectors.downloading.inspectors import Inspectors, open_inspectors
from likewise.errors import LikewiseError
from training.scoring.session import BATCH, NEIGHBOURS, RULES

if TYPE_CHECKING:
    from web.snapshots import Snapshot

__all__ = ["Asked", "BusyError", "Option", "RefusedAnswerError", "Scoring", "asked_of"]

QUEUED = 64
"""Pictures that may wait; more are answered with "busy"."""

QUEUED_BYTES = 128_000_000

SECONDS = 60.0
"""A batch that takes longer is stuck: its process is replaced."""

LOADING_SECONDS = 600.0
"""The first look at a large study takes minutes: its pictures are compared with each other."""

PATIENCE = 30.0
"""Nobody waits longer for an answer than this."""

LONGEST = 2**22
"""Bytes of the longest answer of a worker."""


class BusyError(LikewiseError):
    """The queue is full, or the model is still being loaded; ``retry_after`` is in seconds."""

    def __init__(self, why: str, retry_after: float) -> None:
        super().__init__(why, hint=f"try again in {math.ceil(retry_after)} seconds")
        self.retry_after = max(1, math.ceil(retry_after))


class RefusedAnswerError(LikewiseError):
    """The scoring process could not answer at all; ``kind`` is the error's class there."""

    def __init__(self, kind: str, detail: str, hint: str | None) -> None:
        super().__init__(detail, hint=hint)
        self.kind = kind


@dataclass(frozen=True, slots=True)
class Asked:
    """By which models of which state of a study pictures are scored; batches share one."""

    root: Path
    versions: tuple[tuple[str, int], ...]
    models: tuple[str, ...] = ()

    def head(self) -> dict[str, Any]:
        """What the worker is told."""
        return {
            "root": str(self.root),
            "versions": dict(self.versions),
            "models": list(self.models),
        }


def asked_of(snapshot: Snapshot, models: tuple[str, ...] = ()) -> Asked:
    """What is asked for the pictures of one snapshot."""
    study = snapshot.study
    return Asked(study.root, tuple(sorted((study.versions or {}).items())), models)


@dataclass(frozen=True, slots=True)
class Option:
    """What one client wants to know beside the score."""

    author: str | None = None
    neighbours: int = NEIGHBOURS


@dataclass(eq=False, slots=True)
class _Job:
    asked: Asked
    option: Option
    data: bytes
    done: asyncio.Future[dict[str, Any]]
    alone: bool = False
    """Its batch was lost: it is tried by itself, so that no other suffers for it."""


@dataclass(slots=True)
class _State:
    waiting: deque[_Job] = field(default_factory=deque)
    n_bytes: int = 0
    per_picture: float = 0.1
    lost: int = 0
    scored: int = 0
    batches: int = 0


class Scoring:
    """The queue and its processes. Nothing is started before the first picture or ``warm``.

    Args:
        workers: scoring processes; each holds the network once.
        threads: of each network; 0 shares the processors among the workers.
        batch: most pictures of one batch; 1 switches batching off (for comparison).
    """

    def __init__(self, *, workers: int = 1, threads: int = 0, batch: int = BATCH) -> None:
        self._workers = workers
        self._threads = threads or max(1, (os.cpu_count() or 1) // workers)
        self._batch = batch
        self._state = _State()
        self._more = asyncio.Condition()
        self._tasks: list[asyncio.Task[None]] = []
        self._looks: set[asyncio.Task[Any]] = set()
        self._inspectors: Inspectors | None = None
        self._stack = AsyncExitStack()
        self._starting = asyncio.Lock()
        self._loaded: set[Asked] = set()

    @property
    def counts(self) -> dict[str, int]:
        """``waiting``, ``scored``, ``batches``, and ``lost`` workers so far."""
        state = self._state
        return {
            "waiting": len(state.waiting),
            "scored": state.scored,
            "batches": state.batches,
            "lost": state.lost,
        }

    async def warm(self, asked: Asked) -> None:
        """Start and load, without a picture; errors come with the first picture."""
        await self._start()
        if asked not in self._loaded and not self._state.waiting:
            with suppress(LikewiseError):
                await self._one(asked, Option(), b"")

    async def stop(self) -> None:
        """End every process; who waits is told that the server stops."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, *self._looks, return_exceptions=True)
        while self._state.waiting:
            job = self._state.waiting.popleft()
            if not job.done.done():
                job.done.set_exception(BusyError("the server is stopping", 5))
        await self._stack.aclose()

    async def score(
        self, asked: Asked, pictures: Sequence[tuple[str, bytes]], option: Option
    ) -> list[dict[str, Any]]:
        """One answer a picture, in their order: as ``Scored.to_dict``, with an ``error`` or not.

        Raises:
            BusyError: too many pictures wait.
            RefusedAnswerError: there is no model, no such author, ...
        """
        await self._start()
        state = self._state
        if len(state.waiting) + len(pictures) > QUEUED or state.n_bytes > QUEUED_BYTES:
            raise BusyError(
                f"{len(state.waiting)} pictures wait already",
                len(state.waiting) * state.per_picture,
            )
        found = await asyncio.gather(
            *(self._look_and_score(asked, option, *one) for one in pictures), return_exceptions=True
        )
        for one in found:
            if isinstance(one, BaseException):
                raise one
        return [one for one in found if not isinstance(one, BaseException)]

    async def _look_and_score(
        self, asked: Asked, option: Option, name: str, data: bytes
    ) -> dict[str, Any]:
        inspectors = self._inspectors
        assert inspectors is not None
        # A task of its own: a client who leaves must not tear a worker from its answer.
        look = asyncio.create_task(inspectors.inspect(data))
        self._looks.add(look)
        look.add_done_callback(self._looks.discard)
        found = (await asyncio.shield(look)).found
        if found.error_class is not None:
            return {"name": name, "error": found.error_class}
        return {**await self._one(asked, option, data), "name": name}

    async def _one(self, asked: Asked, option: Option, data: bytes) -> dict[str, Any]:
        job = _Job(asked, option, data, asyncio.get_running_loop().create_future())
        self._state.waiting.append(job)
        self._state.n_bytes += len(data)
        async with self._more:
            self._more.notify()
        try:
            async with asyncio.timeout(PATIENCE):
                return await job.done
        except TimeoutError:
            why = "the model is being loaded" if asked not in self._loaded else "the queue is slow"
            raise BusyError(why, 10) from None
        finally:
            self._state.n_bytes -= len(data)

    # -- workers --------------------------------------------------------------------------

    async def _start(self) -> None:
        async with self._starting:
            if self._inspectors is None:
                self._inspectors = await self._stack.enter_async_context(
                    open_inspectors(RULES, max(1, min(2, os.cpu_count() or 1)))
                )
                self._tasks = [asyncio.create_task(self._work()) for _ in range(self._workers)]

    async def _work(self) -> None:
        process: GuardedProcess | None = None
        try:
            while True:
                batch = await self._take()
                if process is None:
                    # It finds models and exports where this process would: the same environment.
                    process = await GuardedProcess.start(
                        "web.scoring.worker", [self._threads], LONGEST, os.environ
                    )
                if not await self._serve(process, batch):
                    self._state.lost += 1
                    self._loaded.clear()
                    await process.stop()
                    process = None
        finally:
            if process is not None:
                await process.stop()

    async def _take(self) -> list[_Job]:
        """The job that has waited longest, and those that can share its batch."""
        waiting = self._state.waiting
        async with self._more:
            while True:
                while waiting and waiting[0].done.done():
                    waiting.popleft()  # its client has left
                if waiting:
                    break
                await self._more.wait()
        first = waiting.popleft()
        if first.alone or not first.data:
            return [first]
        batch: list[_Job] = [first]
        others: list[_Job] = []
        while waiting and len(batch) < self._batch:
            job = waiting.popleft()
            fits = job.asked == first.asked and not job.alone and job.data
            (batch if fits else others).append(job)
        waiting.extendleft(reversed(others))
        return [job for job in batch if not job.done.done()] or [first]

    async def _serve(self, process: GuardedProcess, batch: list[_Job]) -> bool:
        """Ask the worker and hand out its answers; False when it was lost."""
        asked = batch[0].asked
        pictures = [job for job in batch if job.data]
        head = asked.head() | {
            "pictures": [
                {
                    "length": len(job.data),
                    "author": job.option.author,
                    "neighbours": job.option.neighbours,
                }
                for job in pictures
            ]
        }
        frame = json.dumps(head).encode() + b"\n" + b"".join(job.data for job in pictures)
        started = time.perf_counter()
        seconds = SECONDS if asked in self._loaded else LOADING_SECONDS
        answer = await process.ask(frame, seconds)
        if answer is None:
            self._lost(batch)
            return False
        problem = answer.get("problem")
        for number, job in enumerate(batch):
            row = {} if problem or not job.data else answer["rows"][number]
            told = problem or row.get("problem")
            if job.done.done():
                continue
            if told:
                job.done.set_exception(RefusedAnswerError(**told))
            else:
                job.done.set_result(
                    {**row, "base_rate": answer["base_rate"], "models": answer["models"]}
                )
        if not problem:
            if asked in self._loaded and pictures:
                share = (time.perf_counter() - started) / len(pictures)
                self._state.per_picture += 0.2 * (share - self._state.per_picture)
            self._loaded.add(asked)
            self._state.scored += len(pictures)
            self._state.batches += bool(pictures)
        return True

    def _lost(self, batch: list[_Job]) -> None:
        """A worker died: of several nobody knows which did it, so each is tried by itself."""
        for job in reversed(batch):
            if job.done.done():
                continue
            if job.alone or not job.data:
                job.done.set_result({"error": "scorer_crashed", "base_rate": None, "models": []})
            else:
                job.alone = True
                self._state.waiting.appendleft(job)
