"""Signed addresses: when they end, and asking the platform for a fresh one."""

from __future__ import annotations

import datetime as dt
import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from kept_posts import keep, rows_of
from misbehaving import Misbehaving

from collectors.download import download
from collectors.downloading.engine import Settings, fetch_all
from collectors.downloading.expiry import expires_at
from collectors.downloading.fetch import Limits
from collectors.downloading.plan import Item
from collectors.downloading.spool import Parts
from likewise.config import render
from likewise.errors import PartialError
from likewise.study import Study
from likewise.tables import FETCHED
from spark_jobs.download import download as download_on_spark

EPOCH = 1_767_225_600  # 2026-01-01T00:00:00Z


@pytest.mark.parametrize(
    ("query", "moment"),
    [
        (f"oh=00_Ab&oe={EPOCH:X}&_nc_sid=1", EPOCH),
        ("X-Amz-Date=20260101T000000Z&X-Amz-Expires=3600&X-Amz-Signature=f", EPOCH + 3600),
        ("X-Goog-Date=20260101T000000Z&X-Goog-Expires=60", EPOCH + 60),
        (f"Expires={EPOCH}&Signature=x&Key-Pair-Id=y", EPOCH),
        ("sv=2020&se=2026-01-01T00%3A00%3A00Z&sig=abc", EPOCH),
        (f"ex={EPOCH:x}&is=1&hm=2", EPOCH),
        (f"exp={EPOCH}", EPOCH),
        ("w=320&h=200", None),
        ("e=12", None),
        ("expires=never", None),
        ("X-Amz-Expires=60", None),
        ("oe=640", None),
        ("", None),
    ],
)
def test_when_addresses_end(query: str, moment: float | None) -> None:
    assert expires_at(f"https://cdn.example/a.jpg?{query}") == moment


def item(url: str, expires: float) -> Item:
    return Item("mastodon", "a.example", "1", 0, "9", 0, url, expires)


@pytest.mark.parametrize("says", ["the clock", "the server"])
@pytest.mark.parametrize("fresh", [True, False])
async def test_an_expired_address_is_renewed_once(
    server: Misbehaving, tmp_path: Path, says: str, fresh: bool
) -> None:
    asked: list[Item] = []

    async def renew(one: Item) -> str | None:
        asked.append(one)
        return server.url("/ok/1") if fresh else None

    expires = time.time() + (-60 if says == "the clock" else 2.5)
    settings = Settings(limits=Limits(timeout_s=1.0), allow_hosts=("127.0.0.1",), workers=1)
    sink = Parts(tmp_path, FETCHED)
    await fetch_all([item(server.url("/status/403"), expires)], settings, sink, renew=renew)
    row = next(sink.batches(0)).to_pylist()[0]
    assert len(asked) == 1
    assert row["url"] == server.url("/status/403")
    if fresh:
        assert row["status"] == "ok"
        assert len(server.times("/status/403")) == (says == "the server")
    else:
        assert row["error_class"] == ("expired" if says == "the clock" else "http_403")


@pytest.mark.parametrize("where", ["here", "spark"])
def test_the_platform_is_asked_for_the_post(
    server: Misbehaving,
    make_study: Callable[..., Study],
    where: str,
    request: pytest.FixtureRequest,
) -> None:
    """A Mastodon server tells the post's address anew; the old one had ended."""
    fetch = download
    if where == "spark":
        request.getfixturevalue("spark")
        fetch = download_on_spark
    old = server.url(f"/status/410?Expires={EPOCH}")
    study = make_study([old])
    with pytest.raises(PartialError, match="1 of 1"):
        fetch(study)
    assert rows_of(study)["00000"]["error_class"] == "expired"

    server.statuses["00000"] = status("00000", server.url("/ok/3"))
    study = with_source(study, f"127.0.0.1:{server.port}")
    keep(study, [old], host=f"127.0.0.1:{server.port}")
    fetch(study)
    assert rows_of(study)["00000"]["status"] == "ok"


def with_source(study: Study, host: str) -> Study:
    """The study, now with a platform that can be asked."""
    source = {"platform": "mastodon", "host": f"http://{host}", "tags": ["x"]}
    source["permission"] = "the test's own server"
    settings = {"allow_hosts": ["127.0.0.1"], "timeout_s": 2.0, "workers": 1}
    toml = render({"download": settings, "collect": {"sources": [source]}})
    (study.root / "likewise.toml").write_text(toml, encoding="utf-8")
    return Study.open(study.root)


def status(post: str, url: str) -> str:
    """A status as Mastodon's API shows it."""
    now = dt.datetime(2026, 1, 1, tzinfo=dt.UTC).isoformat()
    account = {"id": "9", "acct": "a", "username": "a", "followers_count": 5, "created_at": now}
    medium = {"id": "1", "type": "image", "url": url, "meta": {"original": {}}}
    return json.dumps(
        {
            "id": post,
            "created_at": now,
            "favourites_count": 1,
            "visibility": "public",
            "tags": [],
            "content": "",
            "account": account,
            "media_attachments": [medium],
        }
    )
