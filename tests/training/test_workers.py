"""Fits side by side, here and on Spark's executors: the same numbers, or a clear refusal."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import pyarrow as pa
import pytest
from planted import World, publish, study

from likewise.errors import UsageError
from likewise.study import Study
from likewise.tables import LABELS
from training.classifiers import forest
from training.compare import compare
from training.data.mapped import create
from training.fitting.workers import Workers
from training.models import saved as models

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

SETTINGS = {
    "classifiers": ["linear-svc", "random-forest"],
    "c_values": [0.001, 0.1],
    "trees": 60,
    "reference": "grid",
    "bootstrap": 100,
    "permutations": 0,
    "sets": ["flipped"],
}


def content(opened: Study) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((opened.root / "reports" / "comparison.json").read_text())
    return read


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Study:
    opened, _ = study(tmp_path_factory.mktemp("here") / "study", World(settings=SETTINGS))
    compare(opened)
    return opened


def test_linear_svc_agrees_with_the_curve_at_every_point(here: Study) -> None:
    checks = content(here)["results"][0]["checks"]
    assert checks["grid_ap_gap"] <= 0.002
    assert checks["grid_fits_stopped"] == 0


def test_the_saved_forest_is_all_bundles_together(here: Study) -> None:
    """60 trees grow as 50 and 10; their votes count by their numbers."""
    name = "pooled-flipped-random-forest"
    row = next(row for row in content(here)["results"] if row["model"] == name)
    scorer = models.load(here, name)
    assert len(scorer.forest.estimators_) == scorer.forest.n_estimators == 60  # type: ignore[attr-defined]
    assert len({tree.random_state for tree in scorer.forest.estimators_}) == 60  # type: ignore[attr-defined]
    assert row["parameters"]["trees"] == 60


def test_on_executors_the_rows_are_the_same(
    here: Study, tmp_path: Path, spark: SparkSession
) -> None:
    pytest.importorskip("joblibspark", reason="pip install 'likewise[cluster]'")
    opened, _ = study(tmp_path / "study", World(settings={**SETTINGS, "backend": "spark"}))
    compare(opened)
    assert opened.read("comparison").equals(here.read("comparison"))
    assert content(opened)["results"][0]["checks"] == content(here)["results"][0]["checks"]


@pytest.mark.parametrize(
    ("setting", "value", "package"),
    [("backend", "spark", "joblibspark"), ("forest_engine", "intelex", "sklearnex")],
)
def test_a_missing_package_is_named_before_anything_is_fitted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str, value: str, package: str
) -> None:
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == package else find(name)
    )
    opened, _ = study(tmp_path, World(settings={**SETTINGS, setting: value}))
    with pytest.raises(UsageError, match=rf"\[compare\] {setting} = \"{value}\"") as caught:
        compare(opened)
    assert "pip install" in str(caught.value.hint)


def test_a_forest_of_intelex_votes_alike_when_it_is_saved_and_read(tmp_path: Path) -> None:
    sklearnex = pytest.importorskip("sklearnex", reason="pip install 'likewise[intelex]'")
    rng = np.random.default_rng(0)
    rows = create(tmp_path / "rows.npy", (600, 20))
    rows[:] = rng.normal(size=rows.shape)
    label = (rows[:, 0] + rng.normal(size=600) > 0).astype(np.int64)
    grown = forest.grow(rows, label, None, 30, jobs=2, seed=4, engine="intelex")
    alone = sklearnex.ensemble.RandomForestClassifier(30, n_jobs=1, random_state=4)
    alone.fit(np.array(rows), label)
    np.testing.assert_allclose(
        grown.predict_proba(rows), alone.predict_proba(np.array(rows)), atol=1e-6
    )
    assert len(grown.estimators_) == 30
    # Equal weights change nothing, and it has not handed the work back to scikit-learn.
    weighted = forest.grow(rows, label, np.ones(600), 30, jobs=2, seed=4, engine="intelex")
    np.testing.assert_array_equal(weighted.predict_proba(rows), grown.predict_proba(rows))
    plain = forest.grow(rows, label, None, 30, jobs=2, seed=4)
    assert [tree.tree_.node_count for tree in plain.estimators_] != [
        tree.tree_.node_count for tree in grown.estimators_
    ]


def test_intelex_refuses_weights_that_differ(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forest, "check_engine", lambda engine: None)
    settings = {**SETTINGS, "classifiers": ["random-forest"], "forest_engine": "intelex"}
    opened, planted = study(tmp_path, World(settings=settings))
    for row in planted.labels[::2]:
        row["weight"] = 2.0
    publish(opened, "labels", pa.Table.from_pylist(planted.labels, LABELS.schema))
    with pytest.raises(UsageError, match="knows no weights"):
        compare(opened)


def test_a_killed_run_loses_one_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grown: list[tuple[int, int]] = []
    grow = forest.grow_bundle
    stop_at = 5

    def counted(bundle: forest.Bundle, *, jobs: int) -> Any:
        grown.append((bundle.seed, bundle.trees))
        if len(grown) == stop_at:
            raise KeyboardInterrupt
        return grow(bundle, jobs=jobs)

    monkeypatch.setattr(forest, "grow_bundle", counted)
    settings = {**SETTINGS, "classifiers": ["random-forest"]}
    opened, _ = study(tmp_path, World(settings=settings))
    with pytest.raises(KeyboardInterrupt):
        compare(opened)
    compare(opened)
    # Five folds of 12 trees, and 60 as 50 and 10: seven bundles, one of them twice.
    assert sorted(trees for _, trees in set(grown)) == [10, 12, 12, 12, 12, 12, 50]
    assert len(grown) == 8


def test_the_bar_ends_where_it_said_it_would(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import contextlib

    from likewise.progress import Bar

    bars: list[Bar] = []
    titles: list[str] = []

    class Watched(Bar):
        def update(self, completed: int, *, total: Any = None, title: Any = None) -> None:
            titles.append(title or "")
            super().update(completed, total=total, title=title)

    @contextlib.contextmanager
    def watched(title: str, total: int | None = None) -> Any:
        bars.append(Watched(title, total, None))
        yield bars[-1]

    monkeypatch.setattr("training.comparison.fits.progress", watched)
    opened, _ = study(tmp_path, World(settings={**SETTINGS, "sets": ["normal", "flipped"]}))
    compare(opened)
    assert [bar.completed for bar in bars] == [bar.total for bar in bars]
    for words in ("linear-svc C=0.1", "linear-svc LinearSVC C=0.001 fold=3", "whole trees=50"):
        assert any(words in title for title in titles)


def test_workers_keep_the_order() -> None:
    calls = [{"a": np.full(3, k), "b": 2} for k in range(5)]
    found = Workers(2).separate(_product, calls)
    assert [int(point["product"][0]) for point in found] == [0, 2, 4, 6, 8]


KILLED = """
import os
from test_workers import _pids
from training.fitting.workers import Workers
found = Workers(2).separate(_pids, [{"seconds": 0.1}] * 4 + [{"seconds": 60}] * 4)
print(*{int(next(found)["pid"][0]) for _ in range(4)}, flush=True)
os.kill(os.getpid(), 9)
"""


@pytest.mark.slow
def test_the_processes_of_a_killed_run_end() -> None:
    root = Path(__file__).resolve().parents[2]
    environment = {**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{Path(__file__).parent}"}
    run = subprocess.Popen([sys.executable, "-c", KILLED], stdout=subprocess.PIPE, env=environment)
    assert run.stdout is not None
    with run.stdout as answer:
        pids = [int(pid) for pid in answer.readline().split()]
    assert run.wait(60) == -signal.SIGKILL and pids
    end = time.monotonic() + 30
    while any(map(_lives, pids)):
        assert time.monotonic() < end, "they outlive their parent"
        time.sleep(0.2)


def _lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _pids(seconds: float) -> dict[str, np.ndarray]:
    time.sleep(seconds)
    return {"pid": np.array([os.getpid()])}


def _product(a: np.ndarray, b: int) -> dict[str, np.ndarray]:
    return {"product": np.multiply(a, b)}


def test_filters_of_warnings_outlive_the_threads_of_a_forest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What a race between scikit-learn's threads leaves behind, planted: no filter at all."""
    grown = forest.RandomForestClassifier.fit

    def race(self: Any, *arguments: Any, **options: Any) -> Any:
        found = grown(self, *arguments, **options)
        warnings.resetwarnings()
        return found

    monkeypatch.setattr(forest.RandomForestClassifier, "fit", race)
    before = list(warnings.filters)
    rows = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    made = forest.grow(rows, np.arange(40) % 2, None, 4, jobs=2, seed=0)
    assert warnings.filters == before
    made.predict_proba(rows)  # without filters it would warn once a tree, which is an error here
