"""What reviews gained a network: told as the difference of two trainings, each made by itself."""

from __future__ import annotations

import datetime as dt
import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from tuning_study import make_study

import likewise
from likewise.study import Study
from likewise.tables import LABELS, REVIEWS

QUICK = {
    "backbone": "efficientnet-lite0",
    "iterations": 6,
    "batch_size": 4,
    "evaluate_every": 3,
    "freeze": True,
    "learning_rate": 0.01,
}
WRONG = {"0-0", "0-1", "1-0", "1-1", "4-0", "4-1", "5-0", "5-1"}
"""Posts of training authors whose labels are turned round."""


def mislabelled(folder: Path, *, classes: bool, **finetune: Any) -> tuple[Study, dict[str, int]]:
    """A study with planted wrong training labels, and the right label of each such picture."""
    study = make_study(folder, **QUICK, **finetune)
    rows = study.read("labels").to_pylist()
    right = {row["picture_id"]: row["label"] for row in rows if row["post_id"] in WRONG}
    names = ["red", "green"]
    for row in rows:
        row["label"] = 1 - row["label"] if row["picture_id"] in right else row["label"]
        row |= {"class": names[row["label"]] if classes else None, "group_key": row["author_id"]}
    stage = study.begin("labels", params={"wrong": True}, redo=True)
    stage.write(pa.Table.from_pylist(rows, LABELS.schema))
    stage.publish(**({"question": "classes", "classes": names, "unseen": []} if classes else {}))
    if classes:
        text = (folder / "likewise.toml").read_text(encoding="utf-8")
        text = text.replace("# kind =", 'kind = "classes" # ', 1)
        (folder / "likewise.toml").write_text(text, encoding="utf-8")
    return Study.open(folder), right


def reviewed(study: Study, right: dict[str, int], names: list[str]) -> None:
    """Publish corrections of the wrong labels, and a rejection of one more training picture."""
    now = dt.datetime(2026, 6, 1, tzinfo=dt.UTC)
    rows: list[dict[str, Any]] = []
    for picture, label in right.items():
        said = {"old_label": names[1 - label], "new_label": names[label]}
        rows.append({"picture_id": picture, "reviewer": "ann", "reviewed_at": now, **said})
    more = next(
        row for row in study.read("labels").to_pylist()
        if row["split"] == "train" and row["picture_id"] not in right
    )  # fmt: skip
    rows.append({"picture_id": more["picture_id"], "reviewer": "ann", "reviewed_at": now})
    stage = study.begin("reviews", params={"by": "hand"})
    stage.write(pa.Table.from_pylist(rows, REVIEWS.schema))
    stage.publish()


@pytest.mark.slow
@pytest.mark.parametrize("classes", [False, True], ids=["likes", "classes"])
def test_the_gain_is_that_of_two_trainings(tmp_path: Path, classes: bool) -> None:
    names = ["red", "green"] if classes else ["bad", "good"]
    scores = []
    for name, finetune in (
        ("both", {"beside_reviews": True}),
        ("with", {}),
        ("without", {"reviews": False}),
    ):
        study, right = mislabelled(tmp_path / name, classes=classes, **finetune)
        reviewed(study, right, names)
        likewise.finetune(study)
        summary = json.loads((study.root / "reports" / "finetune.json").read_text())
        scores.append(summary["scores"])
        if name == "both":
            [said] = [one for one in summary["sentences"] if one.startswith("Reviews changed")]
            assert summary["looks"]["models"] == 2
        else:
            assert not any("eviews" in one for one in summary["sentences"])
    both, with_, without = scores
    assert both == with_  # the second training leaves the first as it was
    start = r"Reviews changed 8 (?:training )?labels, rejected 1 and confirmed 0; on (?:the )?12 "
    assert re.match(start, said)
    key = "test_top 1" if classes else "test_average_precision"
    told = [with_[key]["value"], without[key]["value"]]
    if classes:
        found = re.search(r"([\d.]+)% are right with them, ([\d.]+)% without", said)
        assert found
        assert [float(one) / 100 for one in found.groups()] == pytest.approx(told, abs=1e-3)
    else:
        found = re.search(r"of ([\d.]+) \(.*?\) with them and ([\d.]+) \(.*?\) without", said)
        assert found
        assert [float(one) for one in found.groups()] == pytest.approx(told, abs=6e-3)


def test_without_reviews_it_says_that_there_are_none(tmp_path: Path) -> None:
    study = make_study(tmp_path / "s", authors=8, **{**QUICK, "iterations": 2}, beside_reviews=True)
    likewise.finetune(study)
    summary = json.loads((study.root / "reports" / "finetune.json").read_text())
    assert (
        "No reviews are published that this network could have learned from."
        in summary["sentences"]
    )
