"""Pictures in, rows of features out: the one code path of Spark, the command and notebooks.

A background thread reads and decodes the next batch while the network runs on this one.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from backbones.engines import open_engine
from backbones.preprocess import prepare
from backbones.registry import get
from likewise.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from backbones.engines import Engine
    from backbones.plan import Plan

__all__ = ["Batch", "embed", "extract", "record_batch"]

Picture = tuple[str, bytes | None]


class Batch(NamedTuple):
    """Features of up to ``plan.batch`` pictures.

    ``errors[i]`` is None for a good picture, else its error class; ``features`` maps each layer
    to (views of the good pictures, d), a picture's mirror image directly after it.
    """

    ids: list[str]
    errors: list[str | None]
    features: dict[str, NDArray[np.float32]]


class _Decoded(NamedTuple):
    ids: list[str]
    errors: list[str | None]
    views: NDArray[np.float32]
    room: NDArray[np.float32]


def embed(pictures: Iterable[Picture], plan: Plan, engine: Engine | None = None) -> Iterator[Batch]:
    """Features of ``pictures``, (id, file content or None) each, in their order.

    Memory is bounded by two batches. A picture that cannot be decoded has an error class.
    """
    engine = engine or open_engine(plan)
    chunks = _chunks(pictures, plan.batch)
    with ThreadPoolExecutor(1, thread_name_prefix="decode") as pool:

        def ahead(room: NDArray[np.float32]) -> _Decoded | None:
            chunk = next(chunks, None)
            return None if chunk is None else _decode(chunk, plan, room)

        # Two rooms take turns: new ones for each batch would be paged in again and again.
        coming = pool.submit(ahead, _room(plan))
        spare = _room(plan)
        while (decoded := coming.result()) is not None:
            coming = pool.submit(ahead, spare)
            batch = _run(decoded, plan, engine)
            spare = decoded.room
            yield batch


def _chunks(pictures: Iterable[Picture], size: int) -> Iterator[tuple[Picture, ...]]:
    iterator = iter(pictures)
    while chunk := tuple(itertools.islice(iterator, size)):
        yield chunk


def _room(plan: Plan) -> NDArray[np.float32]:
    side = get(plan.backbone).input_size
    return np.empty((plan.batch * plan.views, 3, side, side), np.float32)


def _decode(chunk: Sequence[Picture], plan: Plan, room: NDArray[np.float32]) -> _Decoded:
    from filters.pictures.decode import PictureError

    backbone = get(plan.backbone)
    errors: list[str | None] = []
    filled = 0
    for _, data in chunk:
        try:
            if data is None:
                raise PictureError("missing_bytes")
            picture = prepare(data, backbone)
        except PictureError as error:
            errors.append(error.error_class)
            continue
        errors.append(None)
        room[filled] = picture
        if plan.flip:
            room[filled + 1] = picture[:, :, ::-1]
        filled += plan.views
    return _Decoded([name for name, _ in chunk], errors, room[:filled], room)


def _run(decoded: _Decoded, plan: Plan, engine: Engine) -> Batch:
    dims = get(plan.backbone).dims
    if not len(decoded.views):
        none = {layer: np.empty((0, dims[layer]), np.float32) for layer in plan.layers}
        return Batch(decoded.ids, decoded.errors, none)
    features = engine.run(decoded.views)
    if plan.half:
        features = {k: v.astype(np.float16).astype(np.float32) for k, v in features.items()}
    return Batch(decoded.ids, decoded.errors, features)


def record_batch(
    batch: Batch, plan: Plan, schema: pa.Schema, **more: Sequence[Any]
) -> pa.RecordBatch:
    """Rows of the ``features`` table, or of another table with the same named columns.

    ``more`` gives further columns (``bucket``, ``maker``), one value a picture; a nullable column
    of the schema that is not given is null.
    """
    import pyarrow as pa

    views = plan.views
    good = np.repeat([error is None for error in batch.errors], views)
    columns: dict[str, Any] = {
        "picture_id": pa.array(np.repeat(np.array(batch.ids, dtype=object), views), pa.string()),
        "backbone": pa.array([plan.backbone] * len(good), pa.string()),
        "flipped": pa.array(np.tile(np.arange(views) == 1, len(batch.ids)), pa.bool_()),
        "status": pa.array(np.where(good, "ok", "failed"), pa.string()),
        "error_class": pa.array([e for e in batch.errors for _ in range(views)], pa.string()),
    }
    for name, values in more.items():
        repeated = [value for value in values for _ in range(views)]
        columns[name] = pa.array(repeated, schema.field(name).type)
    for field in schema:
        if field.nullable and field.name not in plan.layers:
            columns.setdefault(field.name, pa.nulls(len(good), field.type))
    for layer in plan.layers:
        columns[layer] = _lists(batch.features[layer], good)
    return pa.RecordBatch.from_arrays([columns[name] for name in schema.names], schema=schema)


def _lists(values: NDArray[np.float32], good: NDArray[np.bool_]) -> pa.ListArray:
    """(good rows, d) as a list column with nulls for the other rows; the numbers are not copied."""
    import pyarrow as pa

    lengths = np.where(good, values.shape[1], 0)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    flat = pa.array(np.ascontiguousarray(values).reshape(-1), pa.float32())
    return pa.ListArray.from_arrays(pa.array(offsets), flat, mask=pa.array(~good))


def extract(
    images: Iterable[bytes | str | Path],
    *,
    backbone: str = "auto",
    layers: Sequence[str] = (),
    flip: bool = False,
    **options: Any,
) -> dict[str, NDArray[np.float32]]:
    """Features of pictures given as paths or as the bytes of their files.

    Args:
        images: paths, or contents of picture files.
        backbone: a name of the registry; ``auto`` as in ``likewise extract``.
        layers: feature layers; the backbone's own when empty.
        flip: also the mirror image of each picture.
        options: as ``backbones.planning.make_plan`` takes them (``random_weights``, ...).

    Returns:
        layer -> (n, d) float32; (n, 2, d) with ``flip``: the picture, then its mirror image.

    Raises:
        DataError: a picture cannot be decoded; the error names it.
        WeightsError: the backbone's weights are not at hand.
    """
    from backbones.planning import make_plan

    plan = make_plan(backbone, layers, flip=flip, **options)
    batches = []
    for batch in embed(map(_named, itertools.count(), images), plan):
        for name, error in zip(batch.ids, batch.errors, strict=True):
            if error is not None:
                raise DataError(f"picture {name} cannot be decoded: {error}")
        batches.append(batch.features)
    return {layer: _joined(batches, layer, plan) for layer in plan.layers}


def _named(index: int, image: bytes | str | Path) -> Picture:
    if isinstance(image, bytes):
        return f"number {index}", image
    return str(image), Path(image).read_bytes()


def _joined(
    batches: list[dict[str, NDArray[np.float32]]], layer: str, plan: Plan
) -> NDArray[np.float32]:
    width = get(plan.backbone).dims[layer]
    rows = np.concatenate([np.empty((0, width), np.float32), *(b[layer] for b in batches)])
    return rows.reshape(-1, 2, width) if plan.flip else rows
