"""Decoded pictures on disk: each picture is decoded once, however many epochs follow.

A canvas is the uint8 square (side, side, 3) that training crops its views from. Canvases lie in
one ``.npy`` file for each Parquet part of ``pictures`` and are mapped into memory: the pages that
are in use count as the system's file cache, so a set larger than the memory works as well.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import numpy as np

from backbones.preprocess import to_square
from filters.pictures.decode import decode_rgb
from filters.pictures.headers import PictureError
from likewise.errors import StorageError
from likewise.pictures import bytes_of
from likewise.progress import progress
from likewise.store import parquet_file
from likewise.study import write_json

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from backbones.registry import Preprocess

__all__ = ["Canvases", "canvas", "decode_all", "decoded"]

READ_AT_ONCE = 64
GIB = 2**30


class Index(TypedDict):
    """What one file of canvases holds: picture_id -> row; and picture_id -> why not."""

    file: str
    rows: dict[str, int]
    failed: dict[str, str]


def canvas(data: bytes, spec: Preprocess) -> NDArray[np.uint8]:
    """A picture file as the (resize, resize, 3) square that the network's views are cut from.

    Raises:
        filters.pictures.decode.PictureError: the file cannot be decoded.
    """
    return to_square(decode_rgb(data, min_side=spec.resize), replace(spec, size=spec.resize))


class Canvases:
    """The canvases of ``picture_ids`` by their position in it; made by ``decode_all``.

    Raises:
        KeyError: a picture has no canvas.
    """

    def __init__(self, folder: Path, picture_ids: Sequence[str]) -> None:
        self._maps: list[NDArray[np.uint8]] = []
        rows: dict[str, tuple[int, int]] = {}
        for index in _indices(folder):
            if index["rows"]:
                for picture_id, row in index["rows"].items():
                    rows[picture_id] = (len(self._maps), row)
                self._maps.append(np.load(folder / index["file"], mmap_mode="r"))
        self._places = [rows[picture_id] for picture_id in picture_ids]

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        which, row = self._places[index]
        return np.asarray(self._maps[which][row])


def decode_all(
    parts: Sequence[str], wanted: Set[str], spec: Preprocess, folder: Path
) -> dict[str, str]:
    """Decode the ``wanted`` pictures of the Parquet ``parts`` into ``folder``.

    What an earlier run has finished is taken over. At most a few hundred files are in memory.

    Returns:
        picture_id -> named reason, for each wanted picture that has no canvas.

    Raises:
        StorageError: the disk has no room for them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _check_room(len(wanted), spec.resize, folder)
    left = set(wanted)
    failed: dict[str, str] = {}
    with (
        progress("decoding pictures", total=len(wanted)) as bar,
        ThreadPoolExecutor(os.cpu_count()) as pool,
    ):
        for number, part in enumerate(parts):
            index = _index(folder, number) or _decode_part(
                part, left, spec, folder / f"{number:04d}.npy", pool.map
            )
            failed |= index["failed"]
            left -= index["rows"].keys() | index["failed"].keys()
            bar.update(len(wanted) - len(left))
    return failed | dict.fromkeys(left, "picture_missing")


def _check_room(pictures: int, side: int, folder: Path) -> None:
    here = sum(path.stat().st_size for path in folder.glob("*.npy"))
    needed = pictures * side * side * 3 - here
    free = shutil.disk_usage(folder).free
    if needed > 0.95 * free:
        raise StorageError(
            f"{folder}: {pictures} decoded pictures need {needed / GIB:.1f} GiB, "
            f"{free / GIB:.1f} GiB are free",
            hint="free some space, or put the study on a larger disk",
        )


def _decode_part(
    part: str,
    wanted: Set[str],
    spec: Preprocess,
    file: Path,
    parallel: Callable[..., Iterator[NDArray[np.uint8] | str]],
) -> Index:
    rows: dict[str, int] = {}
    failed: dict[str, str] = {}
    count = _count(part, wanted)
    staged = file.with_name(f".{file.name}")
    if count:
        shape = (count, spec.resize, spec.resize, 3)
        out = np.lib.format.open_memmap(staged, mode="w+", dtype=np.uint8, shape=shape)
        for ids, files in _read(part, wanted):
            for picture_id, answer in zip(ids, parallel(_tried(spec), files), strict=True):
                if isinstance(answer, str):
                    failed[picture_id] = answer
                elif picture_id not in rows:
                    out[len(rows)] = answer
                    rows[picture_id] = len(rows)
        out.flush()
        os.replace(staged, file)
    index: Index = {"file": file.name, "rows": rows, "failed": failed}
    write_json(file.with_suffix(".json"), dict(index))
    return index


def _tried(spec: Preprocess) -> Callable[[bytes], NDArray[np.uint8] | str]:
    def decode(data: bytes) -> NDArray[np.uint8] | str:
        try:
            return canvas(data, spec)
        except PictureError as error:
            return error.error_class

    return decode


def _count(part: str, wanted: Set[str]) -> int:
    with parquet_file(part) as file:
        return len(wanted & set(file.read(columns=["picture_id"])["picture_id"].to_pylist()))


def _read(part: str, wanted: Set[str]) -> Iterator[tuple[list[str], list[bytes]]]:
    """(ids, files) of the wanted pictures, a few at a time."""
    files = bytes_of(part, wanted)
    while some := list(islice(files, READ_AT_ONCE)):
        yield [picture_id for picture_id, _ in some], [data for _, data in some]


def decoded(folder: Path) -> set[str]:
    """picture_ids that have a canvas."""
    return {picture_id for index in _indices(folder) for picture_id in index["rows"]}


def _indices(folder: Path) -> list[Index]:
    return [_read_index(path) for path in sorted(folder.glob("*.json"))]


def _index(folder: Path, number: int) -> Index | None:
    path = folder / f"{number:04d}.json"
    return _read_index(path) if path.is_file() else None


def _read_index(path: Path) -> Index:
    index: Index = json.loads(path.read_text(encoding="utf-8"))
    return index
