"""Small copies of pictures, named by their content: made once, by processes that may be lost."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import struct
from pathlib import Path

from collectors.downloading.guarded import GuardedPool, LostError
from likewise.errors import StudyError
from likewise.whole import write_bytes
from web.index.reading import Index
from web.problems import ProblemError

__all__ = ["SIDES", "Thumbnails"]

SIDES = {"small": 384, "large": 1280}
"""Long side in pixels: in the grid, and on a picture's own page."""
MOST_WAITING = 400
_LIMIT = 4 << 20
"""Bytes of one answer: a thumbnail of 1280 x 1280 as base64."""


class Thumbnails:
    """Makes and keeps thumbnails below a folder for each study.

    Its ``workers`` processes start with the first picture that has none yet: a server that only
    answers programs, or whose thumbnails are all there, starts none.
    """

    def __init__(self, workers: int) -> None:
        self._pool = GuardedPool("training.pictures.thumbnail_worker", limit=_LIMIT)
        self._workers = workers
        self._starting = asyncio.Lock()
        self._making: dict[Path, asyncio.Task[bytes]] = {}

    async def stop(self) -> None:
        """End them."""
        for task in self._making.values():
            task.cancel()
        await asyncio.gather(*self._making.values(), return_exceptions=True)
        await self._pool.stop()

    async def get(self, index: Index, folder: Path, picture_id: str, size: str) -> bytes:
        """The WebP file of a picture in one of ``SIDES``.

        Raises:
            ProblemError: 404 no such picture, 410 deleted, 422 it does not decode, 503 too busy.
        """
        if index.is_hidden(picture_id):
            raise ProblemError(410, "this picture was deleted")
        path = folder / "thumbs" / size / picture_id[:2] / f"{picture_id}.webp"
        try:
            return await asyncio.to_thread(path.read_bytes)
        except FileNotFoundError:
            pass
        task = self._making.get(path)
        if task is None:
            if len(self._making) >= MOST_WAITING:
                raise ProblemError(
                    503, "too many thumbnails are waiting", headers={"Retry-After": "2"}
                )
            task = asyncio.create_task(self._make(index, path, picture_id, SIDES[size]))
            self._making[path] = task
            task.add_done_callback(lambda _: self._making.pop(path, None))
        # Others may wait for the same one: whoever goes away must not end it.
        return await asyncio.shield(task)

    async def _make(self, index: Index, path: Path, picture_id: str, side: int) -> bytes:
        try:
            data = await asyncio.to_thread(index.file_of, picture_id)
        except OSError:
            raise ProblemError(410, "the picture's file is not in the tables any more") from None
        except StudyError as error:
            raise ProblemError(410, "the picture's file has changed on the disk") from error
        if data is None:
            raise ProblemError(404, "there is no such picture")
        async with self._starting:
            if self._workers:
                await self._pool.start(self._workers)
                self._workers = 0
        try:
            answer = await self._pool.ask(struct.pack("<I", side) + data)
        except LostError as error:
            raise ProblemError(422, f"the picture cannot be shown: {error.reason}") from None
        if "error" in answer:
            raise ProblemError(422, f"the picture cannot be shown: {answer['error']}")
        made = base64.b64decode(answer["webp"])
        if not index.is_hidden(picture_id):
            with contextlib.suppress(OSError):  # a full disk costs time, not the picture
                await asyncio.to_thread(write_bytes, path, made)
        return made
