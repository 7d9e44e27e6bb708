"""Studies whose features and labels are made up: a known direction decides what is liked."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

from likewise.config import render
from likewise.study import Study
from likewise.tables import LABELS, features_schema


@dataclass
class World:
    """What to plant: ``strength`` 0 is pure noise; ``author_effect`` makes authors alike.

    ``author_trace`` puts who the author is into the features: a model can know authors by heart.
    """

    authors: int = 80
    pictures: int = 3
    dim: int = 24
    strength: float = 1.0
    author_effect: float = 0.0
    author_trace: float = 0.0
    seed: int = 0
    folds: int = 5
    flip: bool = True
    layers: tuple[str, ...] = ("pooled",)
    settings: dict[str, object] = field(default_factory=dict)


@dataclass
class Planted:
    """The made-up rows, and the direction that decides."""

    direction: np.ndarray
    features: dict[str, np.ndarray]
    labels: list[dict[str, object]]


def plant(world: World) -> Planted:
    rng = np.random.default_rng(world.seed)
    n = world.authors * world.pictures
    author = np.repeat(np.arange(world.authors), world.pictures)
    direction = rng.normal(size=world.dim)
    direction /= np.linalg.norm(direction)
    latent = rng.normal(size=(n, world.dim))
    appeal = world.strength * latent @ direction
    appeal += world.author_effect * rng.normal(size=world.authors)[author] + rng.normal(size=n)
    if world.author_trace:
        latent += world.author_trace * rng.normal(size=(world.authors, world.dim))[author]
    features = {layer: np.maximum(latent + 0.5, -0.5).astype(np.float32) for layer in world.layers}
    test = rng.permutation(world.authors) < world.authors // 4
    fold = rng.permutation(world.authors) % world.folds
    likes = np.exp(appeal)
    labels = [
        {
            "picture_id": f"{i:032x}",
            "platform": "mastodon",
            "host": "a.example",
            "post_id": str(i),
            "media_index": 0,
            "bucket": i % 2,
            "author_id": str(author[i]),
            "likes": int(100 * likes[i]),
            "audience": int(rng.integers(10, 5000)),
            "created_at": dt.datetime(2026, 1, 1, tzinfo=dt.UTC) + dt.timedelta(hours=7 * i),
            "age_days": 40.0,
            "n_faces": 1,
            "ratio": float(likes[i]),
            "label": int(appeal[i] > np.median(appeal)),
            "weight": 1.0,
            "fold": int(fold[author[i]]),
            "split": "test" if test[author[i]] else "train",
        }
        for i in range(n)
    ]
    return Planted(direction, features, labels)


def study(folder: Path, world: World) -> tuple[Study, Planted]:
    planted = plant(world)
    folder.mkdir(parents=True, exist_ok=True)
    values = {"study": {"name": "planted", "seed": 1}, "compare": world.settings}
    (folder / "likewise.toml").write_text(render(values), encoding="utf-8")
    opened = Study.open(folder)
    publish(opened, "labels", pa.Table.from_pylist(planted.labels, LABELS.schema))
    publish(opened, "features", features_table(world, planted))
    return opened, planted


def publish(opened: Study, name: str, table: pa.Table) -> None:
    stage = opened.begin(name, params={"rows": table.num_rows}, redo=True)
    stage.write(table)
    stage.publish()


def features_table(world: World, planted: Planted, backbone: str = "tiny") -> pa.Table:
    rng = np.random.default_rng(world.seed + 1)
    rows = []
    for i, label in enumerate(planted.labels):
        for flipped in (False, True)[: 2 if world.flip else 1]:
            row: dict[str, object] = {
                "picture_id": label["picture_id"],
                "bucket": label["bucket"],
                "backbone": backbone,
                "flipped": flipped,
                "status": "ok",
            }
            for layer, values in planted.features.items():
                noise = 0.1 * rng.normal(size=world.dim) if flipped else 0.0
                row[layer] = (values[i] + noise).astype(np.float32)
            rows.append(row)
    order = rng.permutation(len(rows))
    return pa.Table.from_pylist([rows[i] for i in order], features_schema(world.layers))
