"""Nearest neighbours in feature space: which pictures a network takes to be alike."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from likewise.errors import DataError
from likewise.study import Study
from training.data.layers import matrix

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Neighbour", "nearest", "nearest_rows"]

BATCH = 4096


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A picture and its cosine similarity to the one that was asked about, -1 ... 1."""

    picture_id: str
    similarity: float


def nearest_rows(
    queries: NDArray[np.float32], rows: NDArray[np.float32], k: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The k rows that are most alike to each query by the cosine.

    Args:
        queries: (q, d).
        rows: (n, d).
        k: neighbours wanted; fewer come back when n < k.

    Returns:
        (q, min(k, n)) row numbers and similarities, best first; ties go by row number.
    """
    similarity = _unit(queries) @ _unit(rows).T
    order = np.argsort(-similarity, axis=1, kind="stable")[:, :k]
    return order, np.take_along_axis(similarity, order, axis=1)


def _unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return (rows / np.where(norms > 0, norms, 1)).astype(np.float32, copy=False)


def nearest(
    study: Study | str | os.PathLike[str],
    picture_ids: Sequence[str],
    *,
    layer: str | None = None,
    backbone: str | None = None,
    k: int = 6,
) -> dict[str, list[Neighbour]]:
    """The k pictures of the study that are most alike to each given one, itself left out.

    The features are read once in batches, so memory does not grow with the study.

    Args:
        study: the study or its folder.
        picture_ids: pictures to ask about; those without features are left out of the answer.
        layer: feature column; None takes the last one of the table but ``logits``.
        backbone: network; None takes any.
        k: neighbours of each.

    Raises:
        MissingTableError: there are no features.
        DataError: there is no such layer.
    """
    opened = Study.open(study)
    dataset = opened.dataset("features")
    chosen = layer or _last_layer(dataset.schema)
    if chosen not in dataset.schema.names:
        raise DataError(f"the features table holds no layer {chosen!r}")
    rule = pc.equal(pc.field("status"), "ok") & ~pc.field("flipped")
    if backbone is not None:
        rule &= pc.equal(pc.field("backbone"), backbone)
    columns = ["picture_id", chosen]
    asked = dataset.to_table(
        columns=columns, filter=rule & pc.field("picture_id").isin(list(picture_ids))
    ).combine_chunks()
    if not asked.num_rows:
        return {}
    ids = asked["picture_id"].to_pylist()
    queries = matrix(asked.to_batches()[0], chosen)
    best: list[list[Neighbour]] = [[] for _ in ids]
    for batch in dataset.to_batches(columns=columns, filter=rule, batch_size=BATCH):
        if len(batch):
            _merge(best, ids, batch, nearest_rows(queries, matrix(batch, chosen), k + 1), k)
    return dict(zip(ids, best, strict=True))


def _merge(
    best: list[list[Neighbour]],
    ids: list[str],
    batch: pa.RecordBatch,
    found: tuple[NDArray[np.int64], NDArray[np.float32]],
    k: int,
) -> None:
    names = batch["picture_id"]
    for mine, own, rows, similarities in zip(best, ids, *found, strict=True):
        new = [
            Neighbour(name, float(similarity))
            for name, similarity in zip(
                names.take(pa.array(rows)).to_pylist(), similarities, strict=True
            )
            if name != own
        ]
        mine[:] = sorted(mine + new, key=lambda n: (-n.similarity, n.picture_id))[:k]


def _last_layer(schema: pa.Schema) -> str:
    layers = [field.name for field in schema if pa.types.is_list(field.type)]
    named = [layer for layer in layers if layer != "logits"] or layers
    if not named:
        raise DataError("the features table holds no layer")
    return str(named[-1])
