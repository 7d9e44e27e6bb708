"""The explanation finds what was planted, claims nothing where nothing is, and counts honestly."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage.data
from fake_study import make, photographs
from sklearn.neighbors import NearestNeighbors

from likewise.errors import DataError, MissingTableError
from likewise.study import Study
from training.explain import Difference, Explanation, differences, explain, holm
from training.explanation.differences import effects
from training.explanation.scenes import GROUPS, plausible, shares
from training.galleries.neighbours import nearest, nearest_rows
from training.pictures.contents import contents, people, text_area
from training.rank import rank


@pytest.fixture(autouse=True)
def _no_spark(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.rank._wants_spark", lambda *_: False)


@pytest.fixture(scope="module")
def bright(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A world in which brightness, and nothing else, drives likes."""
    patch = pytest.MonkeyPatch()
    patch.setattr("training.rank._wants_spark", lambda *_: False)
    study = make(tmp_path_factory.mktemp("explain") / "study", n_authors=40)
    rank(study)
    patch.undo()
    return study


def test_planted_brightness_stands_first_in_ranking_and_likes(bright: Study) -> None:
    found = explain(bright)
    assert found.ranking[0].name == found.in_likes[0].name == "brightness"
    assert found.ranking[0].words == found.in_likes[0].words == "brighter"
    start = f"The {found.n} pictures that the model ranks highest are brighter (+"
    assert found.sentence().startswith(start)
    assert found.liked().startswith("Pictures that are liked more here are brighter (+")
    assert found.above_chance and found.pictures == 160
    for row in [*found.ranking, *found.in_likes]:
        assert row.low <= row.effect <= row.high
        assert bool(row.words) == (row.low > 0 or row.high < 0)
        assert row.p <= row.p_bh <= row.p_holm


def test_the_answer_is_kept_until_the_ranking_changes(bright: Study) -> None:
    found = explain(bright)
    path = bright.root / "reports" / "explanation.json"
    before = path.stat().st_mtime_ns
    assert explain(bright) == found and path.stat().st_mtime_ns == before
    assert explain(bright, redo=True) == found and path.stat().st_mtime_ns > before


def test_without_faces_and_without_pictures(tmp_path: Path) -> None:
    study = make(tmp_path / "study", n_authors=12, faces=False)
    with pytest.raises(MissingTableError, match="scores"):
        explain(study)
    rank(study)
    assert not {"faces", "face size"} & {row.name for row in explain(study).ranking}
    for part in map(Path, study.parts("pictures")):
        part.unlink()
        _write_without_bytes(part)
    with pytest.raises(DataError, match="not one of the pictures"):
        explain(study, redo=True)


def _write_without_bytes(path: Path) -> None:
    import pyarrow.parquet as pq

    from likewise.tables import PICTURES

    pq.write_table(PICTURES.schema.empty_table(), path)


def test_too_few_pictures_are_refused(tmp_path: Path) -> None:
    study = make(tmp_path / "study", n_authors=5, per_author=2)
    rank(study)
    with pytest.raises(DataError, match="too few"):
        explain(study)


def test_effect_is_the_difference_of_means_in_standard_deviations() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=40)
    x[:5] = np.nan
    top = np.arange(40) % 2 == 0
    (row,) = differences({"x": x}, top, np.arange(40))
    known = x[~np.isnan(x)]
    expected = (np.nanmean(x[top]) - np.nanmean(x[~top])) / known.std()
    assert row.effect == pytest.approx(expected)
    assert (row.top, row.n) == (pytest.approx(np.nanmean(x[top])), 35)


def test_constant_and_unknown_properties_are_left_out() -> None:
    top = np.arange(40) < 20
    flat, unknown = np.ones(40), np.full(40, np.nan)
    one_sided = np.where(top, np.arange(40.0), np.nan)
    values = {"flat": flat, "unknown": unknown, "one sided": one_sided}
    assert differences(values, top, np.arange(40)) == []


