"""``faces`` and ``label`` on tables whose every row is known."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from study_rows import author, picture, post, publish, publish_pictures

from likewise.study import Study
from likewise.tables import FACES, LABELS, check_schema
from spark_jobs.clean import clean
from spark_jobs.faces import faces
from spark_jobs.label import label


def jpeg(number: int, side: int = 64) -> bytes:
    noise = np.random.default_rng(number).integers(0, 255, (side, side, 3), np.uint8)
    return cv2.imencode(".jpg", noise)[1].tobytes()


def configure(folder: Any, section: str, **values: Any) -> None:
    from likewise.config import render

    text = render({"study": {"name": "a test"}, section: values})
    (folder / "likewise.toml").write_text(text, encoding="utf-8")


@pytest.fixture
def labelled(study_folder: Any, spark: Any) -> Any:
    """40 authors of four posts; author n's posts have n + 1, n + 2, ... likes, 100 followers."""
    posts, pictures = [], []
    for number in range(160):
        owner = f"a{number // 4}"
        likes = number // 4 + number % 4 + 1
        posts.append(post(number, owner, likes=likes))
        pictures.append(picture(number, jpeg(number), owner))
    publish(study_folder, "posts", posts)
    publish(study_folder, "authors", [author(f"a{n}", 100) for n in range(40)])
    publish_pictures(study_folder, [*pictures, picture(160, jpeg(0), "a0")])

    def run(**settings: Any) -> Any:
        configure(study_folder, "label", require_faces=False, **settings)
        clean(study_folder)
        manifest = label(study_folder)
        table = Study.open(study_folder).read("labels")
        check_schema(table.schema, LABELS.schema, "labels")
        return manifest, table.sort_by("post_id").to_pandas()

    return run


def test_pooled_labels_split_at_the_median(labelled: Any) -> None:
    manifest, rows = labelled()
    assert manifest.funnel["dropped"] == {"post not kept": 1}
    middle = np.median(rows["ratio"])
    assert manifest.extra["cut"]["median"] == middle
    assert (rows["label"] == (rows["ratio"] > middle)).all()
    assert rows.groupby("author_id")["fold"].nunique().max() == 1
    assert rows.groupby("author_id")["split"].nunique().max() == 1
    assert set(rows["fold"]) == set(range(5))


def test_faces_answers_for_every_distinct_picture(study_folder: Any, spark: Any) -> None:
    good = [picture(n, jpeg(n)) for n in range(20)]
    copy = picture(99, jpeg(3))
    broken = picture(50, b"\xff\xd8\xff\xe0 not a picture")
    publish_pictures(study_folder, [*good, copy, broken])
    configure(study_folder, "faces", detector="dlib-hog")
    manifest = faces(study_folder)
    table = Study.open(study_folder).read("faces")
    check_schema(table.schema, FACES.schema, "faces")
    assert manifest.funnel["dropped"] == {"copy of another picture": 1}
    assert sorted(table["picture_id"].to_pylist()) == sorted(
        {row["picture_id"] for row in [*good, broken]}
    )
    failed = [row for row in table.to_pylist() if row["status"] == "failed"]
    assert [row["picture_id"] for row in failed] == [broken["picture_id"]]
    assert failed[0]["error_class"] and failed[0]["n_faces"] is None


def test_copies_are_dropped_by_kind(labelled: Any, study_folder: Any) -> None:
    rows = [
        picture(0, jpeg(0), "a0", phash=0),
        picture(1, jpeg(0), "a0", phash=0),
        picture(4, jpeg(0), "a1", phash=0),
        picture(5, jpeg(5), "a1", phash=0b111),
        *(picture(n, jpeg(n), f"a{n // 4}") for n in range(40, 160)),
    ]
    stage = Study.open(study_folder)
    import shutil

    shutil.rmtree(stage.root / "tables" / "pictures")
    publish_pictures(study_folder, rows)
    manifest, table = labelled()
    assert manifest.funnel["dropped"] == {
        "copy (exact, same author)": 1,
        "copy (exact, other author)": 1,
        "copy (near, other author)": 1,
    }
    assert set(table["post_id"]) >= {"0"} and len(table) == 121
