"""What is known of every author's audience, in sorted arrays that may be mapped from disk.

An author is found by two hashes of the key, see ``filters.hashing.key_hashes``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from filters.columns import changes

__all__ = ["ROW", "Readings", "rows_of"]

ROW = np.dtype([("key", "<u8"), ("check", "<u4"), ("known", "?"), ("at", "<i8"), ("count", "<i8")])
"""One reading: the author's hashes, whether the count was known, when it was read, the count."""


def rows_of(
    key: NDArray[np.uint64],
    check: NDArray[np.uint32],
    known: NDArray[np.bool_],
    at: NDArray[np.int64],
    count: NDArray[np.int64],
) -> NDArray[Any]:
    """Columns of shape (n,) as ``ROW`` records."""
    rows = np.empty(key.size, ROW)
    for name, column in zip(ROW.names or (), (key, check, known, at, count), strict=True):
        rows[name] = column
    return rows


@dataclass(frozen=True, slots=True)
class Readings:
    """All known counts of n authors, m in all.

    ``key`` and ``check`` (n,) rise; the readings of author i stand at ``first[i]`` up to
    ``first[i + 1]`` of ``at`` (microseconds, rising) and ``count``. An author whose count was never
    known has none. Of several counts of one moment the smallest stands.
    """

    key: NDArray[np.uint64]
    check: NDArray[np.uint32]
    first: NDArray[np.int64]
    at: NDArray[np.int64]
    count: NDArray[np.int64]

    @classmethod
    def of(cls, rows: NDArray[Any]) -> Readings:
        """Sort and join ``ROW`` records, in any order."""
        rows = rows[np.lexsort([rows[name] for name in reversed(ROW.names or ())])]
        known = rows["known"]
        starts = changes(rows["key"]) | changes(rows["check"])
        again = known & ~starts & np.roll(known, 1) & ~changes(rows["at"])
        stays = known & ~again
        at = np.flatnonzero(starts)
        n = np.add.reduceat(stays, at, dtype=np.int64) if at.size else np.empty(0, np.int64)
        first = np.concatenate([[0], np.cumsum(n)])
        own = rows[starts]
        return cls(own["key"], own["check"], first, rows["at"][stays], rows["count"][stays])

    def find(self, key: NDArray[np.uint64], check: NDArray[np.uint32]) -> NDArray[np.int64]:
        """Number of each author asked for, -1 for one that is not there; shape (q,)."""
        # Needles in rising order walk through the keys once instead of jumping about in them.
        order = np.argsort(key)
        place = np.empty(key.size, np.int64)
        place[order] = np.searchsorted(self.key, key[order])
        answer = np.full(key.size, -1, np.int64)
        left = np.flatnonzero(place < self.key.size)
        while left.size:
            here = place[left]
            same = self.key[here] == key[left]
            found = same & (self.check[here] == check[left])
            answer[left[found]] = here[found]
            left = left[same & ~found]  # another author of the same 64 bits: look at the next
            place[left] += 1
            left = left[place[left] < self.key.size]
        return answer

    def latest(self, author: NDArray[np.int64] | slice = slice(None)) -> NDArray[np.float64]:
        """Latest count of each author asked for, NaN where none is known."""
        low, high = self.first[:-1][author], self.first[1:][author]
        answer = np.full(low.size, np.nan)
        known = low < high
        answer[known] = self.count[high[known] - 1]
        return answer

    def nearest(self, author: NDArray[np.int64], at: NDArray[np.int64]) -> NDArray[np.int64]:
        """Place in ``at`` and ``count`` of the reading nearest to each moment; the earlier of two.

        Args:
            author: Numbers of authors, shape (q,).
            at: Moments in microseconds, shape (q,).

        Returns:
            Shape (q,), -1 for authors without a known count.
        """
        low, high = self.first[author], self.first[author + 1]
        later = self._first_not_before(low, high, at)
        earlier = later - 1
        answer = np.where(later < high, later, earlier)
        both = np.flatnonzero((low < later) & (later < high))
        before = at[both] - self.at[earlier[both]]
        nearer = before <= self.at[later[both]] - at[both]
        answer[both[nearer]] = earlier[both[nearer]]
        return np.where(low < high, answer, -1)

    def _first_not_before(
        self, low: NDArray[np.int64], high: NDArray[np.int64], at: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Bisection of all slices ``low:high`` of ``self.at`` at once."""
        low, high = low.copy(), high.copy()
        while (left := np.flatnonzero(low < high)).size:
            middle = (low[left] + high[left]) // 2
            before = self.at[middle] < at[left]
            low[left] = np.where(before, middle + 1, low[left])
            high[left] = np.where(before, high[left], middle)
        return low

    # -- on disk --------------------------------------------------------------------------

    def save(self, folder: Path) -> None:
        """Write the arrays into ``folder``, which is made."""
        folder.mkdir(parents=True)
        for field in fields(self):
            np.save(folder / f"{field.name}.npy", getattr(self, field.name))

    @classmethod
    def load(cls, folder: Path) -> Readings:
        """The arrays in ``folder``, mapped: all workers of a machine share one copy."""
        return cls(*(np.load(folder / f"{f.name}.npy", mmap_mode="r") for f in fields(cls)))

    @classmethod
    def join(cls, folders: Sequence[Path], target: Path) -> None:
        """Join readings of rising ranges of keys on disk, one range at a time in memory."""
        parts = [cls.load(folder) for folder in folders]
        base = np.cumsum([0, *(part.at.size for part in parts)])
        target.mkdir(parents=True)
        for name in ("key", "check", "at", "count"):
            _append(target / f"{name}.npy", [getattr(part, name) for part in parts])
        firsts = [part.first[:-1] + start for part, start in zip(parts, base, strict=False)]
        _append(target / "first.npy", [*firsts, base[-1:]])


def _append(path: Path, arrays: Sequence[NDArray[Any]]) -> None:
    size = sum(array.size for array in arrays)
    whole = np.lib.format.open_memmap(path, mode="w+", dtype=arrays[0].dtype, shape=(size,))
    start = 0
    for array in arrays:
        whole[start : start + array.size] = array
        start += array.size
    whole.flush()
