"""``clean`` and ``label`` beside the same rules in DuckDB, on generated rows with every fault."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
from study_rows import DAY, NOW, author, configure, picture, post, publish, publish_pictures

from likewise.study import Study
from spark_jobs.clean import clean
from spark_jobs.label import label

RULES = """
WITH read AS (
  SELECT platform, host, author_id, fetched_at AS seen, min(followers) AS count
  FROM authors GROUP BY ALL),
latest AS (
  SELECT platform, host, author_id, arg_max(count, seen) FILTER (WHERE count IS NOT NULL) AS latest
  FROM read GROUP BY ALL),
centre AS (
  SELECT median(ln(1 + latest)) AS median, mad(ln(1 + latest)) AS mad FROM latest WHERE latest > 0),
nearest AS (
  SELECT p.post_id, r.count AS followers, r.seen AS followers_at
  FROM posts p JOIN read r USING (platform, host, author_id) WHERE r.count IS NOT NULL
  QUALIFY row_number() OVER (
    PARTITION BY p.post_id
    ORDER BY abs(epoch_us(r.seen) - epoch_us(p.collected_at)), r.seen, r.count) = 1),
facts AS (
  SELECT p.*, l.author_id IS NULL AS nobody, latest, n.followers, n.followers_at, median, mad,
         coalesce(indexed_at, created_at) AS since, TIMESTAMPTZ '2004-02-01 00:00:00+00' AS opened,
         (epoch_us(collected_at) - epoch_us(coalesce(indexed_at, created_at))) / 86400e6 AS age,
         CASE WHEN latest > 0 THEN 0.6745 * (ln(1 + latest) - median) / mad END AS z,
         exp(median - 3.5 / 0.6745 * mad) - 1 AS lower,
         exp(median + 3.5 / 0.6745 * mad) - 1 AS upper
  FROM posts p LEFT JOIN latest l USING (platform, host, author_id)
  LEFT JOIN nearest n USING (post_id), centre)
SELECT post_id, followers, followers_at, age, z, CASE
  WHEN likes IS NULL THEN 'likes hidden'
  WHEN likes < 0 THEN 'likes below zero'
  WHEN since IS NULL THEN 'date unknown'
  WHEN since < opened OR created_at < opened THEN 'dated before any platform opened'
  WHEN since > collected_at THEN 'dated after it was collected'
  WHEN age < 30 THEN 'younger than 30 days'
  WHEN nobody THEN 'author unknown'
  WHEN followers IS NULL THEN 'followers unknown'
  WHEN followers < 0 THEN 'followers below zero'
  WHEN followers = 0 THEN 'zero followers'
  WHEN abs(epoch_us(followers_at) - epoch_us(collected_at)) > 90 * 86400e6
    THEN 'followers read more than 90 days away'
  WHEN likes > 20 * followers THEN 'likes above 20 x followers'
  WHEN latest < lower THEN 'author''s followers below the lower bound'
  WHEN latest > upper THEN 'author''s followers above the upper bound'
  END AS reason
FROM facts ORDER BY post_id
"""

VIEWS = """
WITH latest AS (SELECT author_id, max(views) AS latest FROM posts GROUP BY ALL),
x AS (SELECT *, ln(1 + latest) AS x FROM latest WHERE latest > 0),
centre AS (SELECT median(x) AS median, mad(x) AS mad FROM x)
SELECT post_id, views, 0.6745 * (ln(1 + latest) - median) / mad AS z
FROM posts JOIN latest USING (author_id), centre
WHERE likes >= 0 AND views > 0 AND likes <= 20 * views
  AND coalesce(indexed_at, created_at) BETWEEN TIMESTAMPTZ '2004-02-01 00:00:00+00' AND collected_at
  AND coalesce(created_at >= TIMESTAMPTZ '2004-02-01 00:00:00+00', true)
  AND epoch_us(collected_at) - epoch_us(coalesce(indexed_at, created_at)) >= 30 * 86400e6
  AND abs(0.6745 * (ln(1 + latest) - median) / mad) <= 3.5
