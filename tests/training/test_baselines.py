"""Baselines by hand, and plain properties of pictures whose answer is known."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fetched_rows import publish_fetched
from PIL import Image
from planted import World, plant, publish, study

from likewise.study import Study
from training.comparison.baselines import Known, author_history, baselines, known_and_picture
from training.data.matrix import Labels, load_labels
from training.pictures.looks import picture_looks
from training.pictures.properties import PROPERTIES, properties


@pytest.fixture
def opened(tmp_path: object) -> Study:
    return study(tmp_path, World(authors=60, author_effect=3.0, strength=0.0))[0]  # type: ignore[arg-type]


def test_history_is_the_authors_past_before_the_post(opened: Study) -> None:
    """By hand: earlier posts of the author, none of the same moment, none that is undated."""
    labels = load_labels(opened)
    created = labels.created.copy()
    rng = np.random.default_rng(0)
    created[rng.random(len(created)) < 0.2] = np.nan
    same = rng.random(len(created)) < 0.5  # half of the posts share their day with others
    created[same] = np.floor(created[same])
    labels = replace(labels, created=created)
    share, past = author_history(labels, prior=0.4)
    for i in range(len(share)):
        earlier = [
            int(labels.label[j])
            for j in range(len(share))
            if labels.author[j] == labels.author[i] and created[j] < created[i]
        ]
        assert past[i] == len(earlier)
        assert share[i] == pytest.approx((sum(earlier) + 0.4) / (len(earlier) + 1))
    assert (past > 0).any()


def found_auc(labels: Labels) -> dict[str, float]:
    found = baselines(labels, Known.of(labels), None)
    return {b.name: float(b.evaluation.metrics()["roc_auc"]) for b in found}


def test_history_finds_authors_that_are_alike(tmp_path: Path) -> None:
    world = World(authors=80, pictures=6, author_effect=3.0, strength=0.0)
    found = found_auc(load_labels(study(tmp_path, world)[0]))
    assert set(found) == {"chance", "followers", "author-history", "time-of-day"}
    assert found["chance"] == 0.5
    assert found["author-history"] > 0.75


def test_history_is_no_opponent_where_authors_have_one_picture(tmp_path: Path) -> None:
    labels = load_labels(study(tmp_path, World(authors=120, pictures=1))[0])
    known = Known.of(labels)
    assert "author history" not in known.designs
    assert "0% of the pictures have an earlier post" in known.notes[0]


def test_history_is_no_opponent_of_labels_within_authors(opened: Study) -> None:
    """Half of everybody's pictures are good there: what the past had, the future lacks."""
    labels = replace(load_labels(opened), method="per-author")
    known = Known.of(labels)
    assert "author history" not in known.designs
    assert "by construction" in known.notes[0]


def test_what_is_known_keeps_its_precision_when_noise_is_added(tmp_path: Path) -> None:
    """Followers decide, the picture is noise: together they are no better than followers alone."""
    labels = load_labels(study(tmp_path, World(authors=300, strength=0.0))[0])
    rng = np.random.default_rng(1)
    audience = rng.lognormal(6, 1, len(labels.label))
    label = (np.log(audience) + 0.5 * rng.normal(size=len(audience)) < 6).astype(np.int64)
    labels = replace(labels, followers=audience, label=label)
    noise = rng.normal(size=len(label))
    n = labels.n_train
    known, both = known_and_picture(labels, Known.of(labels), noise[:n], noise[n:])
    before, after = (float(e.metrics()["average_precision"]) for e in (known, both))
    assert before > 0.9
    assert after == pytest.approx(before, abs=0.01)


def test_chance_has_the_precision_of_the_share(opened: Study) -> None:
    labels = load_labels(opened)
    chance = baselines(labels, Known.of(labels), None)[0]
    share = labels.label[labels.n_train :].mean()
    assert float(chance.evaluation.metrics()["average_precision"]) == pytest.approx(share)


def test_a_property_that_decides_is_found(opened: Study) -> None:
    labels = load_labels(opened)
    looks = np.random.default_rng(0).normal(size=(len(labels.label), 3))
    looks[:, 1] += 4 * labels.label
    looks[::9, 0] = np.nan
    found = baselines(labels, Known.of(labels), looks)[-1]
    assert found.name == "picture-properties"
    assert found.evaluation.metrics()["roc_auc"] > 0.95


def test_unknown_times_leave_the_clock_out(tmp_path: object) -> None:
    opened, planted = study(tmp_path, World(authors=40))  # type: ignore[arg-type]
    import pyarrow as pa

    from likewise.tables import LABELS

    for row in planted.labels:
        row["created_at"] = None
    publish(opened, "labels", pa.Table.from_pylist(planted.labels, LABELS.schema))
    assert set(Known.of(load_labels(opened)).designs) == {"followers"}


def flat(colour: tuple[int, int, int], size: tuple[int, int] = (40, 20)) -> np.ndarray:
    return np.full((size[1], size[0], 3), colour, dtype=np.uint8)


def test_properties_of_plain_colours() -> None:
    grey, red = properties(flat((128, 128, 128))), properties(flat((255, 0, 0)))
    assert grey["brightness"] == pytest.approx(128 / 255, abs=0.005)
    assert grey["saturation"] == grey["contrast"] == grey["warmth"] == 0
    assert grey["colourfulness"] == pytest.approx(0)
    assert red["saturation"] == red["warmth"] == 1
    # rg = 255 and yb = 127.5 everywhere, no spread: 0.3 sqrt(255^2 + 127.5^2).
    assert red["colourfulness"] == pytest.approx(0.3 * np.hypot(255, 127.5), rel=1e-5)
    assert red["aspect"] == 2
    assert red["megapixels"] == pytest.approx(800e-6)


def test_size_is_that_of_the_original() -> None:
    found = properties(flat((1, 2, 3)), width=4000, height=3000)
    assert (found["megapixels"], found["aspect"]) == (12.0, pytest.approx(4 / 3))
    assert tuple(found) == PROPERTIES


def test_a_sharp_picture_is_sharper_than_its_blur() -> None:
    rng = np.random.default_rng(0)
    sharp = rng.integers(0, 255, (128, 128, 3)).astype(np.uint8)
    blurred = np.asarray(Image.fromarray(sharp).resize((16, 16)).resize((128, 128)))
    assert properties(sharp)["sharpness"] > properties(blurred)["sharpness"] + 0.5


def test_looks_come_from_the_pictures_table(opened: Study) -> None:
    labels = load_labels(opened)
    rows = []
    for i, row in enumerate(plant(World(authors=60, author_effect=3.0, strength=0.0)).labels):
        file = io.BytesIO()
        Image.fromarray(flat((i, i, i), (300, 200))).save(file, "JPEG")
        data = file.getvalue() if i else b"not a picture"
        copied = {k: row[k] for k in ("platform", "host", "post_id", "author_id", "picture_id")}
        fixed = {"media_index": 0, "bucket": 0, "url": "u", "status": "ok", "attempts": 1}
        facts = {"n_bytes": len(data), "width": 300, "height": 200}
        rows.append({**copied, **fixed, **facts, "bytes": data})
    publish_fetched(opened, rows[::-1])
    looks = picture_looks(opened, labels, 2)
    assert looks is not None
    number = np.array([int(name, 16) for name in labels.picture_id])
    brightness = looks[:, PROPERTIES.index("brightness")]
    assert np.isnan(brightness[number == 0]).all()
    shown = number > 0
    np.testing.assert_allclose(brightness[shown] * 255, number[shown], atol=1.5)
