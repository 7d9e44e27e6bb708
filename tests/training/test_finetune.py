"""The verb on a study: trained, saved, skipped, resumed, and refused with reasons."""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from tuning_study import make_study, picture

import likewise
from backbones import registry
from likewise.cli import cli
from likewise.errors import DataError, MissingTableError, UsageError, WeightsError
from likewise.study import Study
from training.explanation.gradcam import heatmap
from training.tuning import saved

# A frozen body is quick enough for the default tests; test_kill_... trains all of it.
QUICK = {
    "backbone": "efficientnet-lite0",
    "iterations": 6,
    "batch_size": 4,
    "evaluate_every": 3,
    "freeze": True,
    "learning_rate": 0.01,
}
NAME = "finetuned-efficientnet-lite0"


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Study:
    study = make_study(tmp_path_factory.mktemp("tuned") / "study", lost=3, broken=1, **QUICK)
    likewise.finetune(study)
    return study


def test_what_stands_there_afterwards(tuned: Study) -> None:
    manifest = tuned.require("finetune")
    assert manifest.extra["model"] == NAME
    assert manifest.extra["iterations"] == 6
    assert manifest.extra["pictures"] == {"train": 24, "validation": 8, "test": 12}
    assert manifest.funnel is not None
    assert manifest.funnel["dropped"] == {"picture_missing": 3, "not_a_picture": 1}
    assert manifest.funnel["rows_out"] == 44
    curves = tuned.read("finetune").to_pylist()
    assert {(c["part"], c["metric"]) for c in curves} >= {
        ("train", "loss"),
        ("validation", "loss"),
        ("validation", "accuracy"),
        ("validation", "average_precision"),
    }
    summary = json.loads((tuned.root / "reports" / "finetune.json").read_text())
    assert summary["curves"] == curves
    assert list((tuned.root / summary["events"]).glob("events.out.tfevents.*"))
    card = (tuned.root / "models" / NAME / "card.md").read_text()
    assert "EfficientNet-Lite0, fine-tuned" in card and "test average precision" in card
    assert not list((tuned.root / "cache").rglob("*.*")), "nothing large is left behind"


@pytest.mark.slow
def test_refitted_it_learns_from_all_training_authors(tmp_path: Path) -> None:
    """3:1 as in the paper; the calibration is that of authors the first training has not seen."""
    short = {**QUICK, "iterations": 4, "evaluate_every": 2}
    study = make_study(tmp_path / "study", refit=True, **short)
    manifest = likewise.finetune(study)
    assert manifest.extra["pictures"] == {"train": 36, "validation": 12, "test": 12}
    card = json.loads((study.root / "models" / NAME / "card.json").read_text())
    assert card["calibration"]["fitted_on"] == "validation fold"
    assert manifest.extra["looks"] == {"runs": 1, "models": 1}
    assert not list((study.root / "cache").rglob("*.*")), "nothing large is left behind"


def test_a_refit_needs_a_validation_to_go_by(tmp_path: Path) -> None:
    study = make_study(tmp_path / "study", refit=True, **{**QUICK, "validation_fold": -1})
    with pytest.raises(UsageError, match="refit needs a validation fold"):
        likewise.finetune(study)


def test_the_model_scores_picture_files(tuned: Study) -> None:
    rng = np.random.default_rng(99)
    good, bad = ([picture(label, rng) for _ in range(6)] for label in (1, 0))
    scorer = saved.load(tuned, NAME)
    scores = scorer.score_pictures(iter([*good, b"no picture", *bad]))
    assert scores.shape == (13,) and np.isnan(scores[6])
    assert scores[:6].mean() > scores[7:].mean()
    probability = scorer.probability(scores[:6])
    assert ((probability > 0) & (probability < 1)).all()
    assert scorer.backbone == "efficientnet-lite0" and scorer.layer == "pixels"
    assert saved.names(tuned) == [NAME]


def test_both_views_are_averaged(tuned: Study) -> None:
    data = picture(1, np.random.default_rng(5))
    scorer = saved.load(tuned, NAME)
    x = scorer.prepare([data])
    with torch.inference_mode():
        views = (scorer.network(x) + scorer.network(x.flip(3))) / 2
    expected = float(views[0, 1] - views[0, 0])
    assert scorer.score_pictures([data])[0] == pytest.approx(expected, abs=1e-4)


def test_grad_cam_of_the_tuned_network(tuned: Study) -> None:
    scorer = saved.load(tuned, NAME)
    x = scorer.prepare([picture(1, np.random.default_rng(5))])
    heat = heatmap(scorer.network, x, 1)
    assert heat.shape == (1, 224, 224) and heat.max() > 0.99


def test_a_second_call_does_nothing(tuned: Study) -> None:
    before = (tuned.root / "models" / NAME / "card.json").stat().st_mtime_ns
    likewise.finetune(tuned)
    assert (tuned.root / "models" / NAME / "card.json").stat().st_mtime_ns == before