def test_where_nothing_differs_words_are_rare() -> None:
    """200 worlds of 12 properties that mean nothing, pictures of one author alike: at most about
    5 % of the worlds may be talked about (11 of 200 is the 95 % bound of that, plus slack)."""
    rng = np.random.default_rng(7)
    authors = np.repeat(np.arange(60), 4)
    talked = 0
    for world in range(200):
        taste = rng.normal(size=(12, 60))[:, authors]
        values = {f"p{i}": taste[i] + rng.normal(size=240) for i in range(12)}
        top = rng.permutation(240) < 120
        rows = differences(values, top, authors, seed=world, resamples=300)
        talked += any(row.words for row in rows)
    assert talked <= 22


def test_authors_not_pictures_are_what_is_drawn() -> None:
    """One author's fifty like pictures are one observation: the interval must stay wide."""
    rng = np.random.default_rng(3)
    authors = np.repeat(np.arange(8), 50)
    x = rng.normal(size=8)[authors] + 0.01 * rng.normal(size=400)
    top = authors < 4
    (clustered,) = differences({"x": x}, top, authors)
    (naive,) = differences({"x": x}, top, np.arange(400))
    assert clustered.high - clustered.low > 4 * (naive.high - naive.low)


def test_holm_by_hand() -> None:
    p = np.array([0.01, 0.04, 0.03, 0.005])
    assert holm(p) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def row(name: str, effect: float, reach: float, p_swap: float | None = 0.01) -> Difference:
    return Difference(name, 1, 0, 9, effect, effect - reach, effect + reach, 0, 0, 0, p_swap)


def test_the_strongest_effect_is_said_first_with_its_size() -> None:
    rows = [row("faces", -0.9, 0.2), row("brightness", 0.5, 0.1), row("warmth", 0.1, 0.2)]
    assert effects(rows) == (
        "with fewer faces (\u22120.90, \u22121.10 to \u22120.70), brighter (+0.50, +0.40 to +0.60)"
    )


def test_words_of_the_imagenet_head_must_hold_against_swapped_authors() -> None:
    assert row("animals", 0.5, 0.1).words == "more like animals"
    assert row("animals", 0.5, 0.1, p_swap=0.06).words == ""
    assert row("animals", 0.5, 0.1, p_swap=None).words == ""
    assert row("brightness", 0.5, 0.1, p_swap=None).words == "brighter"


def test_groups_that_hardly_a_picture_belongs_to_are_left_out() -> None:
    mass = np.full(100, 0.02)
    some = np.where(np.arange(100) < 8, 0.6, 0.02)
    assert list(plausible({"animals": mass, "food": some})) == ["food"]


def test_swaps_give_the_p_of_the_largest_effect() -> None:
    """Twelve properties that mean nothing: the least of their p-values is uniform from above."""
    least = []
    for world in range(100):
        rng = np.random.default_rng(world)
        author = np.repeat(np.arange(30), 2)
        top = np.repeat(rng.permutation(30) < 15, 2)
        values = {f"p{i}": rng.normal(size=30)[author] for i in range(12)}
        least.append(min(d.p_swap for d in differences(values, top, author, resamples=200)))
    assert sum(p <= 0.1 for p in least) <= 18
    assert sum(p <= 0.5 for p in least) >= 35


def test_a_model_no_better_than_chance_is_not_explained(tmp_path: Path) -> None:
    """Likes by chance: the ranking still goes by brightness, and that is no answer."""
    study = make(tmp_path / "study", n_authors=40, signal=0.0)
    rank(study)
    found = explain(study)
    assert not found.above_chance and found.ranking == []
    assert found.sentence().startswith("Nothing is said of what the model goes by")
    assert found.liked().startswith("Nothing that these data can show")
    assert isinstance(explain(study), Explanation)


