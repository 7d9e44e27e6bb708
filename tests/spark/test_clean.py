"""``clean`` on tables whose every row is known."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from study_rows import DAY, NOW, author, post, publish

from likewise.study import Study
from likewise.tables import KEPT_POSTS, check_schema
from spark_jobs.clean import clean

ORDINARY = [author(f"a{n}", 100 + n) for n in range(40)]


@pytest.fixture
def run(study_folder: Any, spark: Any) -> Any:
    def run(posts: list[dict[str, Any]], authors: list[dict[str, Any]]) -> Any:
        publish(study_folder, "posts", posts)
        publish(study_folder, "authors", [*ORDINARY, *authors])
        manifest = clean(study_folder)
        return manifest, Study.open(study_folder).read("kept_posts").sort_by("post_id")

    return run


def test_every_reason_is_named_and_counted(run: Any) -> None:
    cases = [
        ("likes hidden", post(1, likes=None)),
        ("likes below zero", post(2, likes=-1)),
        ("date unknown", post(3, created_at=None)),
        (
            "dated before any platform opened",
            post(4, created_at=dt.datetime(1970, 1, 1, tzinfo=dt.UTC)),
        ),
        ("dated after it was collected", post(5, created_at=NOW + DAY)),
        ("younger than 30 days", post(6, created_at=NOW - 29.9 * DAY)),
        ("author unknown", post(7, author="nobody")),
        ("followers unknown", post(8, author="hidden")),
        ("followers below zero", post(9, author="negative")),
        ("zero followers", post(10, author="zero")),
        ("followers read more than 90 days away", post(11, author="stale")),
        ("likes above 20 x followers", post(12, likes=2001)),
        ("author's followers below the lower bound", post(13, author="small")),
        ("author's followers above the upper bound", post(14, author="star")),
    ]
    authors = [
        author("hidden", None),
        author("negative", -3),
        author("zero", 0),
        author("stale", 110, NOW - 91 * DAY),
        author("small", 2),
        author("star", 5_000_000),
    ]
    manifest, kept = run([row for _, row in cases] + [post(20), post(21, likes=0)], authors)
    assert manifest.funnel["dropped"] == {reason: 1 for reason, _ in cases}
    assert kept["post_id"].to_pylist() == ["20", "21"]
    check_schema(kept.schema, KEPT_POSTS.schema, "kept_posts")
    row = kept.to_pylist()[0]
    assert row["media"][0]["url"] == "http://one.example/20.jpg"
    assert (row["followers"], row["age_days"], row["tags"]) == (100, 60.0, ["me"])
