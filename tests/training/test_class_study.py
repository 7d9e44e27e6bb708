"""A study about classes from labels to its report: planted classes, and numbers by hand."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
from fake_study import BUCKETS, make
from scipy.special import softmax
from scipy.stats import binomtest
from sklearn.metrics import confusion_matrix

from likewise.cli import run
from likewise.errors import DataError, UsageError
from likewise.study import Study
from likewise.tables import LABELS
from training.classifiers.binary_tree import ways
from training.compare import compare, comparison_text
from training.comparison import class_results
from training.comparison.class_words import confused, promised
from training.comparison.crossing import apart
from training.data.matrix import borrowed_matrix, load_labels
from training.explain import explain
from training.galleries import class_gallery
from training.models.classes import tree_scores
from training.models.saved import class_names, load_classes
from training.rank import rank
from training.report import report
from training.report.class_page import explain_class
from training.score import score

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

NAMES = ["dark", "grey", "<b>light</b>"]
COMPARE = {
    "classifiers": ["softmax", "linear-svc", "random-forest", "binary-tree"],
    "trees": 20,
    "c_values": [0.01, 1.0],
    "jobs": 1,
}


def study_of(folder: Path, compared: dict[str, Any] = COMPARE, **question: Any) -> Study:
    """Pictures of three classes by their brightness, which is feature 0."""
    config = {
        "question": {"kind": "classes", "split": "3:1", **question},
        "compare": compared,
        "study": {"name": "Three lights"},
        "download": {"buckets": BUCKETS},
    }
    study = make(folder, n_authors=60, per_author=3, config=config, faces=False)
    light = dict(
        zip(*(study.read("features", ["picture_id", "pooled"])[c].to_pylist() for c in
              ("picture_id", "pooled")), strict=True)
    )  # fmt: skip
    rows = study.read("labels").to_pylist()
    edges = np.quantile([v[0] for v in light.values()], [1 / 3, 2 / 3])
    authors = sorted({row["author_id"] for row in rows})
    for row in rows:
        number = authors.index(row["author_id"])
        row["label"] = int(np.searchsorted(edges, light[row["picture_id"]][0]))
        row |= {"class": NAMES[row["label"]], "group_key": row["author_id"], "fold": number % 5}
        row["split"] = "test" if number % 4 == 0 else "train"
        if question.get("split", "").count("/") == 2 and number % 4 == 1:
            row["split"] = "validation"
    stage = study.begin("labels", params={"classes": True, **question}, redo=True)
    stage.write(pa.Table.from_pylist(rows, LABELS.schema))
    stage.publish(question="classes", classes=NAMES, unseen=[], group="author")
    return study


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Study:
    study = study_of(tmp_path_factory.mktemp("classes") / "study", split="80/10/10")
    compare(study)
    rank(study)
    return study


def test_every_number_of_the_comparison_by_hand(compared: Study) -> None:
    found = class_results.load(compared)
    assert found is not None
    labels = load_labels(compared)
    truth = labels.label[labels.test]
    assert [len(part.per_class) for part in found.data.parts] == [3, 3, 3]
    assert sum(found.data.parts[2].per_class) == len(truth)
    largest = np.bincount(labels.label[: labels.n_train]).argmax()
    assert (found.majority.right, found.majority.of) == ((truth == largest).sum(), len(truth))
    assert found.chance == pytest.approx(1 / 3)
    models = {row.classifier: row for row in found.results}
    assert set(models) == set(COMPARE["classifiers"])  # type: ignore[call-overload]
    for row in found.results:
        model = load_classes(compared, row.model)
        with borrowed_matrix(compared, labels) as matrix:
            views = model.scores(matrix.test).reshape(matrix.views, -1, 3).mean(axis=0)
        own = views[labels.test.start - labels.n_train : labels.test.stop - labels.n_train]
        said = own.argmax(axis=1)
        assert row.top_1.right == (said == truth).sum()
        np.testing.assert_array_equal(row.confusion, confusion_matrix(truth, said, labels=range(3)))
        share = softmax(own / row.temperature, axis=1)
        loss = -np.log(share[np.arange(len(truth)), truth]).mean()
        assert row.cross_entropy == pytest.approx(loss, rel=1e-4)
        assert row.top_1.low < row.top_1.value <= row.top_1.high
    assert models["softmax"].top_1.value > 0.5  # brightness decides, with noise
    best = min(found.results, key=lambda row: row.held_cross_entropy)
    assert found.best == best.model == class_names(compared)[0]


def test_claims_stand_where_their_tests_do(compared: Study) -> None:
    found = class_results.load(compared)
    assert found is not None
    majority = next(one for one in found.against if one.other == "majority").paired
    a, b = majority.first_only, majority.second_only
    assert majority.p == pytest.approx(binomtest(a, a + b).pvalue)
    assert majority.better() == "first"
    assert "more than always saying" in found.answer[0]
    text = comparison_text(compared)
    assert text.index("guessing") < text.index("pooled-flipped-softmax")
    assert "stays open" in text  # of these few pictures nobody can tell four classifiers apart
    assert "No threshold can promise 99.0%" in text


def test_pictures_are_ranked_by_their_own_class(compared: Study) -> None:
    rows = compared.read("scores").to_pylist()
    classes = {r["picture_id"]: r["class"] for r in compared.read("labels").to_pylist()}
    assert len(rows) == len(classes)
    for row in rows:
        right = row["said"] == classes[row["picture_id"]]
        assert right == (row["score"] > 0)
        if right:
            assert row["certainty"] == pytest.approx(row["probability"])
        else:
            assert row["certainty"] > row["probability"]
    assert [r["rank"] for r in rows] == list(range(1, len(rows) + 1))
    score = {row["picture_id"]: row["score"] for row in rows}
    found = class_gallery.load(compared)
    assert found.split == "test"
    wrong = [r for r in rows if r["said"] != classes[r["picture_id"]]]
    for pair in found.confused:
        assert pair.picks and all(one.true == pair.true for one in pair.picks)
        assert pair.count <= len(wrong)
    for one in found.classes:
        surest = [score[pick.picture_id] for pick in one.best]
        assert surest == sorted(surest, reverse=True)
        assert not {p.picture_id for p in one.best} & {p.picture_id for p in one.worst}


def test_the_report_shows_the_answer_and_escapes_names(compared: Study) -> None:
    page = report(compared).read_text(encoding="utf-8")
    found = class_results.load(compared)
    assert found is not None
    assert "How well are classes told apart?" in page
    assert "&lt;b&gt;light&lt;/b&gt;" in page and "<b>light</b>" not in page
    assert 'href="javascript' not in page and "<img src=x" not in page
    assert f"{found.best_result.top_1.right} of {found.best_result.top_1.of}" in page
    for anchor in ("comparison", "confusion", "difficult", "galleries", "abstention", "labels"):
        assert f'<section id="{anchor}"' in page
    if confused(found.best_result, found.classes):
        assert "taken for" in page


def test_one_class_is_explained_on_a_page(compared: Study) -> None:
    path = explain_class(compared, "grey")
    assert path.name == "class-grey.html"
    assert "What speaks for grey" in path.read_text(encoding="utf-8")
    with pytest.raises(UsageError, match="no class 'gray'") as caught:
        explain_class(compared, "gray")
    assert "grey" in str(caught.value.hint)
    with pytest.raises(UsageError, match="name the class"):
        explain(compared)
    with pytest.raises(UsageError, match="not what is liked"):
        score(compared, b"a picture")
    assert run(["score", str(compared.root), "x.jpg", "--author", "me"]) == 2


def test_without_a_validation_part_folds_choose(tmp_path: Path) -> None:
    study = study_of(tmp_path / "study")
    compare(study)
    found = class_results.load(study)
    assert found is not None
    assert found.data.held_by == "cross-validation"
    assert "has no such part" in promised(found.abstention)  # not "there are 0 in all"
    held = {row.held.of for row in found.results}
    assert held == {found.data.parts[0].pictures}  # every training picture, out of its fold
    assert all(row.held.value < 1 for row in found.results)
    assert not list((study.root / ".unfinished").glob("compare-*"))


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("split", ["80/10/10", "3:1"])
def test_svm_with_sgd_tells_each_class_from_the_rest(
    tmp_path: Path, spark: SparkSession, split: str
) -> None:
    """PySpark's own SVMWithSGD on LabeledPoint objects, a class at a time, is the oracle."""
    from pyspark.mllib.classification import SVMWithSGD
    from pyspark.mllib.regression import LabeledPoint

    settings = {"classifiers": ["svm-with-sgd"], "sets": ["normal"], "jobs": 1}
    settings |= {"reg_params": [0.001, 0.1], "step_sizes": [1.0], "sgd_iterations": 8}
    study = study_of(tmp_path / "s", settings, split=split)
    assert run(["compare", str(study.root)]) == 0
    found = class_results.load(study)
    assert found is not None
    [row] = found.results
    assert {p.parameters["regParam"] for p in row.curve} == {0.001, 0.1}
    assert row.checks["weight_gap"] < 1e-3
    labels = apart(study, load_labels(study))
    with borrowed_matrix(study, labels) as matrix:
        rows, rest = matrix.train(1).astype(np.float64), np.array(matrix.test)
        every = matrix.all_train.astype(np.float64)  # both views say what a feature's scale is
        mean, deviation = every.mean(axis=0), every.std(axis=0)
        held = matrix.mean_views(load_classes(study, row.model).scores(rest))
        scale = deviation * np.sqrt(rows.shape[1] / 10)
        by_hand = []
        for k in range(3):
            points = [
                LabeledPoint(float(y == k), (x - mean) / scale)
                for x, y in zip(rows, labels.label, strict=False)
            ]
            reg = float(row.parameters["regParam"])
            rdd = spark.sparkContext.parallelize(points, 2)
            weight = SVMWithSGD.train(rdd, 8, 1.0, reg).weights.toArray()
            by_hand.append(matrix.mean_views((rest - mean) / scale @ weight))
    np.testing.assert_allclose(held, np.stack(by_hand, axis=1), atol=2e-3)
    assert not list((study.root / ".unfinished").glob("compare-*"))


