"""The process that lays a study's pictures out: ``python -m web.maps``, JSON on standard input."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from likewise.errors import LikewiseError
from likewise.study import Study
from likewise.whole import write_json
from training.data.mapped import open_rows
from training.maps.projection import lay_out, principal_components, quality
from training.maps.writer import map_content
from training.pictures.thumbnails import decoded
from web.children import work
from web.index.reading import Index

MOST = 20_000
"""Pictures on a map; of larger studies a sample, drawn by the study's seed."""


def draw(study: Study, index: Index, folder: Path) -> None:
    """Write ``map.json`` and its atlases into ``folder``."""
    vector = index.column("vector")
    rows = np.flatnonzero(vector >= 0)
    seed = study.config.study.seed
    if len(rows) > MOST:
        rows = np.sort(np.random.default_rng(seed).choice(rows, MOST, replace=False))
    file = index.facts["vectors"]
    features = np.asarray(open_rows(index.path.parent / file)[vector[rows]])
    components = principal_components(lambda: iter(np.array_split(features, 16)))
    points = components.transform(features)
    places = lay_out(points, seed=seed, jobs=len(os.sched_getaffinity(0)))
    trust = quality(points, places, seed=seed)
    everybody = index.all_ids()
    ids = [everybody[row] for row in rows]
    number = {picture: at for at, picture in enumerate(ids)}
    pictures = ((number[one], rgb) for one, rgb in decoded(study, dict.fromkeys(number, 64)))
    content, missing = map_content(
        folder / "map-files", ids, places, _labels(index, rows), pictures
    )
    content["sentence"] = trust.sentence if trust else "Too few pictures to judge the map."
    content["trusted"] = trust is not None and trust.trusted
    content["missing"] = missing
    content["all"] = int((vector >= 0).sum())
    write_json(folder / "map.json", content)


def _labels(index: Index, rows: np.ndarray[tuple[int], np.dtype[np.int64]]) -> list[str | None]:
    classes = index.facts["classes"]
    if classes:
        return [classes[c] if c >= 0 else None for c in index.column("class")[rows]]
    words = {1.0: "liked more", 0.0: "liked less"}
    return [words.get(float(one)) for one in index.column("label")[rows]]


def _do(study: Study, asked: dict[str, Any]) -> None:
    draw(study, Index(Path(asked["index"])), Path(asked["folder"]))


if __name__ == "__main__":
    sys.exit(work(_do, (LikewiseError, OSError, ValueError)))
