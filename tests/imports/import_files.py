"""Pictures, and what becomes of them, for the tests of imports."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pyarrow as pa
from PIL import Image

from collectors.download import download
from likewise.errors import PartialError
from likewise.study import Study
from likewise.tables import KEPT_POSTS


def picture(seed: int, side: int = 240) -> bytes:
    """A JPEG that no hygiene rule refuses, another one for each seed."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 255, (8, 8, 3), np.uint8)
    out = io.BytesIO()
    Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC).save(out, "JPEG")
    return out.getvalue()


def keep_all(study: Study) -> None:
    """Publish every post as kept, without Spark."""
    rows = study.read("posts").to_pylist()
    names = set(KEPT_POSTS.schema.names)
    kept = [
        {
            k: v
            for k, v in {**row, "likes": row["likes"] or 0, "age_days": 40.0}.items()
            if k in names
        }
        for row in rows
    ]
    stage = study.begin("kept_posts", inputs=["posts", "authors"])
    stage.write(pa.Table.from_pylist(kept, schema=KEPT_POSTS.schema))
    stage.publish()


def outcomes(study: Study) -> dict[str, str]:
    """What became of each picture's address."""
    keep_all(study)
    with contextlib.suppress(PartialError):
        download(study)
    rows = study.read("fetches", ["post_id", "status", "error_class"]).to_pylist()
    return {row["post_id"]: row["error_class"] or row["status"] for row in rows}
