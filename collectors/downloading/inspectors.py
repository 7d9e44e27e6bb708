"""A pool of processes that look at downloaded bytes, so that no picture can hurt the download."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator
from dataclasses import asdict

from collectors.downloading.guarded import GuardedPool, LostError
from filters.pictures.decode import Hygiene, Inspection

__all__ = ["Inspected", "Inspectors", "open_inspectors"]


class Inspected:
    """An inspection with the sha256 of the bytes (None when the worker was lost)."""

    __slots__ = ("found", "sha256")

    def __init__(self, found: Inspection, sha256: str | None) -> None:
        self.found = found
        self.sha256 = sha256


class Inspectors(GuardedPool):
    """Workers that inspect pictures."""

    def __init__(self, rules: Hygiene) -> None:
        super().__init__("filters.pictures.inspect_worker", [asdict(rules)])

    async def inspect(self, data: bytes) -> Inspected:
        """Inspect one file. A lost worker gives ``decode_timeout`` or ``decoder_crashed``."""
        try:
            answer = await self.ask(data)
        except LostError as error:
            return Inspected(Inspection("failed", error.reason), None)
        sha256 = answer.pop("sha256")
        return Inspected(Inspection(**answer), sha256)


@contextlib.asynccontextmanager
async def open_inspectors(rules: Hygiene, size: int | None = None) -> AsyncIterator[Inspectors]:
    """A pool of ``size`` workers; by default one for each processor, eight at most."""
    pool = Inspectors(rules)
    try:
        await pool.start(size or min(8, os.cpu_count() or 1))
        yield pool
    finally:
        await pool.stop()
