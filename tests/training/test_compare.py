"""The whole comparison on made-up studies, with and without Spark, and on data it must refuse."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
from planted import World, features_table, plant, publish, study
from sklearn.metrics import average_precision_score

from likewise.errors import DataError, MissingTableError
from likewise.study import Study
from likewise.tables import COMPARISON, LABELS, check_schema
from training.compare import compare, comparison_text
from training.data.matrix import load_labels, load_matrix
from training.models import saved as models

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

LINEAR = {
    "classifiers": ["linear-svc"],
    "c_values": [0.001, 0.1],
    "bootstrap": 100,
    "permutations": 50,
}


def content(opened: Study) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((opened.root / "reports" / "comparison.json").read_text())
    return read


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, spark: SparkSession) -> Study:
    """All three classifiers on both sets of two layers."""
    settings = {"trees": 20, "bootstrap": 200, "permutations": 99, "sgd_iterations": 5}
    world = World(layers=("fc6", "fc7"), settings={**settings, "c_values": [0.001, 0.1, 10.0]})
    opened, _ = study(tmp_path_factory.mktemp("whole") / "study", world)
    compare(opened)
    return opened


def test_every_layer_set_and_classifier_is_there(whole: Study) -> None:
    found = {(r["layer"], r["set"], r["classifier"]) for r in content(whole)["results"]}
    assert found == {
        (layer, name, classifier)
        for layer in ("fc6", "fc7")
        for name in ("normal", "flipped")
        for classifier in ("linear-svc", "random-forest", "svm-with-sgd")
    }


def test_the_table_keeps_its_schema_and_its_keys(whole: Study) -> None:
    table = whole.read("comparison")
    check_schema(table.schema, COMPARISON.schema, "comparison")
    keys = [tuple(row[key] for key in COMPARISON.key) for row in table.to_pylist()]
    assert len(keys) == len(set(keys))


def test_saved_models_give_the_published_scores(whole: Study, tmp_path: Path) -> None:
    """Loaded from disk, on features read anew, both views averaged: the same numbers."""
    labels = load_labels(whole)
    test_label = labels.label[labels.n_train :]
    matrices = {
        layer: load_matrix(whole, layer, labels, tmp_path / layer) for layer in ("fc6", "fc7")
    }
    results = content(whole)["results"]
    assert len(models.names(whole)) == len(results)
    for row in results:
        scorer, matrix = models.load(whole, row["model"]), matrices[row["layer"]]
        scores = matrix.mean_views(scorer.score(matrix.test))
        metrics = row["metrics"]
        expected = average_precision_score(test_label, scores)
        assert metrics["average_precision"]["value"] == pytest.approx(expected, abs=1e-6)
        brier = np.mean((scorer.probability(scores) - test_label) ** 2)
        assert metrics["brier"]["value"] == pytest.approx(brier, abs=1e-6)


def test_intervals_hold_their_values_and_the_signal_is_found(whole: Study) -> None:
    for row in content(whole)["results"]:
        for score in row["metrics"].values():
            assert score["low"] <= score["value"] <= score["high"]
        if row["classifier"] != "random-forest":
            assert row["against"]["chance"]["low"] > 0
            assert row["p_value"] <= 0.05
            assert row["against"]["chance"]["verdict"] == "above"


def test_the_programs_agree_where_two_made_a_number(whole: Study) -> None:
    for row in content(whole)["results"]:
        if row["classifier"] == "linear-svc":
            assert abs(row["checks"]["objective_gap"]) < 1e-3
            assert row["checks"]["test_ap_gap"] <= 0.002
        if row["classifier"] == "svm-with-sgd":
            assert row["checks"]["weight_gap"] < 1e-3


def test_figures_are_there_as_png_and_svg(whole: Study) -> None:
    names = {figure["name"] for figure in content(whole)["figures"]}
    assert {"c-curve-fc6", "pr-curve-fc7", "learning-curve", "confusion"} <= names
    for name in names:
        png = (whole.root / "reports" / "figures" / f"{name}.png").read_bytes()
        assert png.startswith(b"\x89PNG")
        svg = (whole.root / "reports" / "figures" / f"{name}.svg").read_text(encoding="utf-8")
        assert "<svg" in svg
        if name.startswith("pr-curve"):
            assert "AP 0." in svg


def test_best_is_the_best_of_cross_validation(whole: Study) -> None:
    results = content(whole)["results"]
    best = max(results, key=lambda row: row["cv_average_precision"])
    assert content(whole)["best"] == models.best(whole)
    chosen = next(r for r in results if r["model"] == models.best(whole))
    assert chosen["cv_average_precision"] == best["cv_average_precision"]


def test_the_text_holds_the_two_tables_of_the_paper(whole: Study) -> None:
    text = comparison_text(whole)
    for words in ("fc6: average precision", "fc7: average precision", "flipped + normal"):
        assert words in text
    assert "author-history" in text


def test_nothing_is_left_unfinished_and_a_second_run_does_nothing(whole: Study) -> None:
    assert not list((whole.root / ".unfinished").glob("*"))
    before = whole.require("comparison")
    assert compare(whole) == before


def test_other_parameters_make_another_version(tmp_path: Path) -> None:
    opened, _ = study(tmp_path, World(settings=LINEAR))
    compare(opened)
    (tmp_path / "likewise.toml").write_text(
        (tmp_path / "likewise.toml").read_text().replace("seed = 1", "seed = 2")
    )
    before = opened.require("comparison")
    after = compare(tmp_path)
    assert after.rows == before.rows and after.made != before.made


@pytest.mark.slow
def test_models_of_an_older_comparison_go(tmp_path: Path) -> None:
    opened, _ = study(tmp_path, World(settings=LINEAR))
    compare(opened)
    assert len(models.names(opened)) == 2
    text = (tmp_path / "likewise.toml").read_text()
    (tmp_path / "likewise.toml").write_text(
        text.replace("[compare]\n", '[compare]\nsets = ["normal"]\n', 1)
    )
    compare(tmp_path, redo=True)
    assert models.names(tmp_path) == ["pooled-normal-linear-svc"]


@pytest.mark.slow
def test_the_same_seed_gives_the_same_rows(tmp_path: Path) -> None:
    settings = {**LINEAR, "classifiers": ["linear-svc", "random-forest"], "trees": 20}
    tables = []
    for name, jobs in (("a", 1), ("b", 2)):
        opened, _ = study(tmp_path / name, World(settings={**settings, "jobs": jobs}))
        compare(opened)
        tables.append(opened.read("comparison"))
    assert tables[0].equals(tables[1])


def test_an_interrupted_run_goes_on_where_it_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from training.classifiers import linear

    steps: list[float] = []
    stop_at = 0
    step = linear.solver.Path.step

    def counted(self: Any, c: float) -> Any:
        steps.append(c)
        if len(steps) == stop_at:
            raise KeyboardInterrupt
        return step(self, c)

    monkeypatch.setattr(linear.solver.Path, "step", counted)
    straight, _ = study(tmp_path / "straight", World(settings=LINEAR))
    compare(straight)
    needed = len(steps)
    steps.clear()
    opened, _ = study(tmp_path / "stopped", World(settings=LINEAR))
    stop_at = needed
    with pytest.raises(KeyboardInterrupt):
        compare(opened)
    assert opened.manifest("comparison") is None
    assert not (opened.root / "reports" / "comparison.json").exists()
    compare(opened)
    # The last grid point was stopped; nothing but that one is computed again.
    assert len(steps) == needed + 1
    for row, other in zip(content(opened)["results"], content(straight)["results"], strict=True):
        ap = row["metrics"]["average_precision"]["value"]
        assert ap == pytest.approx(other["metrics"]["average_precision"]["value"], abs=1e-3)


def test_a_damaged_grid_point_is_computed_again(tmp_path: Path) -> None:
    from training.fitting.grid import GridStore

    store = GridStore(tmp_path / "grid")
    store.point("C=1", lambda: {"x": np.arange(3)})
    store.path("C=1.npz").write_bytes(b"PK\x03\x04 torn")
    assert store.point("C=1", lambda: {"x": np.arange(4)})["x"].size == 4
    assert store.point("C=1", lambda: pytest.fail("computed twice"))["x"].size == 4


Change = Callable[[list[dict[str, Any]]], None]


def changed(tmp_path: Path, change: Change, world: World | None = None) -> Study:
    """A study whose label rows have been changed."""
    world = world or World(authors=24, settings=LINEAR)
    opened, planted = study(tmp_path, world)
    change(planted.labels)
    publish(opened, "labels", pa.Table.from_pylist(planted.labels, LABELS.schema))
    return opened


def set_all(**values: Any) -> Change:
    def change(labels: list[dict[str, Any]]) -> None:
        for row in labels:
            row.update(values)

    return change


def one_fold_good(labels: list[dict[str, Any]]) -> None:
    for row in labels:
        if row["split"] == "train":
            row["label"] = int(row["fold"] == 0)


def first_author_in_both(labels: list[dict[str, Any]]) -> None:
    for row, split in zip(labels[:2], ("train", "test"), strict=True):
        row["split"] = split


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (set_all(label=1), "all of one class"),
        (set_all(fold=0), "expected at least 2"),
        (set_all(split="train"), "held-out pictures are all of one class"),
        (set_all(split="test"), "training pictures are all of one class"),
        (one_fold_good, "without fold 0"),
        (first_author_in_both, "training and in the test split"),
        (lambda labels: labels.clear(), "empty"),
        (set_all(picture_id="0" * 63 + "x"), "no labelled picture has features"),
    ],
)
def test_labels_that_cannot_carry_a_comparison(
    tmp_path: Path, change: Change, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        compare(changed(tmp_path, change))


def refeatured(tmp_path: Path, change: Callable[[pa.Table], pa.Table]) -> Study:
    world = World(authors=24, settings=LINEAR)
    opened, planted = study(tmp_path, world)
    publish(opened, "features", change(features_table(world, planted)))
    return opened


def spoiled(value: float) -> Callable[[pa.Table], pa.Table]:
    def change(table: pa.Table) -> pa.Table:
        rows = table.to_pylist()
        rows[3]["pooled"][0] = value
        return pa.Table.from_pylist(rows, table.schema)

    return change


def mixed(table: pa.Table) -> pa.Table:
    rows = table.to_pylist()
    rows[3]["backbone"] = "alexnet"
    return pa.Table.from_pylist(rows, table.schema)


def shortened(table: pa.Table) -> pa.Table:
    rows = table.to_pylist()
    rows[3]["pooled"] = rows[3]["pooled"][:5]
    return pa.Table.from_pylist(rows, table.schema)


def levelled(table: pa.Table) -> pa.Table:
    rows = table.to_pylist()
    for row in rows:
        row["pooled"] = [1.0] * 24
    return pa.Table.from_pylist(rows, table.schema)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (spoiled(float("nan")), "1 rows hold NaN"),
        (spoiled(float("inf")), "NaN or infinite"),
        (mixed, "alexnet, tiny"),
        (shortened, "unequal width"),
        (levelled, "the same values"),
    ],
)
def test_features_that_cannot_carry_a_comparison(
    tmp_path: Path, change: Callable[[pa.Table], pa.Table], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        compare(refeatured(tmp_path, change))


def test_failed_features_are_counted(tmp_path: Path) -> None:
    def fail(table: pa.Table) -> pa.Table:
        rows = table.to_pylist()
        ids = sorted({row["picture_id"] for row in rows})
        for row in rows:
            if row["picture_id"] == ids[0] and row["flipped"]:
                row.update(status="failed", pooled=None)
        return pa.Table.from_pylist([r for r in rows if r["picture_id"] != ids[1]], table.schema)

    manifest = compare(refeatured(tmp_path, fail))
    assert manifest.funnel is not None
    assert manifest.funnel["dropped"] == {"feature extraction failed": 1, "no features": 1}


def test_without_mirror_images_one_set_is_left_out_and_said(tmp_path: Path) -> None:
    opened, _ = study(tmp_path, World(flip=False, settings=LINEAR))
    compare(opened)
    assert {row["set"] for row in content(opened)["results"]} == {"normal"}
    assert any("mirror" in words for words in content(opened)["notes"])


def test_fewer_folds_than_asked_are_said(tmp_path: Path) -> None:
    opened, _ = study(tmp_path, World(folds=3, settings=LINEAR))
    compare(opened)
    assert "only 3 folds hold training authors" in content(opened)["notes"]


def test_few_held_out_authors_are_said_and_one_is_refused(tmp_path: Path) -> None:
    """Of one author every resample is the same: the interval would have no width."""
    opened, _ = study(tmp_path / "few", World(authors=24, settings=LINEAR))
    compare(opened)
    assert any(words.startswith("only 6 held-out authors") for words in content(opened)["notes"])
    opened, _ = study(tmp_path / "one", World(authors=4, pictures=8, settings=LINEAR))
    with pytest.raises(DataError, match="all of one author"):
        compare(opened)


def test_an_unknown_layer_is_named(tmp_path: Path) -> None:
    opened, _ = study(tmp_path, World(settings={**LINEAR, "layers": ["fc9"]}))
    with pytest.raises(DataError, match=r"fc9.*pooled"):
        compare(opened)


def test_ten_rows_end_in_a_result_or_a_clear_error(tmp_path: Path) -> None:
    for seed in range(4):
        world = World(authors=10, pictures=1, seed=seed, settings=LINEAR)
        opened, _ = study(tmp_path / str(seed), world)
        try:
            compare(opened)
        except DataError:
            continue
        for row in content(opened)["results"]:
            assert 0 <= row["metrics"]["average_precision"]["value"] <= 1


def test_constant_columns_do_no_harm(tmp_path: Path) -> None:
    def widened(table: pa.Table) -> pa.Table:
        rows = table.to_pylist()
        for row in rows:
            row["pooled"] = [*row["pooled"], 0.0, 3.0]
        return pa.Table.from_pylist(rows, table.schema)

    compare(refeatured(tmp_path, widened))


def test_missing_tables_name_the_stage(study_folder: Path) -> None:
    with pytest.raises(MissingTableError, match="labels"):
        compare(study_folder)


def test_random_ids_may_come_in_any_order(tmp_path: Path) -> None:
    """Rows of features are matched by picture, whatever the order of the parts."""
    world = World(authors=24)
    opened, _ = study(tmp_path, world)
    planted = plant(world)
    labels = load_labels(opened)
    matrix = load_matrix(opened, "pooled", labels, tmp_path / "rows.npy")
    rows = {row["picture_id"]: i for i, row in enumerate(planted.labels)}
    expected = planted.features["pooled"][[rows[name] for name in labels.picture_id]]
    n_train, n = labels.n_train, len(labels.label)
    np.testing.assert_array_equal(matrix.train(1), expected[:n_train])
    np.testing.assert_array_equal(matrix.test[: n - n_train], expected[n_train:])
