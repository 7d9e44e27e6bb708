"""``clean`` on tables whose every row is known."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import pytest
from scipy.stats import median_abs_deviation
from study_rows import DAY, NOW, author, configure, post, publish

from likewise.errors import DataError
from likewise.study import Study
from likewise.tables import KEPT_POSTS, check_schema
from spark_jobs.clean import clean

ORDINARY = [author(f"a{n}", 100 + n) for n in range(40)]


@pytest.fixture
def run(study_folder: Any) -> Any:
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
    assert (row["likes"], row["audience"], row["age_days"]) == (5, 100, 60.0)
    assert row["audience_at"] == NOW and row["created_at"] == NOW - 60 * DAY


def test_followers_are_those_read_nearest_to_the_likes(run: Any) -> None:
    """Each author's readings, and what a post collected at NOW is divided by."""
    cases = {
        "once": ([(110, 5)], 110),
        "later-is-nearer": ([(110, -20), (115, 10)], 115),
        "earlier-is-nearer": ([(110, -10), (115, 20)], 110),
        "as-near": ([(110, -5), (115, 5)], 110),
        "many": ([(110, -40), (115, -3), (120, 8), (125, 30)], 115),
        "unknown-when-nearest": ([(110, -40), (None, 0)], 110),
    }
    authors = [
        author(name, followers, NOW + days * DAY)
        for name, (readings, _) in cases.items()
        for followers, days in readings
    ]
    posts = [post(100 + n, name, likes=1) for n, name in enumerate(cases)]
    _, kept = run(posts, authors)
    found = dict(zip(kept["author_id"].to_pylist(), kept["audience"].to_pylist(), strict=True))
    assert found == {name: expected for name, (_, expected) in cases.items()}


def test_bounds_and_histograms_are_told(run: Any) -> None:
    manifest, kept = run([post(1)], [author("star", 9_000_000), author("nobody", None)])
    followers = np.array([*range(100, 140), 9_000_000])
    x = np.log1p(followers)
    rule = manifest.extra["bounds"]
    assert rule["median"] == pytest.approx(np.median(x))
    assert rule["deviation"] == pytest.approx(median_abs_deviation(x))
    assert (rule["n"], rule["cut_high"], rule["cut_low"]) == (41, 1, 0)
    assert manifest.extra["authors"] == {"known": 41, "unknown": 1, "without_audience": 0}
    assert sum(manifest.extra["histogram"]["before"]["counts"]) == 41
    assert sum(manifest.extra["histogram"]["after"]["counts"]) == 40
    z = 0.6745 * (np.log1p(100) - np.median(x)) / median_abs_deviation(x)
    assert kept["robust_z"].to_pylist() == pytest.approx([z])


def test_the_time_that_the_server_saw_a_post_counts(run: Any) -> None:
    """A post imported yesterday with an old date has gathered likes for a day."""
    old = dt.datetime(2012, 1, 1, tzinfo=dt.UTC)
    imported = post(1, created_at=old, indexed_at=NOW - DAY)
    settled = post(2, created_at=NOW + DAY, indexed_at=NOW - 40 * DAY)
    manifest, kept = run([imported, settled], [])
    assert manifest.funnel["dropped"] == {"younger than 30 days": 1}
    assert kept.to_pylist()[0]["age_days"] == 40.0


def test_many_distinct_counts_are_rounded_first(study_folder: Any) -> None:
    configure(study_folder, clean={"exact_up_to": 10})
    rng = np.random.default_rng(1)
    followers = np.unique(rng.lognormal(9, 1, 300).astype(int))
    publish(study_folder, "authors", [author(f"a{n}", int(f)) for n, f in enumerate(followers)])
    publish(study_folder, "posts", [post(1)])
    rule = clean(study_folder).extra["bounds"]
    assert not rule["exact"]
    assert np.expm1(rule["median"]) == pytest.approx(np.median(followers), rel=5e-4)


def test_views_take_the_place_of_followers(study_folder: Any) -> None:
    configure(study_folder, label={"target": "likes/views"})
    publish(study_folder, "authors", [author("a0", None)])
    rows = [post(n, f"a{n % 10}", views=100 + n) for n in range(20)]
    publish(study_folder, "posts", [*rows, post(30, views=None), post(31, views=0)])
    manifest = clean(study_folder)
    assert manifest.funnel["dropped"] == {"views unknown": 1, "zero views": 1}
    assert manifest.extra["audience"] == "views"
    kept = Study.open(study_folder).read("kept_posts").sort_by("audience")
    assert kept["audience"].to_pylist() == [*range(100, 120)]
    assert set(kept["audience_at"].to_pylist()) == {NOW}


def test_likes_alone_need_no_authors(study_folder: Any) -> None:
    configure(study_folder, label={"target": "likes"})
    publish(study_folder, "authors", [])
    publish(study_folder, "posts", [post(1), post(2, likes=None)])
    manifest = clean(study_folder)
    assert (manifest.rows, manifest.funnel["dropped"]) == (1, {"likes hidden": 1})


@pytest.mark.parametrize("authors", [[], [author("a0", None), author("a1", 0)]])
def test_no_author_with_followers_is_an_error(
    study_folder: Any, authors: list[dict[str, Any]]
) -> None:
    publish(study_folder, "authors", authors)
    publish(study_folder, "posts", [post(1)])
    with pytest.raises(DataError, match="follower count"):
        clean(study_folder)


def test_no_posts_give_an_empty_table(run: Any) -> None:
    manifest, kept = run([], [])
    assert manifest.rows == len(kept) == 0
    check_schema(kept.schema, KEPT_POSTS.schema, "kept_posts")


def test_a_failed_run_leaves_nothing_behind(study_folder: Any) -> None:
    publish(study_folder, "authors", [])
    publish(study_folder, "posts", [post(1)])
    with pytest.raises(DataError):
        clean(study_folder)
    assert list((study_folder / ".staging").iterdir()) == []
    assert Study.open(study_folder).manifest("kept_posts") is None
