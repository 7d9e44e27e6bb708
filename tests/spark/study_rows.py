"""Rows of posts, authors and pictures for the tests of the Spark stages."""

from __future__ import annotations

import datetime as dt
import hashlib
from pathlib import Path
from typing import Any

import pyarrow as pa
from fetched_rows import publish_fetched

from likewise.study import Study
from likewise.tables import TABLES, bucket_of, media_key

NOW = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)
BUCKETS = 16


def post(number: int, author: str = "a0", **other: Any) -> dict[str, Any]:
    """A post that passes every rule unless ``other`` says otherwise."""
    row = {
        "platform": "mastodon",
        "host": "one.example",
        "post_id": str(number),
        "author_id": author,
        "created_at": NOW - 60 * DAY,
        "collected_at": NOW,
        "likes": 5,
        "tags": ["me"],
        "media": [{"index": 0, "kind": "image", "url": f"http://one.example/{number}.jpg"}],
    }
    return row | other


def author(name: str, followers: int | None, at: dt.datetime = NOW, **other: Any) -> dict[str, Any]:
    """An author as read at one moment."""
    row = {"platform": "mastodon", "host": "one.example", "author_id": name}
    return row | {"followers": followers, "fetched_at": at} | other


def picture(number: int, data: bytes, author: str = "a0", **other: Any) -> dict[str, Any]:
    """A picture that was downloaded whole."""
    row = {
        "platform": "mastodon",
        "host": "one.example",
        "post_id": str(number),
        "media_index": 0,
        "author_id": author,
        "url": f"http://one.example/{number}.jpg",
        "picture_id": hashlib.sha256(data).hexdigest(),
        "bytes": data,
        "n_bytes": len(data),
        "phash": int.from_bytes(hashlib.sha256(data).digest()[:8], "big", signed=True),
        "status": "ok",
        "attempts": 1,
    }
    row |= other
    key = media_key(row["platform"], row["host"], row["post_id"], row["media_index"])
    return row | {"bucket": bucket_of(key, BUCKETS)}


def publish(folder: Path, name: str, rows: list[dict[str, Any]]) -> None:
    """Publish ``rows`` as the whole of table ``name``."""
    stage = Study.open(folder).begin(name)
    stage.write(pa.Table.from_pylist(rows, schema=TABLES[name].schema))
    stage.publish()


def publish_pictures(folder: Path, rows: list[dict[str, Any]]) -> None:
    """Publish ``rows`` as fetches and pictures, bucket by bucket."""
    publish_fetched(Study.open(folder), rows, parts=BUCKETS)


def configure(folder: Path, **sections: Any) -> None:
    """Write a ``likewise.toml`` with these sections."""
    from likewise.config import render

    text = render({"study": {"name": "a test"}, **sections})
    (folder / "likewise.toml").write_text(text, encoding="utf-8")
