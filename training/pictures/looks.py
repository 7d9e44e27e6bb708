"""Plain properties of the labelled pictures, decoded small from the ``pictures`` table."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from filters.pictures.decode import PictureError, decode_rgb
from likewise.progress import progress
from training.pictures.properties import PROPERTIES, SIDE, properties

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from likewise.study import Study
    from training.data.matrix import Labels

__all__ = ["picture_looks"]

COLUMNS = ["picture_id", "bytes", "width", "height"]


def picture_looks(study: Study, labels: Labels, workers: int) -> NDArray[np.float64] | None:
    """(n, p) ``PROPERTIES`` of each picture; None when the study holds no pictures table.

    A picture that cannot be decoded any more has NaN in its row.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if study.manifest("pictures") is None:
        return None
    ids = pa.array(labels.picture_id, pa.string())
    looks = np.full((len(ids), len(PROPERTIES)), np.nan)
    scanner = study.dataset("pictures").scanner(
        COLUMNS, filter=pc.field("status") == "ok", batch_size=64
    )
    with progress("compare: plain properties", len(ids)) as bar, _pool(workers) as pool:
        for batch in scanner.to_batches():
            place = pc.index_in(batch["picture_id"], ids)
            wanted = batch.filter(pc.is_valid(place)).to_pylist()
            rows = place.drop_null().to_numpy(zero_copy_only=False)
            for row, found in zip(rows, pool.map(_one, wanted), strict=True):
                looks[row] = found
            bar.update(int(np.isfinite(looks[:, 0]).sum()))
    return looks


def _pool(workers: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(workers, thread_name_prefix="looks")


def _one(picture: dict[str, pa.Scalar]) -> list[float]:
    try:
        small = decode_rgb(picture["bytes"], min_side=SIDE)
    except PictureError:
        return [float("nan")] * len(PROPERTIES)
    found = properties(small, width=picture["width"], height=picture["height"])
    return [found[name] for name in PROPERTIES]
