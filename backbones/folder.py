"""Features of a folder of pictures without Spark: the same code path with a local loop."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from backbones.features_table import features_writer
from backbones.inference import Batch, Picture, embed, record_batch
from backbones.plan import Plan
from likewise.errors import UsageError
from likewise.progress import note
from likewise.tables import features_schema
from likewise.whole import whole_file

__all__ = ["DRAWN", "RESULTS", "Embedded", "embed_folder", "find_pictures"]

RESULTS = "drawn.json"
"""Stands in every folder of results that ``classify run`` has written."""
DRAWN = ("originals", "overlays", "segments")
STUDY = "likewise.toml"
SUFFIXES = frozenset((".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".avif"))


class Embedded(NamedTuple):
    """What was written: pictures, rows, the files that failed as (path, error class), by what."""

    pictures: int
    rows: int
    failed: list[tuple[str, str]]
    backbone: str
    layers: tuple[str, ...]
    weights: str


def find_pictures(folder: Path) -> list[Path]:
    """Picture files in ``folder`` and below, by their suffix, in order of their paths.

    What likewise has written is no picture of the user's: studies below the folder and what
    ``classify run`` has drawn are left out.

    Raises:
        UsageError: the folder does not exist or holds no picture.
    """
    if folder.is_file():
        return [folder]
    if not folder.is_dir():
        raise UsageError(f"{folder} does not exist")
    found: list[Path] = []
    for place, below, names in os.walk(folder):
        here = Path(place)
        if here != folder and STUDY in names:
            note(f"{here} is a study: its pictures are left out")
            below.clear()
            continue
        if RESULTS in names:
            below[:] = [name for name in below if name not in DRAWN]
        found += (here / name for name in names if Path(name).suffix.lower() in SUFFIXES)
    found = sorted(path for path in found if path.is_file())
    if not found:
        raise UsageError(
            f"{folder} holds no picture", hint=f"known suffixes: {', '.join(sorted(SUFFIXES))}"
        )
    return found


def embed_folder(
    paths: Sequence[Path],
    output: Path,
    plan: Plan,
    *,
    root: Path | None = None,
    advance: Callable[[int], None] | None = None,
) -> Embedded:
    """Write one Parquet file with the columns of the ``features`` table, but for the bucket.

    ``picture_id`` is here the path relative to ``root``; rows are in the order of ``paths``. The
    file appears when it is whole. ``advance`` is told how many pictures were finished.
    """
    schema = _schema(plan)
    failed: list[tuple[str, str]] = []
    rows = 0
    with whole_file(output) as staged, features_writer(staged, schema, plan) as write:
        for batch in embed(_read(paths, root), plan):
            rows += write(record_batch(batch, plan, schema))
            failed += _failures(batch)
            if advance is not None:
                advance(len(batch.ids))
    return Embedded(len(paths), rows, failed, plan.backbone, plan.layers, plan.weights_id)


def _schema(plan: Plan) -> pa.Schema:
    """Columns of ``features`` without the bucket; ``picture_id`` holds the path."""
    schema = features_schema(plan.layers)
    schema = schema.remove(schema.get_field_index("bucket"))
    return schema.with_metadata(
        {"backbone": plan.backbone, "weights": plan.weights_id, "pre_relu": str(plan.pre_relu)}
    )


def _read(paths: Sequence[Path], root: Path | None) -> Iterator[Picture]:
    for path in paths:
        name = str(path.relative_to(root)) if root is not None else str(path)
        try:
            yield name, path.read_bytes()
        except OSError:
            yield name, None


def _failures(batch: Batch) -> list[tuple[str, str]]:
    pairs = zip(batch.ids, batch.errors, strict=True)
    return [(name, error) for name, error in pairs if error is not None]