def test_damaged_or_swapped_weights_are_refused(tuned: Study, tmp_path: Path) -> None:
    card = json.loads((tuned.root / "models" / NAME / "card.json").read_text())
    study = make_study(tmp_path / "study", authors=1)
    folder = study.folder("models", NAME)
    (folder / "card.json").write_text(json.dumps({**card, "backbone": "resnet50", "head": "fc"}))
    weights = (tuned.root / "models" / NAME / card["file"]).read_bytes()
    (folder / card["file"]).write_bytes(weights)
    with pytest.raises(WeightsError, match="does not hold the network"):
        saved.load(study, NAME)
    (folder / "card.json").write_text(json.dumps(card))
    (folder / card["file"]).write_bytes(weights[:-100])
    with pytest.raises(WeightsError, match="cannot be read"):
        saved.load(study, NAME)
    with pytest.raises(MissingTableError, match="no fine-tuned model 'other'"):
        saved.load(study, "other")


def test_without_labels(study_folder: Path) -> None:
    with pytest.raises(MissingTableError, match="pictures"):
        likewise.finetune(study_folder)


def test_refusals(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="author"):
        likewise.finetune(make_study(tmp_path / "few", authors=2, **QUICK))
    with pytest.raises(DataError, match="class 1"):
        likewise.finetune(make_study(tmp_path / "one", each=1, **QUICK))
    with pytest.raises(UsageError, match="shared evenly among 3"):
        likewise.finetune(make_study(tmp_path / "odd", **QUICK), workers=3)
    blind = make_study(tmp_path / "blind", **QUICK, patience=2, validation_fold=-1)
    with pytest.raises(UsageError, match="patience needs a validation fold"):
        likewise.finetune(blind)
    with pytest.raises(UsageError, match="no backbone 'alexnett'"):
        likewise.finetune(make_study(tmp_path / "name", **{**QUICK, "backbone": "alexnett"}))


def test_all_pictures_missing(tmp_path: Path) -> None:
    study = make_study(tmp_path / "study", lost=48, **QUICK)
    with pytest.raises(DataError, match="not one of 48 labelled pictures"):
        likewise.finetune(study)


def test_command(tuned: Study) -> None:
    answer = CliRunner().invoke(cli, ["finetune", str(tuned.root), "--json"])
    assert answer.exit_code == 0, answer.output
    assert json.loads(answer.stdout)["extra"]["model"] == NAME


RESUMABLE = {
    "backbone": "efficientnet-lite0",
    "iterations": 10,
    "batch_size": 4,
    "evaluate_every": 5,
    "checkpoint_minutes": 0.0,
    "colour": 0.2,
}


@pytest.mark.slow
def test_killed_command_ends_in_the_same_bits(tmp_path: Path) -> None:
    whole = make_study(tmp_path / "whole", **RESUMABLE).root
    killed = make_study(tmp_path / "killed", **RESUMABLE).root
    assert _command(whole).wait() == 0
    for _ in range(2):
        process = _command(killed)
        _wait_for_checkpoints(killed, 2, process)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert not (killed / "models" / NAME).exists()
    assert _command(killed).wait() == 0
    one, two = (root / "models" / NAME / saved.WEIGHTS for root in (whole, killed))
    assert one.read_bytes() == two.read_bytes()


def _command(root: Path) -> subprocess.Popen[bytes]:
    program = [sys.executable, "-c", "from likewise.cli import main; main()", "finetune", str(root)]
    return subprocess.Popen(program, start_new_session=True)


def _wait_for_checkpoints(root: Path, n: int, process: subprocess.Popen[bytes]) -> None:
    """Until the checkpoint has been replaced ``n`` times."""
    seen: set[int] = set()
    while len(seen) <= n:
        assert process.poll() is None, "it ended before it could be killed"
        seen |= {p.stat().st_mtime_ns for p in root.glob("cache/finetune/*/checkpoint.pt")}
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_two_workers_on_spark(
    tmp_path: Path, spark: object, capsys: pytest.CaptureFixture[str]
) -> None:
    """TorchDistributor leaves a pipe to the garbage collector, which warns about it."""
    study = make_study(tmp_path / "study", **{**QUICK, "iterations": 12})
    manifest = likewise.finetune(study, workers=2)
    gc.collect()
    assert manifest.extra["iterations"] == 12
    assert manifest.extra["scores"]["test_average_precision"]["value"] > 0.9
    assert "finetune" in manifest.extra["events"]
    assert capsys.readouterr().out == ""
    rng = np.random.default_rng(3)
    good, bad = saved.load(study, NAME).score_pictures([picture(1, rng), picture(0, rng)])
    assert good > bad


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_workers_error_arrives_as_itself(tmp_path: Path, spark: object) -> None:
    settings = {**QUICK, "iterations": 20, "learning_rate": 1e25}
    study = make_study(tmp_path / "study", **settings)
    with pytest.raises(DataError, match="answers are not finite") as caught:
        likewise.finetune(study, workers=2)
    gc.collect()
    assert caught.value.hint is not None and "--redo" in caught.value.hint


@pytest.mark.slow
@pytest.mark.parametrize("name", registry.names())
def test_every_backbone(tmp_path: Path, name: str) -> None:
    settings = {**QUICK, "backbone": name, "random_weights": True, "iterations": 1, "freeze": False}
    study = make_study(tmp_path / "study", authors=8, each=2, **settings)
    likewise.finetune(study)
    scorer = saved.load(study, f"finetuned-{name}")
    data = picture(1, np.random.default_rng(0))
    assert np.isfinite(scorer.score_pictures([data])).all()
    assert heatmap(scorer.network, scorer.prepare([data]), 1).shape[1:] == (
        scorer.spec.size,
        scorer.spec.size,
    )
