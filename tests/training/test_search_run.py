"""Last layer, augmentation, rates, strangers, matching and pages of ``classify run``."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
import time
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.linear_model import LogisticRegression
from test_classify import _study

import likewise
from backbones import registry
from backbones.folder import find_pictures
from infra.sandbox.search import searching
from likewise.cli import run
from likewise.errors import DataError, UsageError
from likewise.study import Study
from training.classification.cleaning import reject_listed, undo_doubts
from training.classify import evaluate, train
from training.models.saved import load_classes
from training.search.augmentation import ROTATION, SHEAR, SHIFT, ZOOM, augmented, matrix
from training.search.learning import EPOCHS, cross_entropy, last_layer
from training.search.matching import find_model, studies_below
from training.search.page import doubts_page, results_page
from training.search.results import Said, _places, rates_of, truth_of, write_table
from training.search.strangers import disowned

# -- the last layer -----------------------------------------------------------------------


def planted(n: int, k: int, apart: float, seed: int) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    columns = np.arange(n) % k
    centre = np.random.default_rng(7).normal(size=(k, 20)) * apart
    return (centre[columns] + rng.normal(size=(n, 20))).astype(np.float32), columns


@pytest.mark.parametrize("k", [2, 4])
def test_the_last_layer_is_as_good_as_logistic_regression_and_stops_early(k: int) -> None:
    features, columns = planted(400, k, 0.6, 1)
    held, held_columns = planted(200, k, 0.6, 2)
    fit = last_layer(features, columns, held, held_columns, n_classes=k, seed=1)
    oracle = LogisticRegression(C=1.0, max_iter=1000).fit(features, columns)
    theirs = -np.log(oracle.predict_proba(held)[np.arange(200), held_columns]).mean()
    ours = cross_entropy(held @ fit.weight + fit.bias, held_columns)
    assert ours < theirs + 0.05
    assert ours == pytest.approx(min(step["validation"] for step in fit.curve), abs=1e-5)
    assert len(fit.curve) < EPOCHS and fit.curve[fit.best - 1]["epoch"] == fit.best


# -- augmentation -------------------------------------------------------------------------


def test_what_augmentation_does_stays_within_its_ranges() -> None:
    rng = np.random.default_rng(0)
    mirrored = 0
    for _ in range(300):
        linear, shift = np.split(matrix(rng, 201), [2], axis=1)
        mirrored += np.linalg.det(linear) < 0
        # |det| is the zoom squared: rotation, shear and mirror keep areas.
        assert (1 - ZOOM) ** 2 <= abs(np.linalg.det(linear)) <= (1 + ZOOM) ** 2
        middle = linear @ [100, 100] + shift[:, 0]
        assert np.abs(middle - 100).max() <= SHIFT * 201
        zoom = np.sqrt(abs(np.linalg.det(linear)))
        steepest = np.tan(np.deg2rad(SHEAR)) + 2 * np.sin(np.deg2rad(ROTATION))
        flat = np.abs(linear) / zoom - np.eye(2)
        assert np.abs(flat).max() <= steepest + 0.1
    assert 100 < mirrored < 200


def test_augmented_views_are_drawn_by_seed_and_keep_a_uniform_picture() -> None:
    grey = np.full((256, 256, 3), 90, np.uint8)
    assert (augmented(grey, 224, np.random.default_rng(1)) == 90).all()
    noise = np.random.default_rng(2).integers(0, 256, (256, 256, 3), np.uint8)
    one, two = (augmented(noise, 224, np.random.default_rng(s)) for s in (1, 1))
    assert one.shape == (224, 224, 3) and (one == two).all()
    assert (one != augmented(noise, 224, np.random.default_rng(3))).any()


# -- rates --------------------------------------------------------------------------------


def test_the_papers_table_comes_out_of_its_counts() -> None:
    """2,025 pictures, 1,843 above the threshold, 1,838 of these right: 90.77 % and 99.73 %."""
    certainty = np.where(np.arange(2025) < 1843, 0.995, 0.6)
    right = np.arange(2025) < 1838
    found = rates_of(certainty, right, 0.99, "here")
    assert (round(found.total.value, 4), round(found.answered.value, 4)) == (0.9077, 0.9973)
    assert found.coverage == pytest.approx(0.910, abs=5e-4)
    wilson = binomtest(1838, 1843).proportion_ci(0.95, method="wilson")
    assert (found.answered.low, found.answered.high) == (wilson.low, wilson.high)
    text = found.text()
    assert text.count("90.77%") == 2 and text.count("99.73%") == 2  # the paper's beside ours
    assert found.curve[-1][1:] == (1.0, pytest.approx(right.mean()))


def test_a_threshold_that_nothing_passes_has_no_rate_above_it() -> None:
    found = rates_of(np.array([0.6, 0.7]), np.array([True, True]), 0.99, "here")
    assert found.answered.of == 0 and found.total.value == 0 and "no pictures" in found.text()


def test_folders_name_the_truth(tmp_path: Path) -> None:
    names = ("cat", "grey owl")
    for path, truth in {
        "cat/1.jpg": "cat", "Cats/1.jpg": "cat", "test/dogs/cat/a/1.jpg": "cat",
        "grey_owl/1.jpg": "grey owl", "dog/1.jpg": None, "cat.jpg": None,
    }.items():  # fmt: skip
        assert truth_of(tmp_path / path, tmp_path, names) == truth, path


def test_a_threshold_is_told_as_it_was_given(tmp_path: Path) -> None:
    rates = rates_of(np.array([0.9, 0.99999996]), np.array([True, True]), 0.9999999, "here")
    assert "threshold 0.9999999:" in rates.text()
    rows = [Said(tmp_path / "x.jpg", "x.jpg", "cat", 0.99999996, False, None, None)]
    card = {"backbone": "b", "layer": "l", "classifier": "c", "trained_at": "t"}
    page = results_page("cat", rows, {}, [rates], [], card)
    assert "threshold 0.9999999<" in page
    assert "rather cat, 0.9999" in page and "1.0000" not in page  # left unsaid, so not certain
    write_table(tmp_path / "t.csv", rows)
    assert "0.99999996" in (tmp_path / "t.csv").read_text()


def test_pictures_of_different_folders_share_no_result(tmp_path: Path) -> None:
    names = ("a/b.jpg", "a__b.jpg", "a_/_b.jpg")
    said = [Said(Path(n), n, "AC/DC", 0.99, True, None, None) for n in names]
    places = [place for one in said for place in _places(one)]
    assert len(set(places)) == len(places)
    assert not any("AC/DC" in place for place in places)


def test_what_likewise_has_written_is_not_predicted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = [tmp_path / name for name in ("1.jpg", "more/2.PNG", "more/originals/3.jpg")]
    its = [
        "set/results/x/4.jpg",
        "out/originals/5.jpg",
        "out/overlays/a/6.jpg",
        "out/segments/7.png",
    ]
    for path in (*mine, *(tmp_path / name for name in its), tmp_path / "notes.txt"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "set" / "likewise.toml").touch()
    (tmp_path / "out" / "drawn.json").touch()
    assert find_pictures(tmp_path) == mine
    assert f"{tmp_path / 'set'} is a study" in capsys.readouterr().err
    assert find_pictures(tmp_path / "out" / "originals")  # named on purpose
    with pytest.raises(UsageError, match="holds no picture"):
        find_pictures(tmp_path / "out")


# -- strangers ----------------------------------------------------------------------------


def test_planted_strangers_are_found_within_the_interval() -> None:
    rng = np.random.default_rng(3)
    hits = []
    for share in (0.05, 0.1, 0.2, 0.3) * 5:
        rows, columns, planted_at = [], [], []
        centres = np.abs(rng.normal(size=(2, 60))) * 3
        for column, centre in enumerate(centres):
            n_off = round(share * 100)
            rows.append(centre + rng.normal(size=(100 - n_off, 60)) * 0.9)
            rows.append(np.abs(rng.normal(size=(n_off, 60))) * 3 + rng.normal(size=(n_off, 60)))
            columns += [column] * 100
            planted_at += [False] * (100 - n_off) + [True] * n_off
        features = np.concatenate(rows).astype(np.float32)
        found = disowned(features, np.array(columns), ["a", "b"])
        hits.append(found.low <= np.mean(planted_at) <= found.high)
        first = np.array(planted_at)[found.order[: sum(planted_at)]]
        assert first.mean() > 0.9  # the least alike are the planted ones
    assert np.mean(hits) >= 0.9


@pytest.mark.parametrize("apart", [0.3, 1.0, 3.0], ids=["look-alike", "near", "unlike"])
def test_of_clean_classes_nothing_is_claimed_to_be_off_topic(apart: float) -> None:
    rng = np.random.default_rng(5)
    columns = np.repeat([0, 1], 100)
    said = []
    for _ in range(40):
        common, own = np.abs(rng.normal(size=60)) * 3, np.abs(rng.normal(size=(2, 60))) * apart
        # Some pictures of a class are more typical than others: the spread differs.
        spread = rng.uniform(0.5, 1.2, size=(200, 1))
        points = common + own[columns] + rng.normal(size=(200, 60)) * spread
        said.append(disowned(points.astype(np.float32), columns, ["a", "b"]))
    assert np.mean([one.low == 0 for one in said]) >= 0.9
    clean = next(one for one in said if one.low == 0)
    assert "that any do is not shown" in clean.sentence() and "at most" in clean.sentence()


@pytest.mark.slow
def test_off_topic_pictures_of_caltech_are_counted(shared: Path) -> None:
    from backbones.inference import extract

    root = shared / "images" / "caltech101"
    rng = np.random.default_rng(0)
    strangers = [p for name in ("chair", "cup", "laptop") for p in sorted((root / name).iterdir())]
    rng.shuffle(strangers)
    files, columns = [], []
    for column, name in enumerate(("flamingo", "Motorbikes")):
        own = sorted((root / name).iterdir())[:48]
        off, strangers = strangers[:12], strangers[12:]
        files += [*own, *off]
        columns += [column] * 60
    features = extract(files, backbone="efficientnet-lite0", layers=["pooled"])["pooled"]
    found = disowned(features, np.array(columns), ["flamingo", "Motorbikes"])
    assert found.low <= 0.2 <= found.high
    with pytest.raises(ValueError, match="needs 3 pictures"):
        disowned(features[:61], np.array(columns)[:61], ["a", "b"])


# -- models that are here -----------------------------------------------------------------


def test_a_model_is_taken_only_when_classes_and_weights_are_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(_study(tmp_path / "others", apart=2.0, unseen=("newt",)))
    study = _study(tmp_path / "fits", apart=2.0)
    train(study)
    places = studies_below(tmp_path)
    assert [path.name for path in places] == ["fits", "others"]
    match = find_model(["Newt", "dog", "cat"], places)
    assert match.study is not None and match.study.root == study.root
    assert "the classes are the same" in match.said[-1]
    none = find_model(["cat", "owl"], places)
    assert none.model is None and all("its classes are" in line for line in none.said)
    monkeypatch.setattr("likewise.weights.at_hand", lambda _: None)
    gone = find_model(["cat", "dog", "newt"], places)
    assert gone.model is None and "weights of efficientnet-lite0" in gone.said[0]


# -- pages --------------------------------------------------------------------------------


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.images: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "img":
            self.images.append(dict(attrs)["src"] or "")

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_results_page_escapes_names_and_shows_mistakes() -> None:
    rows = [
        Said(Path("x"), "a/<b>&'.jpg", "cat", 0.99, True, None, "dog"),
        Said(Path("y"), "y.jpg", "dog", 0.5, False, None, None),
        Said(Path("z"), "z.jpg", None, 0.0, False, "html", None),
    ]
    drawn = {"a/<b>&'.jpg": ("originals/a <b>.jpg", "overlays/o.jpg", "segments/s.png")}
    card = {"backbone": "b", "layer": "l", "classifier": "c", "trained_at": "t"}
    rates = rates_of(np.array([0.9, 0.99, 0.99]), np.array([True, False, True]), 0.95, "here")
    page = results_page("cat, dog", rows, drawn, [rates], ["a note"], card)
    tags = Tags()
    tags.feed(page)
    assert tags.images == ["originals/a%20%3Cb%3E.jpg", "overlays/o.jpg", "segments/s.png"]
    assert "<b>" not in page.split("</style>")[1].replace("%3Cb%3E", "")
    assert "is dog" in tags.text and "not a picture: html" in tags.text
    assert "rather dog, 0.5000" in tags.text


def test_rejections_by_hand_are_reviews_and_can_be_taken_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = _study(tmp_path / "s")
    ids = study.read("labels", ["picture_id"])["picture_id"].to_pylist()[:3]
    path = tmp_path / "rejected.csv"
    path.write_text("picture_id\n" + "\n".join([*ids, ids[0]]) + "\n", encoding="utf-8")
    assert run(["classify", "clean-labels", str(study.root), "--reject", str(path)]) == 0
    assert "3 pictures rejected" in capsys.readouterr().out
    rows = study.read("reviews").to_pylist()
    assert {row["picture_id"] for row in rows} == set(ids)
    assert all(row["new_label"] is None for row in rows)
    assert undo_doubts(study) == 3
    path.write_text("picture_id\nnobody\n", encoding="utf-8")
    with pytest.raises(DataError, match="1 pictures have no label"):
        reject_listed(study, path)
    path.write_text("id\nx\n", encoding="utf-8")
    with pytest.raises(DataError, match="no column picture_id"):
        reject_listed(study, path)


def test_the_page_of_doubts_shows_the_least_alike_first(tmp_path: Path) -> None:
    study = _study(tmp_path / "s")
    features, columns = planted(60, 2, 3.0, 1)
    found = disowned(features, columns, ["cat", "dog"])
    page = doubts_page(study, found, [], [], [])
    assert "look off topic" in page and "--reject rejected.csv" in page


# -- the whole line -----------------------------------------------------------------------


def searched_pictures(shared: Path, folder: Path) -> None:
    """``web/`` to be searched and ``aside/`` to be predicted: flamingos and motorbikes."""
    from PIL import Image

    for keyword, name in (("bird", "flamingo"), ("bike", "Motorbikes")):
        files = sorted((shared / "images" / "caltech101" / name).iterdir())[:30]
        for at, file in enumerate(files):
            place = folder / ("aside" if at >= 24 else "web") / keyword
            place.mkdir(parents=True, exist_ok=True)
            picture = Image.open(file).convert("RGB")
            scale = max(1.0, 256 / min(picture.size))
            size = tuple(round(side * scale) for side in picture.size)
            picture.resize(size).save(place / file.name, quality=90)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_papers_line_from_nothing_to_pictures_that_show_why(
    tmp_path: Path, shared: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    searched_pictures(shared, tmp_path)
    (tmp_path / "aside" / "broken.jpg").write_bytes(b"<!doctype html><p>no")
    (tmp_path / "aside" / "bike" / "again.jpg").write_bytes(
        next((tmp_path / "web" / "bike").iterdir()).read_bytes()
    )
    monkeypatch.chdir(tmp_path)
    with searching(tmp_path / "web", limits_factor=0) as found:
        line = ["classify", "run", "-c", "bird,bike", "-p", "aside", "-t", "0.8", "--json"]
        more = ["--per-class", "12", "--source", f"openverse={found.url}"]
        more += ["--source", f"commons={found.url}", "--study", "set"]
        assert run([*line, *more]) == 3  # the broken file is listed
        said = json.loads(capsys.readouterr().out)
    result = said.get("result", said)
    of_folder = result["rates"][0]
    assert of_folder["total"]["of"] == 12  # the copy of a training picture is in no rate
    assert of_folder["total"]["right"] >= 10
    out = Path(result["page"]).parent
    with (out / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 14
    answered = [row for row in rows if row["answered"] == "True"]
    for kind in ("originals", "overlays", "segments"):
        assert len([p for p in (out / kind).rglob("*") if p.is_file()]) == len(answered)
    model = load_classes(Study.open("set"), "search")
    assert model.card["licences"] and registry.get(str(model.card["backbone"]))
    assert run(line) == 3  # found again: nothing is built
    assert "taken: " in capsys.readouterr().err
    assert run([*line[:-2], "0.9999999", "--json"]) == 3
    capsys.readouterr()
    kinds = ("originals", "overlays", "segments")
    left = [p for kind in kinds for p in (out / kind).rglob("*") if p.is_file()]
    with (out / "predictions.csv").open() as file:
        assert len(left) == 3 * sum(row["answered"] == "True" for row in csv.DictReader(file))
    assert likewise.__version__


KILLS = (("build", ".unfinished"), ("run", "labels"), ("run", "cache/augmented"), ("run", "models"))
"""Verb, and the folder of the study whose first content is the moment of the kill."""


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_lines_end_as_if_nobody_had_killed_them(tmp_path: Path, shared: Path) -> None:
    searched_pictures(shared, tmp_path)
    killed = []
    with searching(tmp_path / "web", limits_factor=0, latency_s=0.05) as found:
        common = ["--per-class", "12", "--source", f"openverse={found.url}"]
        common += ["--source", f"commons={found.url}", "--study"]

        def line(verb: str, study: Path) -> list[str]:
            what = ["bird", "bike"] if verb == "build" else ["-c", "bird,bike", "-p", "aside"]
            what += [] if verb == "build" else ["-t", "0.8"]
            return [sys.executable, "-m", "likewise", "classify", verb, *what, *common, str(study)]

        for verb, place in KILLS:
            child = subprocess.Popen(
                line(verb, tmp_path / "killed"), cwd=tmp_path, stderr=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )  # fmt: skip
            while child.poll() is None and not any((tmp_path / "killed" / place).glob("**/*")):
                time.sleep(0.02)
            if child.poll() is None:
                child.send_signal(signal.SIGKILL)
                killed.append(place)
            child.wait()
        for name in ("killed", "whole"):
            for verb in ("build", "run"):
                subprocess.run(
                    line(verb, tmp_path / name), cwd=tmp_path, check=True, capture_output=True
                )
    assert len(killed) >= 2, "too few lines were killed before their end"
    keys = {"posts": ["post_id"], "licences": ["post_id", "licence"], "fetches": ["picture_id"],
            "labels": ["picture_id", "class", "split"], "features": ["picture_id"]}  # fmt: skip
    studies = [Study.open(tmp_path / name) for name in ("killed", "whole")]
    for table, columns in keys.items():
        rows = [sorted(map(str, s.read(table, columns).to_pylist())) for s in studies]
        assert rows[0] == rows[1], table
        assert table == "fetches" or len(set(rows[0])) == len(rows[0]), table
    assert len(studies[0].read("labels", ["class"])) == 24
    tables = [(s.root / "results" / "aside" / "predictions.csv").read_text() for s in studies]
    assert tables[0] == tables[1] and (tmp_path / "killed" / "reports" / "off-topic.html").is_file()
    judged = evaluate(studies[1], model="search")
    model = load_classes(studies[1], "search")
    if model.card.get("network") is None:
        pytest.fail("the network of this test was fine-tuned before: choose pictures anew")
    assert 2 * judged.content["top_1"]["right"] >= judged.content["top_1"]["of"]
