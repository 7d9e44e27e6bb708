"""A small study whose features a real network made, and a model on them: it can be scored with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
from fake_study import make, save_model

from backbones.inference import embed
from backbones.planning import make_plan
from backbones.registry import get
from likewise.study import Study
from likewise.tables import features_schema
from training.models import saved
from training.models.saved import LinearScorer
from training.pictures.thumbnails import picture_bytes

BACKBONE = "efficientnet-lite0"


def make_scored(folder: Path) -> Study:
    """32 pictures of 8 authors with the 1,280 features of EfficientNet-Lite0, both views."""
    study = make(folder, n_authors=8, per_author=4)
    ids = study.read("labels", ["picture_id"])["picture_id"].to_pylist()
    pictures = dict(picture_bytes(study, sorted(ids)))
    plan = make_plan(BACKBONE, flip=True, batch_size=8, half=True, folder=folder / "cache" / "onnx")
    layer = plan.layers[-1]
    rows = []
    for batch in embed(pictures.items(), plan):
        views = batch.features[layer].reshape(len(batch.ids), 2, -1)
        for picture, both in zip(batch.ids, views, strict=True):
            for flipped in (False, True):
                row = {"picture_id": picture, "bucket": 0, "backbone": BACKBONE, "maker": "m"}
                row |= {"flipped": flipped, "status": "ok", "error_class": None}
                rows.append({**row, layer: both[int(flipped)].tolist()})
    stage = study.begin("features", params={"real": True})
    stage.write(pa.Table.from_pylist(rows, schema=features_schema([layer])))
    stage.publish(backbone=BACKBONE, layers=list(plan.layers))
    dim = get(BACKBONE).dims[layer]
    save_model(study, dim=dim, layer=layer)
    card = saved.load(study, "linear-svc").card
    weight = np.random.default_rng(1).normal(size=dim).astype(np.float32)
    saved.save(study, LinearScorer(card, weight, 0.1))
    return study
