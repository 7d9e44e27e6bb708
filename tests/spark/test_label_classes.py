"""``label`` for classes: real folders through the import, conflicts, copies, growth."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import likewise
from likewise.cli import run
from likewise.config import render
from likewise.study import Study


def _picture(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    small = np.random.default_rng(seed).integers(0, 255, (9, 9, 3), dtype=np.uint8)
    picture = cv2.resize(small, (300, 280), interpolation=cv2.INTER_CUBIC)
    cv2.imwrite(str(path), picture, [cv2.IMWRITE_JPEG_QUALITY, 95])


def _study(folder: Path, **question: Any) -> Study:
    folder.mkdir(exist_ok=True)
    values = {"question": {"kind": "classes", **question}, "faces": {"detector": "none"}}
    (folder / "likewise.toml").write_text(render(values), encoding="utf-8")
    return Study.open(folder)


def _label(study: Study, source: Path) -> Any:
    likewise.import_(study, source, name="pictures")
    likewise.clean(study)
    likewise.download(study)
    return likewise.label(study)


def test_folders_become_classes_and_a_picture_of_two_is_listed_and_left_out(
    tmp_path: Path,
) -> None:
    for i in range(12):
        _picture(tmp_path / "p" / ("cat" if i % 2 else "Dog") / f"{i}.jpg", i)
    shutil.copy(tmp_path / "p" / "cat" / "1.jpg", tmp_path / "p" / "Dog" / "same.jpg")
    shutil.copy(tmp_path / "p" / "cat" / "3.jpg", tmp_path / "p" / "cat" / "twice.jpg")
    study = _study(tmp_path / "s")
    manifest = _label(study, tmp_path / "p")
    assert manifest.extra["classes"] == ["cat", "Dog"]
    assert list(manifest.extra["in_two_classes"].values()) == [["Dog", "cat"]]
    assert manifest.funnel is not None
    dropped = manifest.funnel["dropped"]
    assert (dropped["copy (exact)"], dropped["in two classes"]) == (2, 1)
    rows = study.read("labels").to_pylist()
    assert Counter(row["class"] for row in rows) == {"Dog": 6, "cat": 5}
    assert {row["label"] for row in rows if row["class"] == "Dog"} == {1}
    assert len({row["picture_id"] for row in rows}) == len(rows)


def test_near_copies_stand_on_one_side(tmp_path: Path) -> None:
    for i in range(30):
        path = tmp_path / "p" / ("cat" if i % 2 else "dog") / f"{i}.jpg"
        _picture(path, i)
        picture = cv2.imread(str(path))
        cv2.imwrite(str(path.with_name(f"{i}-again.jpg")), picture, [cv2.IMWRITE_JPEG_QUALITY, 70])
    study = _study(tmp_path / "s", split="60/20/20")
    _label(study, tmp_path / "p")
    posts = {row["post_id"]: row["url"] for row in study.read("posts").to_pylist()}
    sides: dict[str, set[tuple[str, int]]] = {}
    for row in study.read("labels").to_pylist():
        number = Path(posts[row["post_id"]] or row["post_id"]).stem.removesuffix("-again")
        sides.setdefault(number, set()).add((row["split"], row["fold"]))
    assert len(sides) == 30
    assert all(len(found) == 1 for found in sides.values())


def test_a_study_that_grows_moves_no_picture(tmp_path: Path) -> None:
    for i in range(20):
        _picture(tmp_path / "p" / ("cat" if i % 2 else "dog") / f"{i}.jpg", i)
    study = _study(tmp_path / "s")
    _label(study, tmp_path / "p")
    before = {r["picture_id"]: (r["split"], r["fold"]) for r in study.read("labels").to_pylist()}
    for i in range(20, 40):
        _picture(tmp_path / "p" / ("cat" if i % 2 else "dog") / f"{i}.jpg", i)
    _label(study, tmp_path / "p")
    after = {r["picture_id"]: (r["split"], r["fold"]) for r in study.read("labels").to_pylist()}
    assert len(after) == 40
    assert {picture: after[picture] for picture in before} == before


def test_unseen_classes_are_held_out_whole(tmp_path: Path) -> None:
    for i in range(30):
        _picture(tmp_path / "p" / ("cat", "dog", "newt")[i % 3] / f"{i}.jpg", i)
    study = _study(tmp_path / "s", unseen=["newt"])
    _label(study, tmp_path / "p")
    splits = Counter((r["class"], r["split"]) for r in study.read("labels").to_pylist())
    assert splits["newt", "test"] == 10
    assert splits["newt", "train"] + splits["newt", "validation"] == 0


def test_fewer_than_two_classes_are_refused_with_the_reasons(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed, name in enumerate(["cat"] * 3 + ["dog"] * 3 + ["newt"]):
        _picture(tmp_path / "p" / name / f"{seed}.jpg", seed)
    _label(_study(tmp_path / "s"), tmp_path / "p")
    cases: list[tuple[dict[str, Any], list[str]]] = [
        ({"classes": ["cat"]}, ["one class, cat (3)", "4 left out: no class", "another class"]),
        ({"classes": ["dog", "newt"]}, ["one class, dog (3)", "1 left out", "newt (1)"]),
        ({"classes": ["dog", "gnu"]}, ["one class, dog (3)", "too few: gnu (0)"]),
        ({"min_pictures": 4}, ["no class", "7 left out", "cat (3), dog (3), newt (1)"]),
        ({"source": "tag"}, ["no class", "a label column or hashtags"]),
    ]
    for question, says in cases:
        study = _study(tmp_path / "s", **question)
        assert run(["label", str(study.root)]) == 2
        told = capsys.readouterr().err
        for words in (*says, "expected at least 2 classes"):
            assert words in told


ODD = ["Cat", "cat", "CAT ", "dog\nfish", "\u202edog", "🐕", "שלום", "a:b*?", "b..", "x" * 200]


def test_odd_names_of_folders_are_classes_and_what_happened_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for i in range(len(ODD) * 3):
        _picture(tmp_path / "p" / ODD[i // 3] / f"{i}.jpg", i)
    _picture(tmp_path / "p" / "newt" / "one.jpg", 1000)
    shutil.copy(tmp_path / "p" / "Cat" / "0.jpg", tmp_path / "p" / "🐕" / "same.jpg")
    study = _study(tmp_path / "s")
    _label(study, tmp_path / "p")
    wanted = {
        "CAT": 8,
        "dog fish": 3,
        "dog": 3,
        "🐕": 3,
        "שלום": 3,
        "a:b*?": 3,
        "b..": 3,
        "x" * 200: 3,
    }
    assert Counter(study.read("labels")["class"].to_pylist()) == wanted
    assert run(["label", str(study.root)]) == 0
    told = capsys.readouterr().out
    assert "too few pictures: newt 1" in told
    assert "one class: 'CAT', 'Cat', 'cat' are CAT" in told
    assert "in two classes and left out: 1" in told and ", 🐕" in told


SPLITS = {
    "80/10/10": (0.8, 0.1, 0.1),
    "70/10/20": (0.7, 0.1, 0.2),
    "80/20": (0.8, 0.0, 0.2),
    "3:1": (0.75, 0.0, 0.25),
}


def test_every_split_of_the_papers_is_dealt_stored_and_kept(tmp_path: Path) -> None:
    for i in range(40):
        _picture(tmp_path / "p" / ("cat" if i % 2 else "dog") / f"{i}.jpg", i)
    for split, shares in SPLITS.items():
        study = str(_study(tmp_path / "s", split=split).root)
        if split == "80/10/10":
            assert run(["import", study, str(tmp_path / "p")]) == 0
            assert [run([verb, study]) for verb in ("clean", "download")] == [0, 0]
        else:  # what has been dealt never moves: another split needs another beginning
            shutil.rmtree(tmp_path / "s" / "tables" / "labels")
        assert run(["label", study]) == 0
        rows = Study.open(study).read("labels").to_pylist()
        for name in ("cat", "dog"):
            found = Counter(row["split"] for row in rows if row["class"] == name)
            parts = ("train", "validation", "test")
            assert tuple(found[part] / 20 for part in parts) == pytest.approx(shares)
        assert run(["label", study, "--redo"]) == 0
        assert Study.open(study).read("labels").to_pylist() == rows
