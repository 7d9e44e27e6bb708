"""``faces`` and ``label`` on tables whose every row is known."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from study_rows import author, configure, picture, post, publish, publish_pictures

from likewise.errors import DataError
from likewise.study import Study
from likewise.tables import FACES, LABELS, check_schema
from spark_jobs.clean import clean
from spark_jobs.faces import faces
from spark_jobs.label import label


def jpeg(number: int, side: int = 64) -> bytes:
    noise = np.random.default_rng(number).integers(0, 255, (side, side, 3), np.uint8)
    return cv2.imencode(".jpg", noise)[1].tobytes()


@pytest.fixture
def labelled(study_folder: Any) -> Any:
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
        configure(study_folder, label={"require_faces": False, **settings})
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
    configure(study_folder, faces={"detector": "dlib-hog"})
    manifest = faces(study_folder)
    table = Study.open(study_folder).read("faces")
    check_schema(table.schema, FACES.schema, "faces")
    assert manifest.funnel["dropped"] == {}
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
    publish_pictures(study_folder, rows)
    manifest, table = labelled()
    assert manifest.funnel["dropped"] == {
        "copy (exact, same author)": 1,
        "copy (exact, other author)": 1,
        "copy (near, other author)": 1,
    }
    assert set(table["post_id"]) >= {"0"} and len(table) == 121


def test_per_author_labels_compare_an_author_with_itself(labelled: Any) -> None:
    manifest, rows = labelled(method="per-author", min_posts_per_author=4)
    own = rows.groupby("author_id")["ratio"].transform("median")
    assert (rows["label"] == (rows["ratio"] > own)).all()
    assert rows.groupby("author_id")["label"].sum().eq(2).all()
    assert manifest.extra["author_baseline"]["author_ap"] < 0.75


def test_per_author_needs_enough_posts(labelled: Any) -> None:
    with pytest.raises(DataError, match="no picture is left"):
        labelled(method="per-author", min_posts_per_author=5)


def test_a_margin_leaves_out_the_middle(labelled: Any) -> None:
    manifest, rows = labelled(margin=0.2)
    dropped = manifest.funnel["dropped"]["within 20% of the median"]
    assert dropped == 160 - len(rows) and 40 < dropped < 90
    cut = manifest.extra["cut"]
    assert not rows["ratio"].between(cut["low"], cut["high"], inclusive="right").any()


def test_the_report_finds_what_it_shows(labelled: Any) -> None:
    manifest, rows = labelled()
    extra = manifest.extra
    assert sum(extra["histogram"]["good"]) == rows["label"].sum()
    assert sum(extra["histogram"]["bad"]) == (rows["label"] == 0).sum()
    for side, part in rows.groupby("split"):
        assert extra["folds"][side]["pictures"] == part["fold"].value_counts().sort_index().tolist()
    # The planted likes are the author's number plus a little: the author is nearly everything.
    assert extra["author_baseline"]["author_ap"] > 0.95
    assert extra["author_baseline"]["variance_between_adjusted"] > 0.8


def test_pictures_without_faces_are_dropped(labelled: Any, study_folder: Any) -> None:
    configure(study_folder, faces={"detector": "dlib-hog"})
    clean(study_folder)
    faces(study_folder)
    with pytest.raises(DataError, match="no picture is left to label"):
        label(study_folder)


def test_labels_that_flip_are_named_with_their_reason(study_folder: Any) -> None:
    """Ten pictures of likes 1 ... 10; one is read again with more, then one comes at the top."""
    configure(study_folder, label={"require_faces": False, "folds": 2, "test_fraction": 0.5})
    names = [f"a{n}" for n in range(10)]
    publish(study_folder, "authors", [author(name, 100) for name in [*names, "new"]])

    def night(likes: list[int]) -> Any:
        posts = [post(n, f"a{n}" if n < 10 else "new", likes=k) for n, k in enumerate(likes)]
        publish(study_folder, "posts", posts)
        rows = [picture(n, jpeg(n), f"a{n}" if n < 10 else "new") for n in range(len(likes))]
        publish_pictures(study_folder, rows)
        clean(study_folder, redo=True)
        return label(study_folder, redo=True).extra.get("flips")

    ten = list(range(1, 11))
    assert night(ten) is None, "there were no labels before"
    # The lowest now has the most: it flips, and so does 6, which falls to the median.
    assert night([50, *ten[1:]]) == {
        "labelled_before": 10, "flipped": 2, "counts_changed": 1, "cut_moved": 1,
    }  # fmt: skip
    assert night([50, *ten[1:]]) == {
        "labelled_before": 10, "flipped": 0, "counts_changed": 0, "cut_moved": 0,
    }  # fmt: skip
