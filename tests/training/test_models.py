"""Saved models: what is written is what is read, and damage is noticed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier

from likewise.errors import DataError, MissingTableError
from training.models import saved as models


def card(name: str, kind: str, dim: int, ap: float = 0.6) -> dict[str, object]:
    return {
        "name": name,
        "kind": kind,
        "layer": "pooled",
        "backbone": "tiny",
        "dim": dim,
        "calibration": {"slope": 2.0, "intercept": -0.5},
        "scores": {"cv_average_precision": ap},
    }


@pytest.fixture
def features() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)


def test_linear_round_trip(study_folder: Path, features: np.ndarray) -> None:
    weight = np.arange(6, dtype=np.float32)
    models.save(study_folder, models.LinearScorer(card("a", "linear", 6), weight, 0.25))
    loaded = models.load(study_folder, "a")
    expected = [sum(i * float(row[i]) for i in range(6)) + 0.25 for row in features]
    assert loaded.score(features) == pytest.approx(expected, abs=1e-4)
    assert (loaded.layer, loaded.backbone, loaded.name) == ("pooled", "tiny", "a")


def test_forest_round_trip(study_folder: Path, features: np.ndarray) -> None:
    labels = (features[:, 0] > 0).astype(int)
    forest = RandomForestClassifier(7, random_state=0).fit(features, labels)
    models.save(study_folder, models.ForestScorer(card("f", "forest", 6), forest))
    loaded = models.load(study_folder, "f")
    np.testing.assert_array_equal(loaded.score(features), forest.predict_proba(features)[:, 1])


def test_probability_is_the_sigmoid_of_the_card() -> None:
    scorer = models.LinearScorer(card("a", "linear", 6), np.zeros(6, np.float32), 0.0)
    answer = scorer.probability(np.array([0.0, 0.25, 100.0, -1000.0]))
    assert answer == pytest.approx([1 / (1 + np.exp(0.5)), 0.5, 1.0, 0.0])


def test_best_goes_by_cross_validation(study_folder: Path) -> None:
    for name, ap in (("a", 0.6), ("c", 0.7), ("b", 0.7)):
        weight = np.zeros(6, np.float32)
        models.save(study_folder, models.LinearScorer(card(name, "linear", 6, ap), weight, 0.0))
    assert models.names(study_folder) == ["b", "c", "a"]
    assert models.best(study_folder) == "b"
    models.remove(study_folder, "b")
    assert models.best(study_folder) == "c"


def test_no_model_yet(study_folder: Path) -> None:
    with pytest.raises(MissingTableError, match="no saved model"):
        models.best(study_folder)
    with pytest.raises(MissingTableError, match="no model 'x'"):
        models.load(study_folder, "x")


def test_damaged_parameters_are_noticed(study_folder: Path) -> None:
    scorer = models.LinearScorer(card("a", "linear", 6), np.zeros(6, np.float32), 0.0)
    folder = models.save(study_folder, scorer)
    with (folder / "linear.safetensors").open("ab") as file:
        file.write(b"x")
    with pytest.raises(DataError, match="is not the file"):
        models.load(study_folder, "a")


def test_damaged_card_is_named(study_folder: Path) -> None:
    scorer = models.LinearScorer(card("a", "linear", 6), np.zeros(6, np.float32), 0.0)
    folder = models.save(study_folder, scorer)
    (folder / "card.json").write_text("{", encoding="utf-8")
    with pytest.raises(DataError, match=r"card\.json is damaged"):
        models.names(study_folder)


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".hidden"])
def test_names_stay_inside_the_study(study_folder: Path, name: str) -> None:
    with pytest.raises(DataError, match="cannot name a model"):
        models.load(study_folder, name)


def test_other_width_is_refused() -> None:
    scorer = models.LinearScorer(card("a", "linear", 6), np.zeros(6, np.float32), 0.0)
    with pytest.raises(DataError, match=r"\(n, 6\)"):
        scorer.score(np.zeros((3, 5), np.float32))


def test_models_of_other_kinds_are_left_alone(study_folder: Path) -> None:
    folder = study_folder / "models" / "network"
    folder.mkdir(parents=True)
    (folder / "card.json").write_text('{"kind": "network", "name": "network"}', encoding="utf-8")
    assert models.names(study_folder) == []
