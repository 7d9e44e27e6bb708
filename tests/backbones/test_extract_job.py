"""The Spark job: equal to a plain loop, resumable, whole."""

from __future__ import annotations

import numpy as np

import backbones
from likewise.tables import check_schema, features_schema
from spark_jobs.extract import extract

LITE = "efficientnet-lite0"


def rows_of(study, layers=("pooled",)) -> dict:
    table = study.read("features")
    return {(row["picture_id"], row["flipped"]): row for row in table.to_pylist()}


def test_features_equal_a_plain_loop(spark, make_study, make_jpeg):
    files = [make_jpeg(seed) for seed in range(11)]
    study = make_study(files, skip=[3], backbone=LITE)
    manifest = extract(study)
    assert manifest.rows == 20
    assert manifest.funnel["rows_in"] == manifest.funnel["rows_out"] == 10
    check_schema(study.dataset("features").schema, features_schema(["pooled"]), "features")
    rows = rows_of(study)
    plain = backbones.extract(files, backbone=LITE, flip=True, engine="torch")["pooled"]
    ids = study.read("pictures", columns=["post_id", "picture_id"]).to_pylist()
    for row in ids:
        if row["post_id"] == "3":
            assert (row["picture_id"], False) not in rows
            continue
        for flipped in (False, True):
            found = np.array(rows[row["picture_id"], flipped]["pooled"])
            truth = plain[int(row["post_id"]), int(flipped)]
            assert np.abs(found - truth).max() <= 1e-5 * np.abs(truth).max()