ORDER BY post_id
"""


def dirty(seed: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Posts and authors: nulls, zeros, wrong signs and dates, readings that come twice."""
    rng = np.random.default_rng(seed)

    def maybe(value: Any, gone: float) -> Any:
        return None if rng.random() < gone else value

    def name(number: int) -> str:
        return ("é" if number % 7 == 0 else "a") * (1 + number % 40) + str(number)

    authors = []
    for number in range(250):
        usual = int(rng.lognormal(6, 0.6))
        base = int(rng.choice([usual, 0, -3, 5, 9_000_000], p=[0.85, 0.05, 0.02, 0.04, 0.04]))
        days = rng.integers(-110, 40, rng.integers(1, 6))
        for day in [*days, *days[: rng.integers(0, 2)]]:
            followers = maybe(base + int(rng.integers(0, 9)) * (base > 5), 0.1)
            authors.append(author(name(number), followers, NOW + int(day) * DAY))
    posts = []
    for number in range(2500):
        age = float(rng.choice([-1, 3, 29.99, 30, 20_000, 45, 500], p=[*[0.04] * 5, 0.4, 0.4]))
        media = [{"index": 0, "kind": "image", "url": None}] * int(rng.integers(3))
        made = {
            "likes": maybe(int(rng.lognormal(3, 2)) - 1, 0.04),
            "created_at": maybe(NOW - age * DAY, 0.05),
            "indexed_at": maybe(NOW - float(rng.choice([-2, 10, 40])) * DAY, 0.8),
            "collected_at": NOW + dt.timedelta(hours=int(rng.choice([0, 0, 0, 12, 36]))),
            "views": maybe(int(rng.lognormal(6, 1)) * int(rng.random() > 0.05), 0.1),
            "text": maybe("words", 0.5),
            "media": maybe(media, 0.1),
        }
        posts.append(post(number, name(int(rng.integers(260))), **made))
    return posts, authors


@pytest.fixture
def study(study_folder: Path) -> Study:
    posts, authors = dirty(seed=11)
    publish(study_folder, "posts", posts)
    publish(study_folder, "authors", authors)
    files = [picture(int(p["post_id"]), p["post_id"].encode(), p["author_id"]) for p in posts]
    publish_pictures(study_folder, files)
    return Study.open(study_folder)


def asked(study: Study, sql: str) -> list[dict[str, Any]]:
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'; SET threads TO 1")
        for name in ("posts", "authors", "kept_posts"):
            if study.manifest(name) is not None:
                connection.register(name, study.read(name))
        return connection.sql(sql).to_arrow_table().to_pylist()


def test_clean_keeps_and_counts_what_duckdb_does(study: Study) -> None:
    manifest = clean(study)
    judged = asked(study, RULES)
    counts: dict[str, int] = {}
    for row in judged:
        if row["reason"] is not None:
            counts[row["reason"]] = counts.get(row["reason"], 0) + 1
    assert manifest.funnel is not None
    assert manifest.funnel["dropped"] == counts
    assert len(counts) == 14 and min(counts.values()) > 1
    kept = study.read("kept_posts").sort_by("post_id").to_pylist()
    expected = {row["post_id"]: row for row in judged if row["reason"] is None}
    assert [row["post_id"] for row in kept] == list(expected)
    assert 500 < len(kept) < 2000
    posts = {row["post_id"]: row for row in study.read("posts").to_pylist()}
    for row in kept:
        twin = expected[row["post_id"]]
        assert row["audience"] == twin["followers"]
        assert row["audience_at"] == twin["followers_at"]
        assert row["age_days"] == twin["age"]
        assert row["robust_z"] == pytest.approx(twin["z"], rel=1e-9, abs=1e-9)
        original = posts[row["post_id"]]
        for name in ("platform", "host", "author_id", "created_at", "likes"):
            assert row[name] == original[name]


def test_views_as_audience_keep_what_duckdb_does(study: Study) -> None:
    configure(study.root, label={"target": "likes/views"})
    clean(study.root)
    kept = Study.open(study.root).read("kept_posts").sort_by("post_id")
    expected = asked(study, VIEWS)
    assert kept["post_id"].to_pylist() == [row["post_id"] for row in expected]
    z = [row["z"] for row in expected]
    assert kept["robust_z"].to_pylist() == pytest.approx(z, rel=1e-9, abs=1e-9)
    assert kept["audience"].to_pylist() == [row["views"] for row in expected]


OWN = """
WITH of_author AS (
  SELECT author_id, quantile_cont(likes / audience, 0.4) AS low,
         quantile_cont(likes / audience, 0.6) AS high, count(*) AS n
  FROM kept_posts GROUP BY ALL)
SELECT post_id, likes / audience AS ratio, (likes / audience > high)::INT AS label
FROM kept_posts JOIN of_author USING (author_id)
WHERE n >= 4 AND (likes / audience > high OR likes / audience <= low) ORDER BY post_id
"""

POOLED = """
WITH cut AS (SELECT median(likes / audience) AS cut FROM kept_posts)
SELECT post_id, likes / audience AS ratio, (likes / audience > cut)::INT AS label
FROM kept_posts, cut ORDER BY post_id
"""


@pytest.mark.parametrize(
    ("settings", "sql"), [({}, POOLED), ({"method": "per-author", "margin": 0.1}, OWN)]
)
def test_labels_are_those_of_duckdb(study: Study, settings: dict[str, Any], sql: str) -> None:
    configure(study.root, label={"require_faces": False, **settings})
    clean(study.root)
    label(study.root)
    found = study.read("labels", ["post_id", "ratio", "label"]).sort_by("post_id").to_pylist()
    assert found == asked(study, sql) and len(found) > 300
