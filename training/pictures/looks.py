"""Plain properties of the labelled pictures, decoded small from the ``pictures`` table."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from filters.pictures.decode import PictureError, decode_rgb
from likewise.pictures import picture_bytes
from likewise.progress import progress
from training.pictures.properties import PROPERTIES, SIDE, properties

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from likewise.study import Study
    from training.data.matrix import Labels

__all__ = ["picture_looks"]

AT_ONCE = 64


def picture_looks(study: Study, labels: Labels, workers: int) -> NDArray[np.float64] | None:
    """(n, p) ``PROPERTIES`` of each picture; None when the study holds no pictures table.

    A picture that cannot be decoded any more has NaN in its row.
    """
    if study.manifest("pictures") is None:
        return None
    place = {picture_id: row for row, picture_id in enumerate(labels.picture_id.tolist())}
    columns = study.read("pictures", ["picture_id", "width", "height"]).to_pydict().values()
    sizes = {
        one: (width, height) for one, width, height in zip(*columns, strict=True) if one in place
    }
    looks = np.full((len(labels.picture_id), len(PROPERTIES)), np.nan)
    files = picture_bytes(study, place)
    with progress("compare: plain properties", len(place)) as bar, _pool(workers) as pool:
        while some := list(islice(files, AT_ONCE)):
            ids = [picture_id for picture_id, _ in some]
            found = pool.map(_one, (data for _, data in some), (sizes[one] for one in ids))
            for picture_id, properties_of in zip(ids, found, strict=True):
                looks[place[picture_id]] = properties_of
            bar.advance(len(some))
    return looks


def _pool(workers: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(workers, thread_name_prefix="looks")


def _one(data: bytes, size: tuple[int, int]) -> list[float]:
    try:
        small = decode_rgb(data, min_side=SIDE)
    except PictureError:
        return [float("nan")] * len(PROPERTIES)
    found = properties(small, width=size[0], height=size[1])
    return [found[name] for name in PROPERTIES]