@pytest.mark.slow
def test_of_very_many_pictures_a_stated_sample_is_compared(tmp_path: Path) -> None:
    settings = {**COMPARE, "classifiers": ["softmax"], "sets": ["normal"]}
    whole = study_of(tmp_path / "whole", settings)
    n = whole.require("labels").rows
    study = study_of(tmp_path / "s", {**settings, "most_pictures": n // 2})
    assert run(["compare", str(study.root)]) == 0
    found, labels = class_results.load(study), apart(study, load_labels(study))
    assert found is not None
    reason = f"outside the sample of {n // 2:,} pictures"
    assert labels.dropped[reason] == pytest.approx(n / 2, abs=4)
    assert sum(part.pictures for part in found.data.parts) == len(labels.label)
    assert any(reason in note for note in found.notes)
    assert study.require("comparison").funnel["dropped"][reason] == labels.dropped[reason]
    group = {r["picture_id"]: r["group_key"] for r in study.read("labels").to_pylist()}
    inside = [group[picture] for picture in load_labels(study).picture_id]
    assert all(inside.count(key) == 3 for key in set(inside)), "groups are whole"
    assert len(load_labels(study, whole=True).label) == n


def test_a_classifier_of_another_question_is_refused(tmp_path: Path) -> None:
    study = make(tmp_path / "s", config={"compare": {"classifiers": ["softmax"]}})
    with pytest.raises(UsageError, match="softmax, for studies about classes"):
        compare(study)


def test_a_class_without_training_pictures_is_named(tmp_path: Path) -> None:
    study = study_of(tmp_path / "s")
    rows = study.read("labels").to_pylist()
    for row in rows:
        row["split"] = "test" if row["class"] == "grey" else row["split"]
    stage = study.begin("labels", params={"none": True}, redo=True)
    stage.write(pa.Table.from_pylist(rows, LABELS.schema))
    stage.publish(question="classes", classes=NAMES, unseen=[])
    with pytest.raises(DataError, match="no training picture with features is of class grey"):
        compare(study)
    assert run(["compare", str(study.root), "--json"]) == 2


def test_a_tree_is_the_product_of_its_answers() -> None:
    # Two animals lie close, two things lie close: the root divides animals from things.
    means = np.array([[0.0, 0.0], [0.1, 0.0], [5.0, 5.0], [5.2, 5.0]])
    path = ways(["cat", "dog", "cup", "car"], means)
    assert path.shape == (3, 4)
    [root] = [turn for turn in path if (turn != 0).all()]
    assert root[0] == root[1] != root[2] == root[3]
    margin = np.array([[0.3, -1.2, 2.0]])
    by_hand = []
    for leaf in range(4):
        chance = 1.0
        for node, turn in enumerate(path[:, leaf]):
            if turn:
                chance *= 1 / (1 + np.exp(-turn * margin[0, node]))
        by_hand.append(chance)
    np.testing.assert_allclose(np.exp(tree_scores(margin, path))[0], by_hand)
    assert sum(by_hand) == pytest.approx(1)
    # A taxonomy in the names comes before likeness.
    named = ways(["a/cat", "b/dog", "a/cup", "b/car"], means)
    [root] = [turn for turn in named if (turn != 0).all()]
    assert root[0] == root[2] != root[1] == root[3]
