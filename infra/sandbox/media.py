"""Media files of a world: found by name, rendered when asked for, kept for a while."""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from infra.sandbox import pictures
from infra.sandbox.world import Kind, World
from likewise.whole import write_bytes

__all__ = ["Located", "MediaStore"]

_NAME = re.compile(r"(\d{1,19})-(\d)(-small)?\.(jpg|png|mp4)")
_TYPES = {"jpg": "image/jpeg", "png": "image/png", "mp4": "video/mp4"}


@dataclass(frozen=True, slots=True)
class Located:
    """An attachment of the post with this index."""

    post: int
    media: int
    small: bool
    end: str


class MediaStore:
    """Renders pictures in two threads; keeps ``memory`` bytes of them.

    With a ``folder`` every file is kept there too, below a name that tells worlds apart.
    """

    def __init__(self, world: World, *, memory: int = 64_000_000, folder: Path | None = None):
        self.world = world
        self.folder = None if folder is None else folder / world.digest()[:16]
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
        self._memory = memory
        self._kept: OrderedDict[Located, bytes] = OrderedDict()
        self._size = 0
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="sandbox-render")

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def locate(self, name: str) -> Located | None:
        """The attachment with this file name, or None where the world has none."""
        match = _NAME.fullmatch(name)
        index = self.world.find_post(int(match[1])) if match else None
        if match is None or index is None or int(match[2]) >= self.world.n_media[index]:
            return None
        if self.world.kind[index] == Kind.MISSING:
            return None
        return Located(index, int(match[2]), match[3] is not None, match[4])

    async def get(self, what: Located) -> tuple[bytes, str]:
        """Bytes and media type of an attachment."""
        known = self._kept.get(what)
        if known is None:
            loop = asyncio.get_running_loop()
            known = await loop.run_in_executor(self._threads, self.render, what)
            self._keep(what, known)
        else:
            self._kept.move_to_end(what)
        return known, _TYPES[what.end]

    def render(self, what: Located) -> bytes:
        """The file, from the folder or made now."""
        if self.folder is None:
            return self._make(what)
        path = self.folder / f"{what.post}-{what.media}{'-small' * what.small}.{what.end}"
        if path.is_file():
            return path.read_bytes()
        data = self._make(what)
        write_bytes(path, data)
        return data

    def _make(self, what: Located) -> bytes:
        return pictures.render(
            self.world.picture(what.post, what.media),
            png=self.world.is_png(what.post),
            small=what.small,
            folder=self.world.spec.pictures,
        )

    def _keep(self, what: Located, data: bytes) -> None:
        self._kept[what] = data
        self._size += len(data)
        while self._size > self._memory and self._kept:
            _, old = self._kept.popitem(last=False)
            self._size -= len(old)
