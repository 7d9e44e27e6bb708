"""Finished grid points, kept on disk: an interrupted comparison goes on where it stopped."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np

from likewise.whole import whole_file

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from likewise.progress import Bar

__all__ = ["GridStore", "Point", "safe_name"]

Point = dict[str, "NDArray[Any]"]
Call = dict[str, Any]


class GridStore:
    """Arrays by name below one folder; each point is computed once and appears whole."""

    def __init__(self, folder: Path, bar: Bar | None = None) -> None:
        self.folder = folder
        self.bar = bar
        folder.mkdir(parents=True, exist_ok=True)

    def below(self, name: str) -> GridStore:
        """A store for one classifier on one set of one layer."""
        return GridStore(self.folder / safe_name(name), self.bar)

    def point(self, name: str, compute: Callable[[], Mapping[str, NDArray[Any]]]) -> Point:
        """The point of that name: read back when it is finished, computed and kept otherwise."""
        self._title(name)
        path = self.path(f"{name}.npz")
        found = _read(path)
        if found is None:
            found = dict(compute())
            _write(path, found)
        self._advance()
        return found

    def points(
        self, calls: Mapping[str, Call], run: Callable[[list[Call]], Iterator[Point]]
    ) -> dict[str, Point]:
        """The points of all names; ``run`` gives those of the calls that are not finished yet.

        Each is kept as it comes, in the order of the calls.
        """
        found = {name: _read(self.path(f"{name}.npz")) for name in calls}
        missing = [name for name, point in found.items() if point is None]
        self._advance(len(calls) - len(missing))
        results = run([calls[name] for name in missing])
        for name in missing:
            self._title(name)
            point = found[name] = next(results)
            _write(self.path(f"{name}.npz"), point)
            self._advance()
        return {name: point for name, point in found.items() if point is not None}

    def finished(self, name: str) -> Point:
        """A point that was kept. Raises FileNotFoundError when there is none or it is damaged."""
        path = self.path(f"{name}.npz")
        found = _read(path)
        if found is None:
            raise FileNotFoundError(path)
        return found

    def path(self, name: str) -> Path:
        """Place of a file of this store."""
        return self.folder / safe_name(name)

    def discard(self) -> None:
        """Delete all points: the table that they were for is published."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _title(self, name: str) -> None:
        if self.bar is not None:
            self.bar.update(self.bar.completed, title=f"compare: {self.folder.name} {name}")

    def _advance(self, steps: int = 1) -> None:
        if self.bar is not None:
            self.bar.advance(steps)


def safe_name(name: str) -> str:
    """The name with everything but letters, digits and ``_.=+-`` replaced, fit for a file."""
    return re.sub(r"[^A-Za-z0-9_.=+\-]", "_", name)


def _write(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    with whole_file(path) as staged, staged.open("wb") as file:
        np.savez(file, **dict(arrays))  # type: ignore[arg-type]


def _read(path: Path) -> Point | None:
    """The arrays of a finished point; None when there is none or it is damaged."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (FileNotFoundError, BadZipFile, EOFError, ValueError):
        return None
