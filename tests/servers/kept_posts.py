"""Kept posts that point at a server, and what the download made of them."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pyarrow as pa

from likewise.study import Study
from likewise.tables import KEPT_POSTS, POSTS

NOW = dt.datetime(2026, 1, 2, tzinfo=dt.UTC)


def keep(study: Study, urls: list[str], *, host: str = "a.example") -> None:
    """Publish kept posts, each with one picture."""
    posts = [
        {
            "platform": "mastodon",
            "host": host,
            "post_id": f"{number:05d}",
            "author_id": str(number % 7),
            "collected_at": NOW,
            "likes": 1,
            "media": [{"index": 0, "kind": "image", "url": url}],
        }
        for number, url in enumerate(urls)
    ]
    kept = [{**post, "audience": 10, "age_days": 40.0, "robust_z": 0.0} for post in posts]
    for spec, rows in ((POSTS, posts), (KEPT_POSTS, kept)):
        stage = study.begin(spec.name, params={"urls": urls, "host": host}, redo=True)
        stage.write(pa.Table.from_pylist(rows, schema=spec.schema))
        stage.publish(rows=len(rows))


def rows_of(study: Study) -> dict[str, dict[str, Any]]:
    """What came of each post's picture."""
    names = ["post_id", "status", "error_class", "attempts", "picture_id", "http_status", "bucket"]
    return {row["post_id"]: row for row in study.read("fetches", names).to_pylist()}
