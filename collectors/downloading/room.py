"""How many bytes of pictures are in memory at once, over all downloads."""

from __future__ import annotations

import asyncio
from collections import deque
from types import TracebackType

__all__ = ["Hold", "Room"]


class Room:
    """Bytes that may be held at the same time; who asks first is served first."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._free = limit
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    def hold(self) -> Hold:
        """A share of the room, empty at first; a context that gives it back."""
        return Hold(self)

    def fits(self, n: int) -> bool:
        """Whether ``n`` bytes are to be had without waiting."""
        return not self._waiting and min(n, self.limit) <= self._free

    async def take(self, n: int) -> int:
        """Wait for ``n`` bytes. One file larger than all the room takes all of it."""
        n = min(n, self.limit)
        if self.fits(n):
            self._free -= n
            return n
        place = asyncio.get_running_loop().create_future()
        self._waiting.append((n, place))
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self.give(n)  # served and cancelled in the same moment
            else:
                self._waiting = deque(one for one in self._waiting if one[1] is not place)
                self.give(0)
            raise
        return n

    def give(self, n: int) -> None:
        """Give ``n`` bytes back."""
        self._free += n
        while self._waiting and self._waiting[0][0] <= self._free:
            wanted, place = self._waiting.popleft()
            if not place.done():
                self._free -= wanted
                place.set_result(None)


class Hold:
    """What one download has of the room."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._n = 0

    def __enter__(self) -> Hold:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.shrink(0)

    def fits(self, n: int) -> bool:
        """Whether ``take`` would not wait."""
        return self._room.fits(n)

    async def take(self, n: int) -> None:
        """Wait for ``n`` bytes; what was held before is given back first."""
        self.shrink(0)
        self._n = await self._room.take(n)

    def shrink(self, n: int) -> None:
        """Keep ``n`` bytes at most."""
        rest = max(0, self._n - n)
        self._n -= rest
        if rest:
            self._room.give(rest)
