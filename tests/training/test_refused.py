"""A calibration that was refused: no probabilities anywhere, and it is said wherever one looks."""

from __future__ import annotations

from pathlib import Path

import pytest
from fake_study import make

from training.compare import compare, comparison_text
from training.comparison import results
from training.galleries import gallery
from training.models import saved as models
from training.rank import rank
from training.report import report


@pytest.mark.slow
def test_from_comparison_to_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.rank._wants_spark", lambda *_: False)
    monkeypatch.setattr("training.comparison.verdict.platt", lambda *_: None)
    settings = {"classifiers": ["linear-svc"], "c_values": [0.01], "permutations": 99}
    study = make(tmp_path / "study", n_authors=24, config={"compare": settings})
    models.remove(study, "linear-svc")
    compare(study)
    found = results.load(study)
    assert found is not None
    best = found.best_result
    assert (best.calibrated, best.confusion, best.threshold) == (False, None, None)
    assert best.metrics["brier"].value is best.metrics["accuracy"].value is None
    assert best.average_precision.value is not None
    assert "It gives no probabilities" in comparison_text(study)
    assert "confusion" not in {figure.name for figure in found.figures}
    card = (study.root / "models" / found.best / "card.md").read_text(encoding="utf-8")
    assert "Refused: no probabilities" in card
    rank(study)
    scores = study.read("scores")
    assert scores["probability"].null_count == scores.num_rows > 0
    assert all(one.probability is None for one in gallery.load(study).top)
    page = Path(report(study)).read_text(encoding="utf-8")
    assert "It gives no probabilities" in page
