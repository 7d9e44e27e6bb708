"""From the book to the next model: the table ``reviews``, and who learns from it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.svm import LinearSVC

from collectors.crawling.reviews import note_address
from likewise.cli import run
from likewise.config import render
from likewise.errors import DataError, UsageError
from likewise.study import Study
from likewise.tables import LABELS, features_schema
from training.classification.cleaning import REVIEWER
from training.classify import train
from training.compare import compare
from training.comparison import results
from training.comparison.looks import looks
from training.data.matrix import borrowed_matrix, load_labels, load_matrix
from training.data.reviews import reviewed_likes, reviews_table
from training.models.saved import load_classes
from training.tuning.samples import read_samples
from web.reviews.book import Book, Said, open_book
from web.reviews.publishing import publish

NAMES = ["cat", "dog"]


COMPARE = {
    "classifiers": ["linear-svc"],
    "sets": ["normal"],
    "c_values": [0.001, 0.1],
    "permutations": 200,
    "jobs": 1,
}


def study_of(folder: Path, kind: str, n: int = 400, wrong: float = 0.3) -> tuple[Study, list[str]]:
    """Two classes that two Gaussians draw, and the ids of training pictures with a wrong label."""
    folder.mkdir(parents=True)
    (folder / "likewise.toml").write_text(
        render({"question": {"kind": kind}, "compare": COMPARE}), encoding="utf-8"
    )
    study = Study.open(folder)
    random = np.random.default_rng(5)
    truth = np.arange(n) % 2
    x = (random.normal(size=(n, 6)) + np.where(truth[:, None] == 1, 0.8, -0.8)).astype(np.float32)
    part = np.array(["train", "train", "validation", "test", "test"], object)[np.arange(n) // 2 % 5]
    # One class is mislabelled more often than the other: noise that moves the boundary.
    flip = (random.random(n) < wrong * 2 * truth) & np.isin(part, ["train", "validation"])
    label = np.where(flip, 1 - truth, truth)
    if kind == "likes":
        part[part == "validation"] = "train"
    ids = [hashlib.sha256(str(i).encode()).hexdigest() for i in range(n)]
    rows = {name: [None] * n for name in LABELS.schema.names}
    rows |= {"picture_id": ids, "platform": ["import"] * n, "host": ["h"] * n, "post_id": ids}
    rows |= {"media_index": [0] * n, "bucket": [0] * n, "author_id": ids, "group_key": ids}
    rows |= {"label": label.tolist(), "weight": [1.0] * n, "split": part.tolist()}
    rows |= {"class": [NAMES[c] for c in label], "fold": (np.arange(n) % 5).tolist()}
    stage = study.begin("labels", params={})
    stage.write(
        pa.table([pa.array(rows[f.name], f.type) for f in LABELS.schema], schema=LABELS.schema)
    )
    stage.publish(question=kind, classes=NAMES, unseen=[])
    schema = features_schema(["pooled"])
    columns = {"picture_id": ids, "bucket": [0] * n, "backbone": ["efficientnet-lite0"] * n}
    columns |= {"maker": ["m"] * n, "flipped": [False] * n, "status": ["ok"] * n}
    columns |= {"error_class": [None] * n, "pooled": x.tolist()}
    stage = study.begin("features", params={})
    stage.write(pa.table([pa.array(columns[f.name], f.type) for f in schema], schema=schema))
    stage.publish(backbone="efficientnet-lite0", layers=["pooled"])
    return study, [ids[i] for i in np.flatnonzero(flip)]


@pytest.fixture
def book(tmp_path: Path) -> Book:
    return open_book(tmp_path / "reviews.sqlite")


def corrected(study: Study, picture_ids: list[str], words: list[str]) -> list[Said]:
    rows = study.read("labels", ["picture_id", "label"]).to_pylist()
    label = {row["picture_id"]: row["label"] for row in rows}
    return [
        Said(p, "correct", old_label=words[label[p]], new_label=words[1 - label[p]])
        for p in picture_ids
    ]


def test_what_stands_is_published_once(tmp_path: Path, book: Book) -> None:
    study, wrong = study_of(tmp_path / "s", "classes")
    kept = {"picture_id": wrong[0], "reviewer": REVIEWER, "reviewed_at": 0, "old_label": "cat"}
    stage = study.begin("reviews", params={"what": "a rule"})
    old = pa.table({name: pa.array([value]) for name, value in kept.items()})  # an older file
    stage.write(reviews_like(old))
    stage.publish(rows=1)
    for said in corrected(study, wrong[:3], NAMES):
        book.review("ann", said)
    book.review("ann", Said(wrong[3], "reject", old_label="cat", reason="a drawing"))
    book.review("ann", Said(wrong[4], "accept", old_label="cat", score=0.5, model="m"))
    book.review("ann", Said(wrong[5], "skip"))
    book.review("ann", Said(wrong[6], "correct", old_label="cat", new_label="dog"))
    book.review("bob", Said(wrong[6], "accept", old_label="cat", independent=True))
    book.review("ann", Said(wrong[7], "reject"))
    book.undo("ann")
    found = publish(study, book)
    assert (found.accepted, found.corrected, found.rejected, found.conflicts) == (1, 3, 1, 1)
    assert (found.kept, found.unchanged) == (1, False)
    rows = reviews_table(study).to_pylist()
    assert {(r["picture_id"], r["new_label"]) for r in rows if r["review_id"]} == {
        *((s.picture_id, s.new_label) for s in corrected(study, wrong[:3], NAMES)),
        (wrong[3], None),
        (wrong[4], "cat"),
    }
    assert publish(study, book).unchanged
    assert study.store.open("reviews").version() == 1  # type: ignore[union-attr]
    book.review("cy", Said(wrong[6], "correct", old_label="cat", new_label="dog", seen=2))
    found = publish(study, book)
    assert (found.conflicts, found.corrected, found.unchanged) == (0, 4, False)


def reviews_like(old: pa.Table) -> pa.Table:
    from likewise.tables import REVIEWS

    columns = [
        old[f.name].cast(f.type) if f.name in old.schema.names else pa.nulls(1, f.type)
        for f in REVIEWS.schema
    ]
    return pa.table(columns, schema=REVIEWS.schema)


@pytest.mark.slow
def test_classify_learns_what_people_said_and_tells_the_gain(tmp_path: Path, book: Book) -> None:
    study, wrong = study_of(tmp_path / "s", "classes")
    plain = train(study, name="before")
    book.bulk("ann", corrected(study, wrong, NAMES), as_of=0)
    publish(study, book)
    done = train(study, name="after", reviews=True)
    gain = load_classes(study, "after").card["reviews"]
    assert (gain["changed"], gain["rejected"], gain["part"]) == (len(wrong), 0, "test")
    assert "they help" in done.notes[-1], done.notes
    assert not plain.notes and "reviews" not in load_classes(study, "before").card
    assert looks(study).runs == 1  # a look is a look
    # The same two fits by hand.
    labels = load_labels(study)
    rows, test = np.arange(labels.n_train), np.arange(len(labels.label))[labels.test]
    with borrowed_matrix(study, labels) as matrix:
        x = matrix.upright
    [layer] = [row for row in done.validation if row["classifier"] == "softmax"]
    c = float(layer["parameters"].partition("C=")[2].partition(",")[0])
    truth = np.where(np.isin(labels.picture_id, wrong), 1 - labels.label, labels.label)
    scale = 1 / np.sqrt((x[rows].astype(np.float64) ** 2).sum(1).mean())
    right = [
        LogisticRegression(C=c, max_iter=2000)
        .fit(x[rows] * scale, label[rows])
        .score(x[test] * scale, truth[test])
        for label in (truth, labels.label)
    ]
    assert gain["difference"] == pytest.approx(right[0] - right[1], abs=0.02)
    assert gain["low"] < gain["difference"] < gain["high"]


def test_the_command_publishes_what_the_button_would(
    tmp_path: Path, book: Book, capsys: pytest.CaptureFixture[str]
) -> None:
    study, wrong = study_of(tmp_path / "s", "classes", n=40)
    assert run(["reviews", str(study.root)]) == 6
    assert "nobody has reviewed" in capsys.readouterr().err
    beside = open_book(study.root / "reviews.sqlite")
    beside.bulk("ann", corrected(study, wrong, NAMES), as_of=0)
    beside.close()
    assert run(["reviews", str(study.root), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told == {
        "accepted": 0, "corrected": len(wrong), "rejected": 0, "conflicts": 0, "kept": 0,
        "unchanged": False,
    }  # fmt: skip
    assert set(reviews_table(study)["picture_id"].to_pylist()) == set(wrong)
    assert run(["reviews", str(study.root)]) == 0
    assert "nothing has changed" in capsys.readouterr().out
    note_address(study.root, "postgresql://ann@127.0.0.1:1/none")
    assert run(["reviews", str(study.root)]) == 2
    assert "name one with --database" in capsys.readouterr().err
    assert run(["reviews", str(study.root), "--database", "postgresql://ann:hush@h/x"]) == 2
    assert "hush" not in capsys.readouterr().err
    assert run(["reviews", str(study.root), "--database", "postgresql://a@127.0.0.1:1/x"]) == 8


@pytest.mark.slow
def test_a_reviewed_test_picture_says_nothing_of_the_gain(tmp_path: Path, book: Book) -> None:
    study, wrong = study_of(tmp_path / "s", "classes")
    labels = load_labels(study)
    test, first = labels.picture_id[labels.test].tolist(), labels.picture_id[0]
    book.bulk("ann", corrected(study, [*wrong, *test[:30]], NAMES), as_of=0)
    book.review("ann", Said(first, "reject", seen=0)
                if first not in wrong
                else Said(test[31], "reject"))  # fmt: skip
    publish(study, book)
    train(study, reviews=True)
    gain = load_classes(study, "classes").card["reviews"]
    assert gain["changed"] == len(wrong)  # the corrections of test labels change nothing
    assert gain["reviewed"]["of"] <= len(test) - 30


def test_without_reviews_or_with_unknown_classes_it_says_so(tmp_path: Path, book: Book) -> None:
    study, wrong = study_of(tmp_path / "s", "classes")
    with pytest.raises(UsageError, match="reviews"):
        train(study, reviews=True)
    book.review("ann", Said(wrong[0], "correct", old_label="cat", new_label="newt"))
    publish(study, book)
    with pytest.raises(DataError, match="'newt', which is no label"):
        train(study, reviews=True)


def test_likes_are_learned_as_reviewed(tmp_path: Path, book: Book) -> None:
    study, wrong = study_of(tmp_path / "s", "likes")
    words = ["bad", "good"]
    said = corrected(study, wrong[:20], words)
    labels = load_labels(study)
    test = labels.picture_id[labels.n_train]
    book.bulk("ann", [*said, *corrected(study, [test], words)], as_of=0)
    book.review("ann", Said(wrong[20], "reject", old_label="bad"))
    publish(study, book)
    changed, found = reviewed_likes(study, labels)
    assert (found.changed, found.rejected, changed.n_train) == (20, 1, labels.n_train - 1)
    new = dict(zip(changed.picture_id, changed.label, strict=True))
    assert [words[new[s.picture_id]] for s in said] == [s.new_label for s in said]
    assert new[test] == labels.label[labels.n_train]  # held out: as it was
    assert changed.dropped["rejected in review"] == 1
    samples = read_samples(study)
    assert dict(zip(samples.picture_ids, samples.labels, strict=True)) == new


@pytest.mark.slow
def test_compare_tells_what_the_reviews_changed(tmp_path: Path, book: Book) -> None:
    study, wrong = study_of(tmp_path / "s", "likes", wrong=0.45)
    compare(study)
    before = results.load(study)
    assert before is not None and before.reviews is None
    labels = load_labels(study)
    test = labels.picture_id[labels.n_train :].tolist()
    book.bulk("ann", corrected(study, [*wrong, *test[:10]], ["bad", "good"]), as_of=0)
    publish(study, book)
    compare(study)
    after = results.load(study)
    assert after is not None and after.reviews is not None
    change = after.reviews
    assert (change.changed, change.rejected, change.pictures) == (len(wrong), 0, len(test) - 10)
    assert [s for s in after.answer if s.startswith(f"Reviews changed {len(wrong)} training")]
    assert after.data.held_out_pictures == len(test)  # the labels that judge are as they were
    rows = np.arange(len(labels.label))
    x = load_matrix(study, "pooled", labels, tmp_path / "x.npy").rows
    truth = np.where(np.isin(labels.picture_id, wrong), 1 - labels.label, labels.label)
    held = rows[labels.n_train + 10 :]
    c = float(after.best_result.parameters["C"])
    for learned, told in ((truth, change.reviewed), (labels.label, change.without)):
        fit = LinearSVC(C=c, loss="hinge", max_iter=100_000)
        fit.fit(x[: labels.n_train], learned[: labels.n_train])
        precision = average_precision_score(truth[held], fit.decision_function(x[held]))
        assert told.value == pytest.approx(precision, abs=0.02)
    compare_off = study.config.model_copy(
        update={"compare": study.config.compare.model_copy(update={"reviews": False})}
    )
    assert compare(Study(study.root, compare_off)).made_from["inputs"].keys() == {
        "labels",
        "features",
    }
