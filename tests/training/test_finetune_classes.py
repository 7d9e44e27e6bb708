"""Fine-tuning on k classes: parts, the rate that falls, random weights beside, ranking."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
from tuning_study import make_study

import likewise
from likewise.config import FinetuneSection
from likewise.errors import UsageError
from likewise.study import Study
from likewise.tables import LABELS
from training.tuning.loop import Loop, State
from training.tuning.network import groups, replace_head
from training.tuning.samples import read_samples

NAME = "finetuned-efficientnet-lite0"
NAMES = ["red", "green", "blue"]


def class_study(folder: Path, **finetune: object) -> Study:
    """Red and green pictures, and a class of the last author alone that no model may learn."""
    study = make_study(folder, **finetune)
    text = (folder / "likewise.toml").read_text(encoding="utf-8")
    text = text.replace("# kind =", 'kind = "classes" # ').replace("[question]", "[question]", 1)
    (folder / "likewise.toml").write_text(text, encoding="utf-8")
    rows = study.read("labels").to_pylist()
    for row in rows:
        author = int(row["author_id"])
        row["label"] = 2 if author == 11 else row["label"]
        row |= {"class": NAMES[row["label"]], "group_key": row["author_id"]}
        row["split"] = "test" if author % 4 == 3 else "validation" if author % 4 == 2 else "train"
    stage = study.begin("labels", params={"classes": True}, redo=True)
    stage.write(pa.Table.from_pylist(rows, LABELS.schema))
    stage.publish(question="classes", classes=NAMES, unseen=["blue"], group="author")
    return Study.open(folder)


@pytest.mark.slow
def test_a_network_of_classes_is_tuned_told_and_ranked(tmp_path: Path) -> None:
    study = class_study(
        tmp_path / "s",
        backbone="efficientnet-lite0",
        iterations=4,
        batch_size=4,
        evaluate_every=2,
        freeze=True,
        learning_rate=0.01,
        schedule="plateau",
        beside_scratch=True,
    )
    samples = read_samples(study)
    parts = samples.parts(0)
    assert samples.names == ("red", "green") and set(samples.labels.tolist()) == {0, 1}
    assert {name: len(at) for name, at in parts.items()} == {
        "train": 24,
        "validation": 12,
        "test": 8,
    }
    assert len(samples.parts(-1)["train"]) == 36
    likewise.finetune(study)
    summary = json.loads((study.root / "reports" / "finetune.json").read_text())
    assert "top 1" in " ".join(summary["scores"])
    said = " ".join(summary["sentences"])
    assert "always saying" in said and "From random weights" in said
    card = json.loads((study.root / "models" / NAME / "card.json").read_text())
    assert card["class_names"] == ["red", "green"] and card["temperature"] > 0
    likewise.rank(study, model=NAME)
    rows = {row["picture_id"]: row for row in study.read("scores").to_pylist()}
    assert len(rows) == 48 and {row["said"] for row in rows.values()} <= {"red", "green"}
    labels = {row["picture_id"]: row["class"] for row in study.read("labels").to_pylist()}
    assert all((rows[p]["probability"] is None) == (c == "blue") for p, c in labels.items())
    right = np.mean([rows[p]["said"] == c for p, c in labels.items() if c != "blue"])
    assert right > 0.6


def test_the_rate_falls_once_and_then_training_stops() -> None:
    """The rule by itself: better, worse (cut), better (recovered), worse (cut), worse (stop)."""
    group = {"lr": 1.0}
    loop = SimpleNamespace(
        state=State(),
        team=SimpleNamespace(leads=False),
        optimizer=SimpleNamespace(param_groups=[group]),
        run=SimpleNamespace(recipe=FinetuneSection(schedule="plateau")),
    )
    seen = []
    for iteration, loss in enumerate([0.9, 1.0, 0.8, 0.8, 0.85], 1):
        loop.state.iteration = iteration
        Loop._plateau(loop, loss)  # type: ignore[arg-type]
        seen.append((round(group["lr"], 6), loop.state.stopped))
    assert seen == [(1, False), (0.1, False), (0.1, False), (0.01, False), (0.01, True)]
    assert loop.state.best_at == 3


def test_frozen_modules_stay_and_unknown_ones_are_named() -> None:
    torch = pytest.importorskip("torch")
    network = torch.nn.Sequential()
    network.add_module("stem", torch.nn.Conv2d(3, 4, 3))
    network.add_module("body", torch.nn.Conv2d(4, 4, 3))
    network.add_module("pool", torch.nn.AdaptiveAvgPool2d(1))
    network.add_module("flat", torch.nn.Flatten())
    network.add_module("head", torch.nn.Linear(4, 10))
    tunable = replace_head(network, 3, 16)
    groups(tunable, FinetuneSection(frozen=["stem"]))
    asked = {name: p.requires_grad for name, p in tunable.network.named_parameters()}
    assert not asked["stem.weight"] and asked["body.weight"] and asked["head.weight"]
    with pytest.raises(UsageError, match="'sten'") as caught:
        groups(tunable, FinetuneSection(frozen=["sten"]))
    assert "stem" in str(caught.value.hint)
