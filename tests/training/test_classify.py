"""Classifiers of k classes on planted features: what is found, promised, refused and counted."""

from __future__ import annotations

import hashlib
import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from likewise.cli import run
from likewise.config import render
from likewise.errors import DataError, MissingTableError, UsageError
from likewise.study import Study
from likewise.tables import LABELS, features_schema
from training import classify
from training.classification.cleaning import apply_doubts, undo_doubts
from training.classify import clean_labels
from training.compare import compare
from training.comparison.looks import look
from training.data.matrix import borrowed_matrix, load_labels
from training.models.saved import load_classes
from training.statistics.temperature import temperature

NAMES = ["cat", "dog", "newt"]

# A page costs some seconds; tests of the command line and of the page itself write it.
train, evaluate = partial(classify.train, page=False), partial(classify.evaluate, page=False)


def _tables(n: int, d: int, apart: float, flip: bool, seed: int) -> tuple[pa.Table, pa.Table]:
    rng = np.random.default_rng(seed)
    label = np.arange(n) % 3
    centre = rng.normal(size=(3, d)) * apart
    ids = [hashlib.sha256(str(i).encode()).hexdigest() for i in range(n)]
    part = np.array(["train", "train", "train", "validation", "test"], object)[
        np.arange(n) // 3 % 5
    ]
    rows: dict[str, Any] = dict.fromkeys(LABELS.schema.names, [None] * n)
    rows |= {"picture_id": ids, "platform": ["import"] * n, "host": ["h"] * n, "post_id": ids}
    rows |= {"media_index": [0] * n, "bucket": [0] * n, "author_id": ids, "group_key": ids}
    rows |= {"label": label, "class": [NAMES[c] for c in label], "weight": [1.0] * n}
    rows |= {"fold": np.arange(n) % 5, "split": part.tolist()}
    labels = pa.table([pa.array(rows[f.name], f.type) for f in LABELS.schema], schema=LABELS.schema)
    schema = features_schema(["pooled"])
    views = []
    for flipped in (False, True) if flip else (False,):
        x = (centre[label] + rng.normal(size=(n, d))).astype(np.float32)
        columns = {"picture_id": ids, "bucket": [0] * n, "backbone": ["efficientnet-lite0"] * n}
        columns |= {"maker": ["m"] * n, "flipped": [flipped] * n, "status": ["ok"] * n}
        columns |= {"error_class": [None] * n, "pooled": list(x)}
        views.append(pa.table([pa.array(columns[f.name], f.type) for f in schema], schema=schema))
    return labels, pa.concat_tables(views)


def _study(
    folder: Path,
    n: int = 300,
    apart: float = 1.0,
    *,
    flip: bool = True,
    unseen: tuple[str, ...] = (),
    seed: int = 0,
) -> Study:
    folder.mkdir()
    values = {
        "question": {"kind": "classes"},
        "compare": {"trees": 20, "c_values": [0.001, 0.1], "jobs": 1},
    }
    (folder / "likewise.toml").write_text(render(values), encoding="utf-8")
    study = Study.open(folder)
    labels, features = _tables(n, 16, apart, flip, seed)
    if unseen:
        split = [
            "test" if c in unseen else s
            for c, s in zip(labels["class"].to_pylist(), labels["split"].to_pylist(), strict=True)
        ]
        at = labels.schema.get_field_index("split")
        labels = labels.set_column(at, LABELS.schema.field("split"), pa.array(split))
    stage = study.begin("labels")
    stage.write(labels)
    stage.publish(question="classes", classes=NAMES, unseen=list(unseen))
    stage = study.begin("features")
    stage.write(features)
    stage.publish()
    return study


def test_planted_classes_are_told_apart_and_the_test_part_is_counted(tmp_path: Path) -> None:
    study = _study(tmp_path / "s")
    done = train(study)
    assert done.classes == tuple(NAMES)
    assert (done.pictures["train"], done.pictures["validation"]) == (180, 60)
    names = {row["classifier"] for row in done.validation}
    assert names == {"softmax", "linear-svc", "random-forest"}
    assert all(row["value"] > 0.9 for row in done.validation)
    assert not (study.root / "logs" / "held-out.jsonl").exists()  # training asks nothing of it
    first = evaluate(study, accuracy=0.9)
    assert first.text().startswith("first look at the test part")
    assert first.content["opened_before"] == 0
    top = first.content["top_1"]
    assert top["right"] / top["of"] > 0.95
    assert evaluate(study).text().startswith("1 earlier look at the test part")
    assert evaluate(study).content["opened_before"] == 1  # the same look once more


