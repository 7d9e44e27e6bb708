"""Recipes are valid settings, and paper1 says what the paper says."""

from __future__ import annotations

from pathlib import Path

import pytest

import likewise
from backbones import registry
from likewise import weights
from likewise.cli import run
from likewise.config import load
from likewise.errors import UsageError
from likewise.recipes import RECIPES


def test_paper1_in_one_command(tmp_path: Path) -> None:
    """Each value stands in the paper, but for bias_factor, which is the Caffe example's."""
    assert run(["init", str(tmp_path / "s"), "--recipe", "paper1"]) == 0
    text = (tmp_path / "s" / "likewise.toml").read_text()
    assert text.startswith("# Recipe paper1") and "leak" in text.split("[study]")[0]
    found = load(tmp_path / "s" / "likewise.toml")
    assert (found.clean.scale, found.clean.keep_share) == ("raw", 0.6)
    assert found.extract.backbone == found.finetune.backbone == "paper"
    assert found.compare.c_values == [10.0**e for e in range(-6, 6)]
    assert (found.compare.trees, found.compare.sgd_scaling) == (500, ["none", "standardised"])
    assert 1e-4 in found.compare.reg_params and 1.0 in found.compare.step_sizes
    assert found.compare.by_picture
    tuning = found.finetune
    assert (tuning.learning_rate, tuning.step, tuning.gamma) == (0.001, 5000, 0.1)
    assert (tuning.iterations, tuning.bias_factor, tuning.refit) == (35_000, 2.0, True)
    assert (found.rank.n, found.label.test_fraction) == (25, 0.25)


def test_own_values_go_before_the_recipes(tmp_path: Path) -> None:
    study = likewise.init(tmp_path / "s", values={"compare": {"trees": 7}}, recipe="paper1")
    assert (study.config.compare.trees, study.config.compare.by_picture) == (7, True)


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_every_recipe_is_a_valid_configuration(tmp_path: Path, name: str) -> None:
    assert likewise.init(tmp_path / "s", recipe=name).config.study.name == "s"


def test_unknown_recipes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no recipe 'paper9'"):
        likewise.init(tmp_path / "s", recipe="paper9")
    assert not (tmp_path / "s").exists()


def test_the_papers_network_or_one_that_is_said_not_to_be_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(weights, "at_hand", lambda _: None)
    assert registry.choose("paper").name == "efficientnet-lite0"
    assert "not the paper's network" in registry.choose("paper").reason
    monkeypatch.setattr(weights, "at_hand", lambda _: tmp_path)
    assert registry.choose("paper").name == "alexnet-caffe"