def test_text_covers_more_of_a_page_than_of_photographs() -> None:
    page = np.ascontiguousarray(np.stack([skimage.data.page()] * 3, axis=-1))
    most = max(text_area(photo) for photo in photographs())
    assert text_area(page) > 0.1 > 20 * most


def test_text_area_grows_with_the_lines() -> None:
    photo = cv2.resize(photographs()[1], (640, 480))
    areas = []
    for _ in range(4):
        areas.append(text_area(photo))
        down = 60 + 90 * len(areas)
        cv2.putText(photo, "WHEN IT IS MONDAY", (20, down), 0, 1.4, (255, 255, 255), 4)
    assert areas == sorted(areas) and areas[-1] > areas[0] + 0.02
    assert text_area(np.full((300, 300, 3), 128, np.uint8)) == 0


def test_people_are_not_seen_in_a_cup_and_contents_take_any_shape() -> None:
    assert people(photographs()[2]) == 0
    for shape in ((64, 900, 3), (900, 64, 3), (1, 1, 3)):
        found = contents(np.zeros(shape, np.uint8))
        assert found == {"people": 0.0, "text area": 0.0}


def test_shares_by_hand() -> None:
    logits = np.full((2, 1000), -1000.0, np.float32)
    logits[0, [0, 397, 160, 924]] = 0  # tench, puffer, a dog; guacamole
    logits[1, [998, 999]] = 0  # ear of corn; toilet tissue
    found = shares(logits)
    assert found["animals"] == pytest.approx([0.75, 0])
    assert found["dogs and cats"] == pytest.approx([0.25, 0])
    assert found["food"] == pytest.approx([0.25, 0])
    assert found["plants and fruit"] == pytest.approx([0, 0.5])
    assert max(part.stop for parts in GROUPS.values() for part in parts) <= 1000


@pytest.mark.parametrize(
    ("folder", "group"),
    [("dalmatian", "dogs and cats"), ("flamingo", "animals"), ("strawberry", "food")],
)
def test_real_pictures_fall_into_their_groups(shared: Path, folder: str, group: str) -> None:
    import torch

    import backbones

    files = sorted((shared / "images" / "caltech101" / folder).glob("*.jpg"))[:8]
    inputs = np.stack([backbones.prepare(f.read_bytes(), "efficientnet-lite0") for f in files])
    with torch.inference_mode():
        logits = backbones.load("efficientnet-lite0")(torch.from_numpy(inputs)).numpy()
    found = shares(logits)
    assert np.median(found[group]) > 0.5
    assert all(np.median(found[other]) < 0.2 for other in ("landscape", "plants and fruit"))


def test_neighbours_equal_scikit_learns() -> None:
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(200, 16)).astype(np.float32)
    queries = rng.normal(size=(7, 16)).astype(np.float32)
    found, similarity = nearest_rows(queries, rows, 5)
    truth = NearestNeighbors(n_neighbors=5, metric="cosine").fit(rows)
    distance, order = truth.kneighbors(queries)
    assert (found == order).all()
    assert 1 - similarity == pytest.approx(distance, abs=1e-5)


def test_neighbours_in_a_study_leave_the_picture_itself_out(bright: Study) -> None:
    table = bright.read("features", ["picture_id", "flipped", "pooled"]).to_pylist()
    rows = {r["picture_id"]: np.array(r["pooled"]) for r in table if not r["flipped"]}
    asked = list(rows)[:3]
    found = nearest(bright, [*asked, "unknown"], k=4)
    assert list(found) and set(found) == set(asked)
    for key, near in found.items():
        unit = {name: x / np.linalg.norm(x) for name, x in rows.items() if name != key}
        query = rows[key] / np.linalg.norm(rows[key])
        truth = sorted(unit, key=lambda name: -float(query @ unit[name]))[:4]
        assert [n.picture_id for n in near] == truth
    with pytest.raises(DataError, match="fc9"):
        nearest(bright, asked, layer="fc9")