def test_random_features_reach_chance_and_promise_nothing(tmp_path: Path) -> None:
    study = _study(tmp_path / "s", apart=0.0)
    train(study)
    found = evaluate(study)
    top = found.content["top_1"]
    assert top["right"] / top["of"] < 0.55
    assert found.content["abstention"]["threshold"] is None
    assert "No threshold can promise" in found.content["sentences"][0]


def test_an_unseen_class_is_in_no_model_and_measured(tmp_path: Path) -> None:
    study = _study(tmp_path / "s", apart=2.0, unseen=("newt",))
    done = train(study, search=True)
    assert done.classes == ("cat", "dog")
    content = evaluate(study, accuracy=0.8).content
    assert content["open_world"]["classes"] == ("newt",)
    near = content["open_world"]["nearness"]
    assert near["low"] <= near["auroc"] <= near["high"]
    # Newts stand two standard deviations off in directions of their own.
    assert near["auroc"] > 0.9
    assert 0 <= content["open_world"]["probability"]["passing_at_95"] <= 1
    assert content["classes"] == ["cat", "dog"]
    labels = load_labels(study)
    assert {labels.classes[c] for c in labels.label[labels.hidden]} == {"newt"}
    assert {labels.classes[c] for c in labels.label[labels.test]} == {"cat", "dog"}
    known = {labels.classes[c] for c in labels.label[: labels.n_train + labels.n_validation]}
    assert known == {"cat", "dog"}


def test_a_softmax_layer_has_the_probabilities_of_scikit_learn(tmp_path: Path) -> None:
    from sklearn.linear_model import LogisticRegression

    study = _study(tmp_path / "s", unseen=("newt",), flip=False, apart=0.4)
    compare(study)
    model = load_classes(study, "pooled-normal-softmax")
    labels = load_labels(study)
    with borrowed_matrix(study, labels) as matrix:
        features = matrix.upright
    rows, columns = features[: labels.n_train], labels.label[: labels.n_train]
    scale = 1 / np.sqrt((rows.astype(float) ** 2).sum(1).mean())
    c = model.card["parameters"]["C"]
    theirs = LogisticRegression(C=c, max_iter=2000).fit(rows * scale, columns)
    warm = float(model.card["temperature"])
    decision = theirs.decision_function(features * scale) / warm
    ours = model.probabilities(model.scores(features))[:, 1]
    np.testing.assert_allclose(ours, 1 / (1 + np.exp(-decision)), atol=2e-3)


def test_temperature_is_the_minimum_and_keeps_the_order() -> None:
    rng = np.random.default_rng(0)
    label = rng.integers(0, 4, 2000)
    logits = rng.normal(size=(2000, 4)) + 2 * np.eye(4)[label]
    found = temperature(3 * logits, label)  # three times too sure

    def loss(t: float) -> float:
        return -float(log_softmax(3 * logits / t, axis=1)[np.arange(2000), label].mean())

    assert loss(found) <= minimize_scalar(loss, bounds=(0.1, 50), method="bounded").fun + 1e-4
    assert found == pytest.approx(3 * temperature(logits, label), rel=1e-3)
    # Three pictures, all right: smoothed targets say 2/3 = e / (e + 2) with e = exp(5 / T).
    sure = np.eye(3) * 5
    assert temperature(sure, np.array([0, 1, 2])) == pytest.approx(5 / np.log(4), rel=1e-4)
    assert temperature(np.empty((0, 3)), np.empty(0, int)) == 1.0


def test_a_study_about_likes_is_refused_with_what_to_set(study_folder: Path) -> None:
    study = Study.open(study_folder)
    with pytest.raises(MissingTableError):
        train(study)
    labels, _ = _tables(30, 4, 1.0, False, 0)
    stage = study.begin("labels")
    stage.write(labels)
    stage.publish(method="pooled")
    with pytest.raises(DataError, match="asks what is liked"):
        train(study)


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    study = _study(tmp_path / "s")
    with pytest.raises(MissingTableError, match="no saved model yet"):
        evaluate(study)
    train(study)
    with pytest.raises(UsageError, match="between 0 and 1"):
        evaluate(study, accuracy=1.0)
    with pytest.raises(MissingTableError, match="known: classes"):
        evaluate(study, model="other")
    card = study.root / "models" / "classes" / "card.json"
    said = json.loads(card.read_text(encoding="utf-8"))
    card.write_text(json.dumps({**said, "maker": "another"}), encoding="utf-8")
    with pytest.raises(DataError, match="other weights"):
        evaluate(study)
    parameters = study.root / "models" / "classes" / str(said["file"])
    parameters.write_bytes(parameters.read_bytes()[:-4] + b"0000")
    with pytest.raises(DataError, match="is not the file"):
        evaluate(study)


