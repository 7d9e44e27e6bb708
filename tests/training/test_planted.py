"""Planted signal: none is found where there is none, and the planted direction where there is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from planted import Planted, World, features_table, publish, study
from scipy import stats

from likewise.tables import LABELS
from training.compare import compare
from training.comparison import results
from training.models import saved as models

SETTINGS = {
    "classifiers": ["linear-svc"],
    "c_values": [0.0001, 0.01],
    "sets": ["normal"],
    "bootstrap": 400,
    "permutations": 199,
}


def compared(folder: Path, **world: Any) -> tuple[dict[str, Any], Planted, Any]:
    """The only result, what was planted, and the saved model."""
    opened, planted = study(folder, World(settings=SETTINGS, **world))
    compare(opened)
    content = json.loads((folder / "reports" / "comparison.json").read_text())
    return content["results"][0], planted, models.load(opened, content["best"])


@pytest.mark.slow
def test_precision_rises_with_the_planted_appeal(tmp_path: Path) -> None:
    found = [
        compared(tmp_path / str(strength), strength=strength, authors=200, seed=4)
        for strength in (0.0, 0.5, 1.0, 2.0)
    ]
    aps = [result["metrics"]["average_precision"]["value"] for result, _, _ in found]
    assert aps == sorted(aps)
    assert aps[-1] > aps[0] + 0.25
    weak, strong = found[1], found[-1]
    assert strong[0]["p_value"] == pytest.approx(1 / 200)
    assert strong[0]["against"]["author-history"]["low"] > 0
    assert _cosine(strong) > 0.9
    assert _cosine(strong) > _cosine(weak) > 0.3


def _cosine(found: tuple[dict[str, Any], Planted, Any]) -> float:
    weight, direction = found[2].weight, found[1].direction
    return float(weight @ direction / np.linalg.norm(weight))


def test_without_appeal_the_interval_holds_chance(tmp_path: Path) -> None:
    """Three seeds by default: of 95 % intervals, nearly all."""
    held = 0
    for seed in range(3):
        result, _, _ = compared(tmp_path / str(seed), strength=0.0, seed=seed)
        difference = result["against"]["chance"]
        held += difference["low"] <= 0 <= difference["high"]
        assert result["p_value"] > 1 / 200
    assert held >= 2


def test_an_author_effect_is_no_signal_of_the_pictures(tmp_path: Path) -> None:
    """Authors alike in what they get, pictures at random: history wins and the words say so."""
    result, _, _ = compared(
        tmp_path, strength=0.0, author_effect=3.0, seed=2, authors=160, pictures=6
    )
    assert result["against"]["author-history"]["verdict"] == "below"
    text = json.loads((tmp_path / "reports" / "comparison.json").read_text())["sentences"][0]
    assert "It is worse than the author's own history" in text


def test_where_followers_decide_pictures_are_said_to_beat_nothing(tmp_path: Path) -> None:
    """Pictures that show how large the audience is rank well above chance, and add nothing."""
    world = World(authors=200, strength=0.0, settings=SETTINGS)
    opened, planted = study(tmp_path, world)
    rng = np.random.default_rng(0)
    audience = rng.normal(size=world.authors)
    for i, row in enumerate(planted.labels):
        own = audience[int(str(row["author_id"]))]
        row["audience"] = int(np.exp(7 + own))
        row["label"] = int(-own + 0.3 * rng.normal() > 0)
        planted.features["pooled"][i, 0] = -2 * own + 0.5 * rng.normal()
    publish(opened, "labels", pa.Table.from_pylist(planted.labels, LABELS.schema))
    publish(opened, "features", features_table(world, planted))
    compare(opened)
    found = results.load(opened)
    assert found is not None and found.worth is not None
    assert found.best_result.against["chance"].verdict == "above"
    assert found.worth.gain.verdict != "above"
    text = " ".join([*found.answer, *found.sentences])
    assert "beats" not in text and "times out of 100" not in text
    assert "may show no more than who posts" in text
    card = json.loads((tmp_path / "models" / found.best / "card.json").read_text())
    assert "beats" not in card["summary"]


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("author_effect", [0.0, 2.0])
def test_p_is_uniform_over_twenty_worlds_without_appeal(
    tmp_path: Path, author_effect: float
) -> None:
    results = [
        compared(tmp_path / str(seed), strength=0.0, author_effect=author_effect, seed=100 + seed)[
            0
        ]
        for seed in range(20)
    ]
    assert stats.kstest([r["p_value"] for r in results], "uniform").pvalue > 0.01
    held = [r["against"]["chance"]["low"] <= 0 <= r["against"]["chance"]["high"] for r in results]
    assert sum(held) >= 17
