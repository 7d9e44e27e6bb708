"""SIGKILL at any moment of a verb of ``classify``, and once more: what there is, is as if never."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import likewise
from likewise.config import render
from likewise.study import Study
from training.classify import train

ROOT = Path(__file__).resolve().parents[2]
MOMENTS = int(os.environ.get("LIKEWISE_MOMENTS", "2"))
LOADED_S = 0.3
"""Until then Python itself may still start: nothing of ours can have been written."""

VERBS = {
    "zero-shot": ["--map", "paper2-tree", "--backbone", "efficientnet-lite0"],
    "train": ["--search"],
    "evaluate": ["--accuracy", ".9"],
    "predict": ["PICTURES", "--csv", "predictions.csv", "--known", ".95"],
    "map": [],
    "clean-labels": ["--apply", ".1"],
}

WHEN = re.compile(
    rb"<time[^>]*>[^<]*</time>|\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?(\.\d+)?(\+00:00|Z| UTC)?"
    # A look that a killed run has written down is an earlier one; logs/held-out.jsonl counts once.
    rb'|"opened_before": \d+'
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``p``, pictures of two classes, and ``s``, a study of them with a model."""
    folder = tmp_path_factory.mktemp("killed")
    for i in range(60):
        path = folder / "p" / ("dog", "bird")[i % 2] / f"{i}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        coarse = np.random.default_rng(i).integers(0, 200, (9, 9, 3), dtype=np.uint8)
        coarse[..., i % 2] //= 2
        cv2.imwrite(str(path), cv2.resize(coarse, (300, 280), interpolation=cv2.INTER_CUBIC))
    (folder / "s").mkdir()
    values = {
        "question": {"kind": "classes", "split": "60/20/20"},
        "extract": {"backbone": "efficientnet-lite0"},
        "compare": {"trees": 20, "c_values": [0.01, 1.0], "jobs": 1},
    }
    (folder / "s" / "likewise.toml").write_text(render(values), encoding="utf-8")
    study = Study.open(folder / "s")
    likewise.import_(study, folder / "p")
    for stage in (likewise.clean, likewise.download, likewise.label, likewise.extract):
        stage(study)
    train(study, page=False)
    return folder


def state(folder: Path) -> dict[str, Any]:
    """Every file that people read, without its moment; the reviews; the looks at the test part."""
    found: dict[str, Any] = {}
    for place in ("s/models", "s/reports", "s/predictions.csv"):
        root = folder / place
        for path in [root] if root.is_file() else sorted(root.rglob("*")):
            if path.is_file():
                name = str(path.relative_to(folder))
                found[name] = WHEN.sub(b"", path.read_bytes())
    reviews = Study.open(folder / "s").manifest("reviews")
    if reviews is not None:
        rows = Study.open(folder / "s").read("reviews").drop(["reviewed_at"]).to_pylist()
        found["reviews"] = sorted(rows, key=lambda row: row["picture_id"])
    looks = folder / "s" / "logs" / "held-out.jsonl"
    if looks.is_file():
        lines = [json.loads(line) for line in looks.read_text(encoding="utf-8").splitlines()]
        found["looks"] = [(line["stage"], line["fingerprint"], line["models"]) for line in lines]
    return found


@pytest.mark.parametrize("verb", VERBS)
def test_killed_and_started_again(ready: Path, tmp_path: Path, verb: str) -> None:
    place = tmp_path / "work"

    def fresh() -> None:
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(ready, place)

    options = ["p" if option == "PICTURES" else option for option in VERBS[verb]]
    options = ["s/predictions.csv" if option.endswith(".csv") else option for option in options]
    command = [sys.executable, "-m", "likewise", "classify", verb, "s", *options, "--json"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}

    def whole() -> dict[str, Any]:
        done = subprocess.run(
            command, cwd=place, env=environment, capture_output=True, text=True, timeout=600
        )
        assert done.returncode == 0, done.stderr
        said = json.loads(done.stdout)
        said.pop("opened_before", None)
        return {**state(place), "said": json.dumps(said, sort_keys=True)}

    fresh()
    began = time.monotonic()
    expected = whole()
    lasted = time.monotonic() - began
    before = state(ready)
    moments = random.Random(verb)
    for moment in sorted(moments.uniform(LOADED_S, lasted) for _ in range(MOMENTS)):
        fresh()
        with subprocess.Popen(
            command, cwd=place, env=environment, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, start_new_session=True,
        ) as process:  # fmt: skip
            time.sleep(moment)
            with contextlib.suppress(ProcessLookupError):  # it was quicker than before
                os.killpg(process.pid, signal.SIGKILL)
        for name, content in state(place).items():
            if Path(name).name.startswith("."):  # not yet named: nobody reads it
                continue
            # What was there before, or what is there after a run that nobody disturbs.
            assert content in (before.get(name), expected.get(name)), (moment, name)
        found = whole()
        for name in expected.keys() | found.keys():
            assert found.get(name) == expected.get(name), (moment, name)