def test_a_torn_line_hides_no_later_look(study_folder: Path) -> None:
    study = Study.open(study_folder)
    look(study, "compare", "one", 3)
    with (study.folder("logs") / "held-out.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"at": "2026-')  # the power went here
    found = look(study, "evaluate", "two", 1)
    assert (found.runs, found.models) == (2, 4)
    assert look(study, "evaluate", "two", 1) == found


def test_models_are_compared_on_the_same_pictures(tmp_path: Path) -> None:
    study = _study(tmp_path / "s", apart=0.5)
    train(study, name="one")
    train(study, name="two")
    sentences = evaluate(study, model="one", against="two").content["sentences"]
    assert "stays open" in sentences[-1]


def test_the_command_prints_json_and_exit_codes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = _study(tmp_path / "s")
    folder = str(study.root)
    assert run(["classify", "evaluate", folder, "--json"]) == 6
    assert json.loads(capsys.readouterr().out)["code"] == 6
    assert run(["classify", "train", folder, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["classes"] == NAMES
    assert run(["classify", "evaluate", folder, "--accuracy", "2"]) == 2


def test_doubtful_labels_are_found_rejected_and_taken_back(tmp_path: Path) -> None:
    study = _study(tmp_path / "s", apart=2.0, flip=False)
    rows = study.read("labels").to_pylist()
    drawn = np.random.default_rng(3).choice(300, 45, replace=False)
    wrong = {rows[i]["picture_id"] for i in drawn}  # 15 % wrong labels, planted
    for row in rows:
        if row["picture_id"] in wrong:
            row["label"] = (row["label"] + 1) % 3
            row["class"] = NAMES[row["label"]]
    stage = study.begin("labels", params={"planted": True})
    stage.write(pa.Table.from_pylist(rows, schema=LABELS.schema))
    stage.publish(question="classes", classes=NAMES, unseen=[])
    found = clean_labels(study)
    tested = {r["picture_id"] for r in rows if r["split"] == "test"}
    assert not tested & set(found.picture_id.tolist())  # the test part stays untouched
    planted = [picture in wrong for picture in found.picture_id]
    assert np.mean(planted[: sum(planted)]) > 0.9
    assert (found.given != found.suggested)[:20].all()
    n = apply_doubts(study, found, 0.1)
    reviews = study.read("reviews").to_pylist()
    assert (n, len(reviews)) == (24, 24)
    assert {row["reviewer"] for row in reviews} == {"clean-labels"}
    assert {row["picture_id"] for row in reviews} == set(found.picture_id[:24].tolist())
    assert undo_doubts(study) == 24
    assert study.read("reviews").num_rows == 0
    assert undo_doubts(study) == 0


@pytest.mark.slow
def test_files_are_read_by_the_network_that_the_model_learned_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The table of features is the oracle: the same files must get the same probabilities."""
    import cv2

    import likewise

    for i in range(40):
        path = tmp_path / "p" / NAMES[i % 2] / f"{i}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        coarse = np.random.default_rng(i).integers(0, 200, (9, 9, 3), dtype=np.uint8)
        coarse[..., i % 2] //= 2
        cv2.imwrite(str(path), cv2.resize(coarse, (300, 280), interpolation=cv2.INTER_CUBIC))
    folder = tmp_path / "s"
    folder.mkdir()
    values: dict[str, Any] = {
        "question": {"kind": "classes"},
        "compare": {"classifiers": ["softmax"], "c_values": [1.0], "jobs": 1},
        "extract": {"backbone": "efficientnet-lite0", "random_weights": False},
    }
    (folder / "likewise.toml").write_text(render(values), encoding="utf-8")
    study = Study.open(folder)
    likewise.import_(study, tmp_path / "p")
    for stage in (likewise.clean, likewise.download, likewise.label, likewise.extract):
        stage(study)
    train(study)
    labels, model = load_labels(study), load_classes(study, "classes")
    with borrowed_matrix(study, labels) as matrix:
        share = model.probabilities(model.scores(matrix.upright))
    by_picture = dict(zip(labels.picture_id.tolist(), share[:, 0].tolist(), strict=True))
    assert np.ptp(share[:, 0]) > 0.1  # else anything would be equal
    found, _ = classify.predict(study, [tmp_path / "p"])
    assert len(found) == 40
    for one in found:
        own = hashlib.sha256(Path(one.file).read_bytes()).hexdigest()
        assert one.shares["cat"] == pytest.approx(by_picture[own], abs=1e-3)
    values["extract"]["random_weights"] = True
    (folder / "likewise.toml").write_text(render(values), encoding="utf-8")
    likewise.extract(Study.open(folder))
    capsys.readouterr()
    for verb in (["evaluate", str(folder)], ["predict", str(folder), str(tmp_path / "p")]):
        assert run(["classify", *verb]) == 2
        said = capsys.readouterr().err
        assert "features of other weights" in said and "likewise classify train" in said
