"""int8: close to fp32, and its effect is measured on the study itself."""

from __future__ import annotations

import json

import numpy as np
import pytest

from backbones.int8 import measure, quantise
from backbones.planning import make_plan
from likewise.cli import run
from likewise.errors import DataError
from likewise.tables import LABELS

LITE = "efficientnet-lite0"


@pytest.mark.slow
def test_close_to_fp32_and_used_again(make_jpeg, tmp_path):
    files = [make_jpeg(seed) for seed in range(12)]
    plan = make_plan(LITE, folder=tmp_path)
    labels, test = [0, 1] * 6, [False] * 6 + [True] * 6
    effect = measure(plan, files, labels, test)
    assert effect.pictures == 12
    # Seven bits, where the processor would overflow with eight, cost as much again.
    assert 0 < effect.relative_error["pooled"] < 0.5
    assert set(effect.average_precision) == {"fp32", "int8"}
    small = quantise(plan, files[:6])
    assert small.precision == "int8" and small.onnx != plan.onnx
    assert quantise(plan, files[:6]) == small
    assert quantise(plan, files[6:]).onnx != small.onnx
    assert small.identity() != plan.identity()


def test_what_cannot_be_measured(make_jpeg, tmp_path):
    plan = make_plan(LITE, folder=tmp_path)
    with pytest.raises(DataError, match="one label only"):
        measure(plan, [make_jpeg(1), make_jpeg(2)], [0, 0], [True, False])
    with pytest.raises(DataError, match="there are none"):
        quantise(plan, [])


@pytest.mark.slow
def test_a_study_tells_and_runs(spark, make_study, make_jpeg, capsys):
    study = make_study([make_jpeg(seed) for seed in range(16)], backbone=LITE, precision="int8")
    assert run(["extract", str(study.root)]) == 0
    found = study.read("features", columns=["pooled"])["pooled"].to_pylist()
    assert np.isfinite(found).all()
    assert study.require("features").extra["precision"] == "int8"
    rows = study.read("labels").to_pylist()
    halves = [{**row, "split": "test" if i % 4 < 2 else "train"} for i, row in enumerate(rows)]
    stage = study.begin("labels", redo=True)
    import pyarrow as pa

    stage.write(pa.Table.from_pylist(halves, LABELS.schema))
    stage.publish()
    capsys.readouterr()
    assert run(["extract", str(study.root), "--measure-int8", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["pictures"] == 16
