"""A small study with a planted rule: green pictures are liked, red ones are not."""

from __future__ import annotations

import hashlib
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
from fetched_rows import publish_fetched

from likewise.config import render
from likewise.funnel import Funnel
from likewise.study import Study
from likewise.tables import LABELS, bucket_of, media_key

BUCKETS = 2

Row = dict[str, object]


def picture(label: int, rng: np.random.Generator, side: int = 256) -> bytes:
    """A JPEG of noise with a cast: green for the label 1, red for 0."""
    pixels = rng.integers(0, 120, (side, side + 20, 3))
    pixels[:, :, 1 if label else 2] += 110
    return cv2.imencode(".jpg", pixels.astype(np.uint8))[1].tobytes()


def make_study(
    folder: Path,
    *,
    authors: int = 12,
    each: int = 4,
    lost: int = 0,
    broken: int = 0,
    **finetune: object,
) -> Study:
    """A study with published ``pictures`` and ``labels``; ``finetune`` fills its section.

    The first ``lost`` pictures are not in the table, the next ``broken`` ones are no pictures.
    """
    folder.mkdir(parents=True, exist_ok=True)
    settings = {"study": {"name": "planted"}, "download": {"buckets": BUCKETS}}
    text = render({**settings, "finetune": finetune})
    (folder / "likewise.toml").write_text(text, encoding="utf-8")
    study = Study.open(folder)
    rng = np.random.default_rng(7)
    rows = [_rows(author, n, rng) for author in range(authors) for n in range(each)]
    for row, _ in rows[lost : lost + broken]:
        row["bytes"] = b"this is no picture at all"
    publish(study, [row for row, _ in rows[lost:]], [row for _, row in rows])
    return study


def publish(study: Study, pictures: list[Row], labels: list[Row]) -> None:
    """Publish the two tables that fine-tuning reads."""
    funnel = Funnel("download", "pictures", len(pictures), len(pictures))
    publish_fetched(study, pictures, parts=BUCKETS, funnel=funnel)
    stage = study.begin("labels")
    stage.write(pa.Table.from_pylist(labels, LABELS.schema))
    stage.publish(funnel=Funnel("label", "pictures", len(labels), len(labels)))


def _rows(author: int, n: int, rng: np.random.Generator) -> tuple[Row, Row]:
    label = n % 2
    data = picture(label, rng)
    key = {"platform": "mastodon", "host": "a.example", "post_id": f"{author}-{n}"}
    common = {
        **key,
        "media_index": 0,
        "author_id": str(author),
        "picture_id": hashlib.sha256(data).hexdigest()[:40],  # no sha256: some bytes are broken
        "bucket": bucket_of(media_key(*key.values(), 0), BUCKETS),
    }
    row = {**common, "url": "https://a.example/x", "bytes": data, "n_bytes": len(data)}
    row |= {"status": "ok", "attempts": 1}
    tag = {
        **common,
        "likes": label,
        "audience": 2,
        "age_days": 40.0,
        "ratio": label / 2,
        "label": label,
        "weight": 1.0,
        "fold": author % 3,
        "split": "test" if author % 4 == 3 else "train",
    }
    return row, tag
