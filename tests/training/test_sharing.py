"""A report to pass on holds no face that was found, no name and no more pictures than asked."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from fake_study import make

from likewise.errors import MissingTableError
from likewise.study import Study
from training.rank import rank
from training.report import report
from training.report.sharing import FaceVeil, Sharing


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    made = make(tmp_path_factory.mktemp("share") / "study", n_authors=16)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.rank._wants_spark", lambda *_: False)
        rank(made, n=6)
    return made


def test_faces_are_blurred_and_the_rest_is_not(study: Study) -> None:
    faces = study.read("faces").to_pylist()
    one = next(row for row in faces if row["boxes"])
    sizes = {
        r["picture_id"]: r
        for r in study.read("pictures", ["picture_id", "width", "height"]).to_pylist()
    }
    size = sizes[one["picture_id"]]
    rgb = np.random.default_rng(1).integers(0, 255, (size["height"], size["width"], 3), np.uint8)
    veil = FaceVeil(study)
    shown = veil(one["picture_id"], rgb)
    inside = np.zeros(rgb.shape[:2], bool)
    around = inside.copy()
    for box in one["boxes"]:
        x, y, w, h = (int(box[k]) for k in ("x", "y", "width", "height"))
        inside[y : y + h, x : x + w] = True
        margin = int(0.3 * max(w, h)) + 2
        around[max(0, y - margin) : y + h + margin, max(0, x - margin) : x + w + margin] = True
    assert rgb[inside].std() > 60 and shown[inside].std() < 40
    assert (shown[~around] == rgb[~around]).all()


def test_a_picture_that_was_not_looked_at_is_blurred_whole(study: Study) -> None:
    rgb = np.random.default_rng(1).integers(0, 255, (200, 300, 3), np.uint8)
    assert FaceVeil(study)("unknown", rgb).std() < 40


def test_without_faces_nothing_is_promised(tmp_path: Path) -> None:
    bare = make(tmp_path / "bare", n_authors=6, faces=False, features=False)
    with pytest.raises(MissingTableError, match="none can be blurred"):
        report(bare, sharing=Sharing(blur_faces=True))


def test_no_name_and_no_more_than_asked(study: Study) -> None:
    usual = report(study).read_text(encoding="utf-8")
    path = report(study, sharing=Sharing(no_handles=True, top=2))
    text = path.read_text(encoding="utf-8")
    assert path.name == "shared.html"
    people = {row["handle"] for row in study.read("authors").to_pylist()}
    links = {row["url"] for row in study.read("posts").to_pylist()}
    named = {one for one in people if one and re.search(rf"\b{re.escape(one)}\b", text)}
    assert named == set()
    assert not any(url in text for url in links if url)
    assert "author 1" in text
    gallery = re.compile(r'<p class="who">')
    assert len(gallery.findall(text)) == 4 < len(gallery.findall(usual))
    assert report(study).read_text(encoding="utf-8") == usual
