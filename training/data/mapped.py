"""Arrays in files: pages that a process can let go, and that other processes can map, too."""

from __future__ import annotations

import errno
import mmap
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["create", "let_go", "open_rows"]


def create(path: Path, shape: tuple[int, int]) -> NDArray[np.float32]:
    """A (n, d) float32 array of zeros in a new ``.npy`` file; an older file is replaced.

    Raises:
        OSError: the disk has no room. All of it is reserved at once, since a mapping that finds
            the disk full later on ends the process.
    """
    size = 4 * shape[0] * shape[1]
    if size > shutil.disk_usage(path.parent).free:
        raise OSError(errno.ENOSPC, f"{size >> 20:,} MiB needed for the features", str(path))
    rows = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return rows


def open_rows(path: Path) -> NDArray[np.float32]:
    """The (n, d) array of a file that ``create`` made, read-only."""
    rows: NDArray[np.float32] = np.load(path, mmap_mode="r", allow_pickle=False)
    return rows


def let_go(rows: NDArray[Any]) -> None:
    """Give back the memory behind a mapped array, until its next use reads it again.

    The values stay in the file, or in the system's cache as long as nobody else needs the room.
    Nothing happens to an array that is not mapped.
    """
    base: Any = rows
    while base is not None and not isinstance(base, mmap.mmap):
        base = getattr(base, "base", None)
    if base is not None and hasattr(mmap, "MADV_DONTNEED"):
        base.madvise(mmap.MADV_DONTNEED)
