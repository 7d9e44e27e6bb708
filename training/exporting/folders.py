"""Pictures as folders that other tools read: ImageFolder, img2dataset, FiftyOne, cleanvision.

Shapes: Hugging Face datasets' ``imagefolder`` (``metadata.csv`` with ``file_name``), img2dataset's
Parquet output, FiftyOne's ``FiftyOneImageClassificationDataset`` (``data/`` and ``labels.json``),
cleanvision's ``Imagelab(data_path=...)`` (a folder of pictures).
"""

from __future__ import annotations

import csv
import re
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from likewise.errors import UsageError
from likewise.pictures import picture_bytes
from likewise.progress import progress
from likewise.study import Study
from likewise.whole import write_json
from training.exporting.files import neutral

__all__ = ["FOLDERS", "write_folder"]

SHARD = 1000
"""Pictures of one img2dataset shard."""

_SIGNATURES = ((b"\xff\xd8", ".jpg"), (b"\x89PNG", ".png"), (b"GIF8", ".gif"), (b"RIFF", ".webp"))

Row = Mapping[str, Any]
Pairs = Iterator[tuple[Row, bytes]]


def write_folder(study: Study, rows: list[dict[str, Any]], shape: str, target: Path) -> int:
    """Write the rows' pictures in a tool's shape; returns how many there were.

    The folder appears whole; ``manifest.csv`` in it says what each file is.

    Raises:
        UsageError: the shape is not known, or the folder holds something already.
    """
    if shape not in FOLDERS:
        raise UsageError(f"there is no shape {shape!r}; shapes are {', '.join(FOLDERS)}")
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UsageError(f"{target} holds something already, expected a new folder")
    target.parent.mkdir(parents=True, exist_ok=True)
    staged = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}")
    staged.mkdir()
    known = {row["picture_id"]: row for row in rows if row.get("picture_id")}
    try:
        with progress(f"export: {shape}", len(known)) as bar:

            def pairs() -> Pairs:
                for picture_id, data in picture_bytes(study, list(known)):
                    bar.advance()
                    yield known[picture_id], data

            files = FOLDERS[shape](pairs(), staged)
        _manifest(staged / "manifest.csv", files)
        if target.exists():
            target.rmdir()
        staged.rename(target)
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    return len(files)


def _manifest(path: Path, files: list[tuple[str, Row]]) -> None:
    names = ["picture_id", "post_link", "author_id", "likes", "ratio", "label", "fold", "split"]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", *names])
        for name, row in sorted(files, key=lambda one: one[0]):
            values = [row.get(column) for column in names]
            writer.writerow([name, *(neutral(v) if isinstance(v, str) else v for v in values)])


def _ending(data: bytes) -> str:
    return next((e for start, e in _SIGNATURES if data.startswith(start)), ".jpg")


def _class(row: Row) -> str:
    """Name of the picture's class, fit for a folder."""
    name = row.get("class")
    if name is None:
        label = row.get("label")
        return "unlabelled" if label is None else "liked" if label == 1 else "unliked"
    plain = re.sub(r"[^\w\- ]+", "_", str(name)).strip(" .")
    return plain or "unnamed"


def _put(folder: Path, path: str, data: bytes) -> None:
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    (folder / path).write_bytes(data)


def _image_folder(pairs: Pairs, folder: Path) -> list[tuple[str, Row]]:
    """SPLIT/CLASS/PICTURE, and metadata.csv in each split."""
    files = []
    for row, data in pairs:
        path = f"{row.get('split') or 'all'}/{_class(row)}/{row['picture_id']}{_ending(data)}"
        _put(folder, path, data)
        files.append((path, row))
    for split in {path.split("/", maxsplit=1)[0] for path, _ in files}:
        with (folder / split / "metadata.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["file_name", "label", "likes", "ratio"])
            for path, row in sorted(files, key=lambda one: one[0]):
                inside = path.split("/", maxsplit=1)
                if inside[0] == split:
                    writer.writerow([inside[1], _class(row), row.get("likes"), row.get("ratio")])
    return files


def _flat_folder(pairs: Pairs, folder: Path) -> list[tuple[str, Row]]:
    files = []
    for row, data in pairs:
        path = f"{row['picture_id']}{_ending(data)}"
        _put(folder, path, data)
        files.append((path, row))
    return files


def _fiftyone(pairs: Pairs, folder: Path) -> list[tuple[str, Row]]:
    files = [(f"data/{path}", row) for path, row in _flat_folder(pairs, folder / "data")]
    classes = sorted({_class(row) for _, row in files})
    labels = {row["picture_id"]: classes.index(_class(row)) for _, row in files}
    write_json(folder / "labels.json", {"classes": classes, "labels": labels})
    return files


def _img2dataset(pairs: Pairs, folder: Path) -> list[tuple[str, Row]]:
    files: list[tuple[str, Row]] = []
    number = 0
    while shard := list(islice(pairs, SHARD)):
        name = f"{number:05d}.parquet"
        table = {
            "key": [f"{number:05d}{place:04d}" for place in range(len(shard))],
            "url": [row.get("post_link") for row, _ in shard],
            "caption": [row.get("text") for row, _ in shard],
            "status": ["success"] * len(shard),
            "error_message": pa.nulls(len(shard), pa.string()),
            "sha256": [row["picture_id"] for row, _ in shard],
            "likes": [row.get("likes") for row, _ in shard],
            "followers": [row.get("followers") for row, _ in shard],
            "author": [row.get("handle") or row.get("author_id") for row, _ in shard],
            "date": [row.get("created_at") for row, _ in shard],
            "label": [_class(row) for row, _ in shard],
            "jpg": pa.array([data for _, data in shard], pa.binary()),
        }
        pq.write_table(pa.table(table), folder / name)
        write_json(
            folder / f"{number:05d}_stats.json", {"count": len(shard), "successes": len(shard)}
        )
        files += [(f"{name}#{place}", row) for place, (row, _) in enumerate(shard)]
        number += 1
    return files


FOLDERS: dict[str, Callable[[Pairs, Path], list[tuple[str, Row]]]] = {
    "imagefolder": _image_folder,
    "img2dataset": _img2dataset,
    "fiftyone": _fiftyone,
    "cleanvision": _flat_folder,
}
"""Shape of a folder -> what writes it; each answers with (file, row)."""
