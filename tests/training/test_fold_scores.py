"""Scores of training pictures by the fits that had left their fold out: the table, by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from planted import World, study
from sklearn.svm import LinearSVC

from likewise.tables import FOLD_SCORES, check_schema
from training.compare import compare
from training.data.matrix import load_labels, load_matrix
from training.models import saved as models

SETTINGS = {"classifiers": ["linear-svc"], "c_values": [0.01], "permutations": 50, "jobs": 1}


def test_every_training_picture_is_scored_by_the_fit_without_its_fold(tmp_path: Path) -> None:
    opened, _ = study(tmp_path / "s", World(settings=SETTINGS))
    compare(opened)
    table = opened.read("fold_scores")
    check_schema(table.schema, FOLD_SCORES.schema, "fold_scores")
    assert set(table["model"].to_pylist()) == set(models.names(opened))
    labels = load_labels(opened)
    n, people = labels.n_train, opened.read("labels", ["picture_id", "author_id"]).to_pylist()
    author = {row["picture_id"]: row["author_id"] for row in people}
    matrix = load_matrix(opened, "pooled", labels, tmp_path / "x.npy")
    rows = {
        row["picture_id"]: row
        for row in table.to_pylist()
        if row["model"] == "pooled-normal-linear-svc"
    }
    assert list(rows) == labels.picture_id[:n].tolist()  # no held-out picture among them
    card = models.load(opened, "pooled-normal-linear-svc").card["calibration"]
    upright = matrix.all_train[:n]
    for fold in labels.folds:
        inside = labels.fold[:n] == fold
        fit = LinearSVC(C=0.01, dual=False, tol=1e-10, max_iter=10_000)
        fit.fit(upright[~inside], labels.label[:n][~inside], labels.weight[:n][~inside])
        expected = matrix.mean_views(matrix.all_train @ fit.coef_[0] + fit.intercept_[0])[inside]
        told = [rows[picture] for picture in labels.picture_id[:n][inside]]
        assert [row["fold"] for row in told] == [fold] * len(told)
        assert [row["author_id"] for row in told] == [author[row["picture_id"]] for row in told]
        scores = np.array([row["score"] for row in told])
        assert scores == pytest.approx(expected, abs=1e-4)
        chance = 1 / (1 + np.exp(-(card["slope"] * scores + card["intercept"])))
        assert [row["probability"] for row in told] == pytest.approx(chance.tolist())
