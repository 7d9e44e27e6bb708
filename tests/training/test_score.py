"""Scoring pictures that nobody has posted: equal to rank's scores, honest about what is far."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_study import make, save_model
from sklearn.linear_model import LogisticRegression

import likewise
from likewise import cli
from likewise.errors import DataError, UsageError
from likewise.pictures import picture_bytes
from likewise.study import Study
from training.models.saved import LinearScorer, names, save
from training.rank import rank
from training.score import score
from training.scoring import intervals
from training.scoring.reference import reference
from training.scoring.session import Session


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return make(tmp_path_factory.mktemp("score") / "study")


def from_table(study: Study, monkeypatch: pytest.MonkeyPatch) -> Study:
    """The network is the table: a picture of the study has the features that stand there."""
    rows = study.read("features", ["picture_id", "flipped", "pooled"]).to_pylist()
    views = {(row["picture_id"], row["flipped"]): row["pooled"] for row in rows}
    far = -np.sum([np.array(v) / np.linalg.norm(v) for v in views.values()], axis=0)

    def features(session: Session, pictures: list[bytes], *_: Any) -> Any:
        ids = [hashlib.sha256(data).hexdigest() for data in pictures]
        both = [[views.get((one, side), far) for side in (False, True)] for one in ids]
        values = np.array(both, np.float32)
        return {(s.backbone, s.layer): values for s in session.scorers}, [None] * len(ids)

    monkeypatch.setattr(Session, "features", features)
    monkeypatch.setattr("training.rank._wants_spark", lambda *_: False)
    return study


@pytest.fixture
def known(study: Study, monkeypatch: pytest.MonkeyPatch) -> Study:
    return from_table(study, monkeypatch)


def files(study: Study, n: int) -> Iterator[tuple[str, bytes]]:
    ids = sorted(study.read("labels", ["picture_id"])["picture_id"].to_pylist())[:n]
    return picture_bytes(study, ids)


def test_scores_are_those_of_rank(known: Study) -> None:
    rank(known)
    told = {row["picture_id"]: row for row in known.read("scores").to_pylist()}
    chosen = dict(files(known, 12))
    found = score(known, list(chosen.values()))
    for picture_id, row in zip(chosen, found, strict=True):
        [one] = row.opinions
        assert one.score == pytest.approx(told[picture_id]["score"], abs=1e-6)
        assert one.probability == pytest.approx(told[picture_id]["probability"], abs=1e-6)
        assert one.low is not None and one.low <= one.probability <= one.high
        assert row.in_study is not None and row.distance > 0
        near = {n.picture_id for n in (*row.liked[:1], *row.unliked[:1])}
        assert near and picture_id not in near


def test_neighbours_and_limit_by_hand(known: Study) -> None:
    scorer = LinearScorer(
        {"name": "linear-svc", "layer": "pooled", "backbone": "x"}, np.zeros(1), 0
    )
    del scorer
    [(picture_id, data)] = files(known, 1)
    rows = known.read("features").to_pylist()
    unit = {
        r["picture_id"]: np.array(r["pooled"]) / np.linalg.norm(r["pooled"])
        for r in rows
        if not r["flipped"]
    }
    labels = {r["picture_id"]: r for r in known.read("labels").to_pylist()}
    distance = {k: 1 - float(v @ unit[picture_id]) for k, v in unit.items() if k in labels}
    by_distance = sorted(distance, key=distance.__getitem__)
    [row] = score(known, data, neighbours=5)
    others = [k for k in by_distance if k != picture_id]
    assert row.in_study == ("held out" if labels[picture_id]["split"] == "test" else "fitted on")
    for wanted, near in ((1, row.liked), (0, row.unliked)):
        expected = [k for k in others if labels[k]["label"] == wanted][:5]
        assert [n.picture_id for n in near] == expected
    nearest = [
        min(
            1 - float(unit[a] @ unit[b])
            for b in labels
            if labels[b]["author_id"] != labels[a]["author_id"]
        )
        for a in labels
    ]
    assert row.limit == pytest.approx(np.quantile(nearest, 0.99), abs=1e-3)


@pytest.mark.parametrize(
    ("shown", "words"),
    [
        ({"chance": "open", "adds": None}, "not shown to do better than chance"),
        ({"chance": "above", "adds": "open"}, "adds anything to what is known"),
        ({"chance": "above", "adds": "above"}, ""),
        (None, ""),  # a model of an older comparison says nothing of itself
    ],
)
def test_a_model_that_shows_nothing_is_told_by_it(
    known: Study, capsys: Any, shown: Any, words: str
) -> None:
    path = known.root / "models" / names(known)[0] / "card.json"
    before = path.read_text(encoding="utf-8")
    card = json.loads(before)
    try:
        path.write_text(json.dumps(card | ({"shown": shown} if shown else {})), encoding="utf-8")
        scores = score(known, next(files(known, 1))[1])
        assert ("".join(scores.doubts) == "") == (words == "")
        assert words in "".join(scores.doubts)
        assert all(one in scores._repr_html_() for one in scores.doubts)
    finally:
        path.write_text(before, encoding="utf-8")


def test_a_picture_far_away_gets_no_answer(known: Study, tmp_path: Path, capsys: Any) -> None:
    from PIL import Image

    Image.effect_noise((300, 300), 90).save(tmp_path / "noise.png")
    [row] = score(known, tmp_path / "noise.png")
    assert row.abstained and row.distance > row.limit
    assert cli.run(["score", str(known.root), str(tmp_path / "noise.png")]) == 0
    assert "no answer: distance" in capsys.readouterr().out


def test_the_author_s_baseline(known: Study) -> None:
    labels = known.read("labels").to_pylist()
    author = labels[0]["author_id"]
    theirs = [row["label"] for row in labels if row["author_id"] == author]
    [row] = score(known, next(files(known, 1))[1], author=author)
    assert (row.author.pictures, row.author.liked) == (len(theirs), sum(theirs))
    with pytest.raises(UsageError, match="no author 'nobody'"):
        score(known, next(files(known, 1))[1], author="nobody")


@pytest.mark.parametrize(
    ("good", "n", "low", "high"),
    [(0, 10, 0.0, 0.27753), (5, 10, 0.23659, 0.76341), (10, 10, 0.72247, 1.0)],
)
def test_wilson(good: int, n: int, low: float, high: float) -> None:
    # Newcombe 1998, by the formula with z = 1.959964.
    assert intervals.wilson(good, n) == pytest.approx((low, high), abs=1e-5)


def test_drawn_sigmoids_are_weighted_logistic_regressions() -> None:
    random = np.random.default_rng(2)
    n = 400
    author = random.integers(0, 40, n)
    x = random.normal(2, 5, n)
    label = (random.random(n) < 1 / (1 + np.exp(-(0.4 * x - 1)))).astype(np.int64)
    draws = intervals.drawn_sigmoids(x, label, author, seed=3)
    assert draws.shape == (intervals.DRAWS, 2)
    whole = LogisticRegression(C=np.inf).fit(x[:, None], label)
    middle = np.median(draws, axis=0)
    assert middle == pytest.approx([whole.coef_[0, 0], whole.intercept_[0]], rel=0.15)
    low, high = np.quantile(draws[:, 0], [0.025, 0.975])
    assert low < 0.4 < high
    weight = np.random.default_rng(5).integers(0, 4, (1, n)).astype(np.float64)
    mine = intervals._newton(x, label, weight)[0]
    smooth = LogisticRegression(C=np.inf).fit(
        np.concatenate([x, x])[:, None],
        np.concatenate([np.ones(n), np.zeros(n)]),
        np.concatenate([_target(label, weight[0]), weight[0] - _target(label, weight[0])]),
    )
    assert mine == pytest.approx([smooth.coef_[0, 0], smooth.intercept_[0]], rel=1e-3)


def _target(label: Any, weight: Any) -> Any:
    good, bad = weight[label == 1].sum(), weight[label == 0].sum()
    return weight * np.where(label == 1, (good + 1) / (good + 2), 1 / (bad + 2))


def test_too_few_authors_give_no_interval() -> None:
    assert intervals.drawn_sigmoids(np.arange(8.0), np.arange(8) % 2, np.arange(8) % 3, 1).size == 0
    assert intervals.probability_interval(1.0, 0.5, np.empty((0, 2))) is None


def test_files_that_are_no_pictures(known: Study, tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "a.jpg").write_bytes(next(files(known, 1))[1])
    (tmp_path / "b.jpg").write_bytes(b"<html>")
    (tmp_path / "c.jpg").write_bytes(b"")
    assert cli.run(["score", str(known.root), str(tmp_path), "--csv"]) == 3
    out = capsys.readouterr()
    rows = list(csv.DictReader(io.StringIO(out.out)))
    assert [row["error"] for row in rows] == ["", "html", "empty"]
    assert "2 of 3 files could not be scored" in out.err
    (tmp_path / "a.jpg").unlink()
    with pytest.raises(DataError, match="none of 2 files"):
        score(known, tmp_path)
    with pytest.raises(UsageError, match="does not exist"):
        score(known, tmp_path / "nothing.jpg")


def test_json_html_and_a_notebook(known: Study, tmp_path: Path, capsys: Any) -> None:
    for k, (_, data) in enumerate(files(known, 3)):
        (tmp_path / f"<b>{k}.jpg").write_bytes(data)
    save_model(known, "other")
    page = tmp_path / "sheet.html"
    arguments = ["score", str(known.root), str(tmp_path), "--json", "--html", str(page)]
    assert cli.run([*arguments, "--model", "linear-svc", "--model", "other"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [[o["model"] for o in row["opinions"]] for row in rows] == [["linear-svc", "other"]] * 3
    text = page.read_text(encoding="utf-8")
    assert "<b>" not in text and "http" not in text.replace("http-equiv", "")
    assert text.count("<figure") == 3
    shown = score(known, tmp_path)._repr_html_()
    assert shown.count("class='big'") == 3


def test_the_reference_follows_the_tables_and_dies_with_forget(known: Study) -> None:
    from collectors.crawling.traces import delete_derived
    from training.rank import saved_model

    scorer = saved_model(known)
    before = reference(known, scorer)
    assert before.pictures == known.require("labels").rows
    assert list((known.root / "reports" / "score").glob("*.npz"))
    delete_derived(known)
    assert not (known.root / "reports" / "score").exists()


def test_old_references_go(known: Study) -> None:
    from training.rank import saved_model

    folder = known.folder("reports", "score")
    for n in range(5):
        old = folder / f"linear-svc.{n:016d}.npz"
        old.write_bytes(b"")
        os.utime(old, (n, n))
    other = folder / "linear-svc-2.0000000000000000.npz"
    other.write_bytes(b"")
    reference(known, saved_model(known))
    left = {file.name for file in folder.glob("linear-svc.*.npz")}
    assert {f"linear-svc.{n:016d}.npz" for n in (3, 4)} < left and len(left) == 3
    assert other.exists()


def test_neither_torch_nor_spark_is_loaded() -> None:
    code = (
        "import sys, training.score, likewise.commands.score, training.scoring.page, "
        "backbones.inference, collectors.downloading.inspectors\n"
        "heavy = {'torch', 'pyspark', 'sklearn', 'matplotlib', 'duckdb', 'scipy'}\n"
        "sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.slow
def test_the_network_gives_what_extract_gave(tmp_path: Path) -> None:
    import likewise

    study = make(
        tmp_path / "study",
        n_authors=12,
        per_author=2,
        features=False,
        config={"extract": {"backbone": "efficientnet-lite0", "random_weights": True}},
    )
    likewise.extract(study)
    card = {
        "name": "mine", "kind": "linear", "layer": "pooled", "backbone": "efficientnet-lite0",
        "dim": 1280, "classifier": "linear-svc", "calibration": {"slope": 1.0, "intercept": 0.0},
        "scores": {"cv_average_precision": 0.5},
    }  # fmt: skip
    weight = np.random.default_rng(1).normal(size=1280).astype(np.float32)
    save(study, LinearScorer(card, weight, 0.1))
    likewise.rank(study, model="mine")
    told = {row["picture_id"]: row["score"] for row in study.read("scores").to_pylist()}
    chosen = dict(picture_bytes(study, list(told)))
    for picture_id, row in zip(
        chosen, score(study, list(chosen.values()), models=["mine"]), strict=True
    ):
        assert row.opinions[0].score == pytest.approx(told[picture_id], abs=1e-4)


@pytest.mark.slow
def test_a_fine_tuned_network_scores_as_it_ranks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside a model of features, which says what is near and far."""
    name = "finetuned-efficientnet-lite0"
    settings = {"backbone": "efficientnet-lite0", "iterations": 2, "batch_size": 4, "freeze": True}
    study = make(tmp_path / "study", n_authors=12, config={"finetune": settings})
    from_table(study, monkeypatch)
    likewise.finetune(study)
    rank(study, model=name)
    ranked = study.read("scores", ["picture_id", "score", "probability"]).to_pylist()
    known = {row["picture_id"]: row for row in ranked}
    chosen = dict(files(study, 4))
    found = score(study, list(chosen.values()), models=[name, "linear-svc"])
    for picture_id, row in zip(chosen, found, strict=True):
        tuned, linear = row.opinions
        assert (tuned.model, linear.model) == (name, "linear-svc")
        assert tuned.score == pytest.approx(known[picture_id]["score"], rel=1e-4)
        assert tuned.probability == pytest.approx(known[picture_id]["probability"], abs=1e-4)
        # Its own ranking of held-out pictures gives the interval, or says why there is none.
        assert (tuned.low is None) == bool(tuned.why)
        if tuned.low is not None:
            assert tuned.low <= tuned.probability <= tuned.high
