"""A whole small study made at once: real photographs cut into pieces, with planted appeal.

A post's likes follow the brightness of its picture (``signal``), so that what the ranking goes by
is known. Author ``a000`` is called ``<script>alert(1)</script>`` and writes right to left.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import skimage.data
from fetched_rows import publish_fetched

from likewise.config import render
from likewise.funnel import Funnel
from likewise.study import Study
from likewise.tables import (
    AUTHORS,
    FACES,
    KEPT_POSTS,
    LABELS,
    POSTS,
    bucket_of,
    features_schema,
    media_key,
)
from training.models import saved as models
from training.models.saved import LinearScorer

NOW = dt.datetime(2026, 6, 1, 12, tzinfo=dt.UTC)
KEY = {"platform": "pixelfed", "host": "pixelfed.example"}
BUCKETS = 4
DIM = 32
RTL = 'שלום עולם مرحبا 🎉👩‍👩‍👧 <b>bold</b> & "quoted"'


@dataclass
class Shot:
    """One post with its picture."""

    post_id: str
    author: int
    data: bytes
    brightness: float
    followers: int
    likes: int
    n_faces: int
    picture_id: str = field(init=False)

    def __post_init__(self) -> None:
        self.picture_id = hashlib.sha256(self.data).hexdigest()

    @property
    def bucket(self) -> int:
        return bucket_of(media_key(*KEY.values(), self.post_id, 0), BUCKETS)


@cache
def photographs() -> list[np.ndarray]:
    names = ["astronaut", "chelsea", "coffee", "rocket"]
    return [np.ascontiguousarray(getattr(skimage.data, name)()) for name in names]


def piece(rng: np.random.Generator, brightness: float) -> bytes:
    """A 256 x 256 cut of a real photograph as JPEG, its light scaled to about ``brightness``."""
    photo = photographs()[rng.integers(len(photographs()))]
    top = rng.integers(photo.shape[0] - 255)
    left = rng.integers(photo.shape[1] - 255)
    cut = photo[top : top + 256, left : left + 256].astype(np.float32) / 255
    lit = np.clip(cut ** np.exp(2.5 * (0.5 - brightness)), 0, 1)
    pixels = (lit * 255).astype(np.uint8)
    return cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))[1].tobytes()


def shots(n_authors: int, per_author: int, signal: float, seed: int) -> list[Shot]:
    rng = np.random.default_rng(seed)
    made = []
    for author in range(n_authors):
        followers = int(rng.lognormal(6, 0.6)) + 20
        for number in range(per_author):
            light = float(rng.uniform())
            rate = np.exp(signal * (light - 0.5) + rng.normal(0, 0.4)) * 0.05
            made.append(
                Shot(
                    post_id=f"{author:03d}{number:02d}",
                    author=author,
                    data=piece(rng, light),
                    brightness=light,
                    followers=followers,
                    likes=int(rng.poisson(rate * followers)),
                    n_faces=int(rng.integers(1, 4)),
                )
            )
    return made


def make(
    folder: Path,
    *,
    n_authors: int = 30,
    per_author: int = 4,
    signal: float = 3.0,
    seed: int = 1,
    faces: bool = True,
    features: bool = True,
    config: dict[str, dict[str, Any]] | None = None,
) -> Study:
    """A study with every table from ``posts`` to ``features`` and one saved linear model."""
    folder.mkdir(parents=True, exist_ok=True)
    values = {"study": {"name": "Test study"}, "download": {"buckets": BUCKETS}}
    (folder / "likewise.toml").write_text(render({**values, **(config or {})}), encoding="utf-8")
    study = Study.open(folder)
    made = shots(n_authors, per_author, signal, seed)
    _posts(study, made)
    _pictures(study, made)
    if faces:
        _faces(study, made)
    _labels(study, made, faces=faces)
    if features:
        _features(study, made, seed)
        save_model(study)
    return study


def save_model(study: Study, name: str = "linear-svc", **card: Any) -> None:
    """A linear model whose score is feature 0: the brightness of the picture, and noise."""
    weight = np.zeros(DIM, np.float32)
    weight[0] = 1
    content = {
        "name": name,
        "kind": "linear",
        "classifier": "LinearSVC",
        "layer": "pooled",
        "backbone": "efficientnet-lite0",
        "dim": DIM,
        "calibration": {"slope": 4.0, "intercept": -2.0},
        "scores": {"cv_average_precision": 0.7},
        "data": {},
    }
    models.save(study, LinearScorer({**content, **card}, weight, 0.0))


def _author(shot: Shot) -> str:
    return f"a{shot.author:03d}"


def _post(shot: Shot) -> dict[str, Any]:
    return {
        **KEY,
        "post_id": shot.post_id,
        "author_id": _author(shot),
        "url": f"https://pixelfed.example/p/{shot.post_id}"
        if shot.author != 1
        else "javascript:alert(1)",
        "created_at": NOW - dt.timedelta(days=60),
        "collected_at": NOW,
        "likes": shot.likes,
        "comments": 0,
        "shares": 0,
        "tags": ["me"],
        "text": RTL if shot.author == 0 else "a photograph",
        "visibility": "public",
        "sensitive": False,
        "labels": [],
        "media": [
            {
                "index": 0,
                "kind": "image",
                "url": f"https://pixelfed.example/m/{shot.post_id}.jpg",
                "preview_url": None,
                "width": 256,
                "height": 256,
                "alt": '<img src=x onerror="alert(1)">' if shot.author == 0 else None,
            }
        ],
    }


def _posts(study: Study, made: list[Shot]) -> None:
    rows = [_post(shot) for shot in made]
    stage = study.begin("posts")
    stage.write(pa.Table.from_pylist(rows, POSTS.schema))
    stage.publish()
    authors = {
        _author(shot): {
            **KEY,
            "author_id": _author(shot),
            "handle": "<script>alert(1)</script>" if shot.author == 0 else f"person{shot.author}",
            "followers": shot.followers,
            "source": "embedded",
            "fetched_at": NOW,
        }
        for shot in made
    }
    crowd = np.random.default_rng(5).lognormal(6, 1.4, 200)
    others = [
        {
            **KEY,
            "author_id": f"x{i:03d}",
            "handle": f"other{i}",
            "followers": int(count),
            "source": "embedded",
            "fetched_at": NOW,
        }
        for i, count in enumerate(crowd)
    ]
    stage = study.begin("authors")
    stage.write(pa.Table.from_pylist([*authors.values(), *others], AUTHORS.schema))
    stage.publish()
    kept = [
        {**row, "audience": shot.followers, "audience_at": NOW, "age_days": 60.0, "robust_z": 0.5}
        for row, shot in zip(rows, made, strict=True)
    ]
    stage = study.begin("kept_posts", inputs=["posts", "authors"])
    stage.write(pa.Table.from_pylist(kept, KEPT_POSTS.schema))
    stage.publish(
        funnel=Funnel(
            "clean", "posts", len(made) + 120, len(made), {"followers_outlier": 90, "too_young": 30}
        )
    )


def _pictures(study: Study, made: list[Shot]) -> None:
    rows = [
        {
            **KEY,
            "post_id": shot.post_id,
            "media_index": 0,
            "author_id": _author(shot),
            "bucket": shot.bucket,
            "url": f"https://pixelfed.example/m/{shot.post_id}.jpg",
            "picture_id": shot.picture_id,
            "bytes": shot.data,
            "n_bytes": len(shot.data),
            "format": "jpeg",
            "width": 256,
            "height": 256,
            "orientation": 1,
            "phash": _phash(shot.data),
            "status": "ok",
            "attempts": 1,
            "fetched_at": NOW,
        }
        for shot in made
    ]
    dropped = {"http_404": 6, "too_small": 3}
    funnel = Funnel("download", "pictures", len(made) + 9, len(made), dropped)
    publish_fetched(
        study, rows, parts=BUCKETS, row_group_size=16, inputs=["kept_posts"], funnel=funnel
    )


def _phash(data: bytes) -> int:
    grey = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
    low = cv2.dct(cv2.resize(grey, (32, 32), interpolation=cv2.INTER_AREA).astype(np.float32))[
        :8, :8
    ]
    bits = (low > np.median(low)).ravel()
    return int(np.packbits(bits).view(">i8")[0])


def _faces(study: Study, made: list[Shot]) -> None:
    rng = np.random.default_rng(3)
    rows = []
    for shot in made:
        sure = sorted(rng.uniform(0.3, 1, shot.n_faces).tolist(), reverse=True)
        rows.append(
            {
                "picture_id": shot.picture_id,
                "bucket": shot.bucket,
                "detector": "yunet",
                "n_faces": sum(value >= 0.7 for value in sure),
                "best_confidence": sure[0],
                "boxes": [
                    {"x": 20.0 + 60 * i, "y": 40.0, "width": 50.0, "height": 60.0}
                    for i in range(len(sure))
                ],
                "confidences": sure,
                "landmarks": None,
                "status": "ok",
            }
        )
    stage = study.begin("faces", inputs=["pictures"], n_buckets=BUCKETS)
    for bucket in range(BUCKETS):
        with stage.bucket(bucket) as folder:
            part = [row for row in rows if row["bucket"] == bucket]
            pq.write_table(pa.Table.from_pylist(part, FACES.schema), folder / "part-0.parquet")
    stage.publish(funnel=Funnel("faces", "pictures", len(made), len(made)))


def _labels(study: Study, made: list[Shot], *, faces: bool) -> None:
    ratios = np.array([shot.likes / shot.followers for shot in made])
    median = float(np.median(ratios))
    rows = [
        {
            "picture_id": shot.picture_id,
            **KEY,
            "post_id": shot.post_id,
            "media_index": 0,
            "bucket": shot.bucket,
            "author_id": _author(shot),
            "likes": shot.likes,
            "audience": shot.followers,
            "created_at": NOW - dt.timedelta(days=60),
            "age_days": 60.0,
            "n_faces": shot.n_faces if faces else None,
            "ratio": ratio,
            "label": int(ratio > median),
            "weight": 1.0,
            "fold": shot.author % 5,
            "split": "test" if shot.author % 4 == 0 else "train",
        }
        for shot, ratio in zip(made, ratios, strict=True)
    ]
    inputs = ["pictures", "faces"] if faces else ["pictures"]
    stage = study.begin("labels", inputs=inputs)
    stage.write(pa.Table.from_pylist(rows, LABELS.schema))
    stage.publish(
        funnel=Funnel(
            "label", "pictures", len(made) + 14, len(made), {"no_face": 10, "near_duplicate": 4}
        ),
        median_ratio=median,
    )


def _features(study: Study, made: list[Shot], seed: int) -> None:
    rng = np.random.default_rng(seed)
    schema = features_schema(["pooled"])
    stage = study.begin("features", inputs=["pictures", "labels"], n_buckets=BUCKETS)
    for bucket in range(BUCKETS):
        rows = []
        for shot in made:
            if shot.bucket != bucket:
                continue
            values = rng.normal(0, 0.1, DIM).astype(np.float32)
            values[0] += shot.brightness
            for flipped in (False, True):
                view = values + np.float32(0.01 if flipped else 0)
                rows.append(
                    {
                        "picture_id": shot.picture_id,
                        "bucket": bucket,
                        "backbone": "efficientnet-lite0",
                        "flipped": flipped,
                        "status": "ok",
                        "pooled": view,
                    }
                )
        with stage.bucket(bucket) as folder:
            pq.write_table(pa.Table.from_pylist(rows, schema), folder / "part-0.parquet")
    stage.publish()
