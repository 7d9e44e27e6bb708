"""Servers that misbehave, and studies that point at them."""

from __future__ import annotations

import datetime as dt
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from misbehaving import Misbehaving

from likewise.config import render
from likewise.study import Study
from likewise.tables import KEPT_POSTS

NOW = dt.datetime(2026, 1, 2, tzinfo=dt.UTC)


@pytest.fixture
def server() -> Iterator[Misbehaving]:
    with Misbehaving() as running:
        yield running


@pytest.fixture
def make_study(tmp_path: Path) -> Callable[..., Study]:
    """Make (or change) a study whose kept posts have these addresses."""

    def make(urls: list[str], **download: Any) -> Study:
        folder = tmp_path / "study"
        folder.mkdir(exist_ok=True)
        settings = {"allow_hosts": ["127.0.0.1"], "timeout_s": 2.0, "workers": 1} | download
        (folder / "likewise.toml").write_text(render({"download": settings}), encoding="utf-8")
        study = Study.open(folder)
        keep(study, urls)
        return study

    return make


def keep(study: Study, urls: list[str], *, host: str = "a.example") -> None:
    """Publish kept posts, each with one picture."""
    posts = [
        {
            "platform": "mastodon",
            "host": host,
            "post_id": f"{number:05d}",
            "author_id": str(number % 7),
            "collected_at": NOW,
            "followers": 10,
            "age_days": 40.0,
            "robust_z": 0.0,
            "media": [{"index": 0, "kind": "image", "url": url}],
        }
        for number, url in enumerate(urls)
    ]
    stage = study.begin("kept_posts", params={"urls": urls, "host": host}, redo=True)
    stage.write(pa.Table.from_pylist(posts, schema=KEPT_POSTS.schema))
    stage.publish(rows=len(posts))


def rows_of(study: Study) -> dict[str, dict[str, Any]]:
    """Rows of the pictures table by post, without the bytes."""
    names = ["post_id", "status", "error_class", "attempts", "picture_id", "http_status", "bucket"]
    return {row["post_id"]: row for row in study.read("pictures", names).to_pylist()}


@pytest.fixture(scope="session")
def authority() -> Any:
    import trustme

    return trustme.CA()


@pytest.fixture
def tls_server(authority: Any) -> Iterator[Misbehaving]:
    """The server behind TLS, with a certificate of an authority that nobody knows."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with Misbehaving(tls=context) as running:
        yield running
