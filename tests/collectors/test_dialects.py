"""Servers that speak Mastodon's API in a dialect of their own: every post of a tag comes."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from test_bad_input import http, status
from test_other_platforms import in_thread, study_of

from collectors.budgets.buckets import BucketSpec
from collectors.collect import collect_from
from collectors.platforms.base import Answer
from collectors.platforms.dialects import dialect_of
from collectors.platforms.mastodon import Mastodon, Pixelfed
from collectors.platforms.places import Place
from collectors.tokens.store import Token, TokenStore, new_token
from likewise.config import Source
from likewise.errors import PartialError
from likewise.study import Study

NOW = dt.datetime.now(dt.UTC)


def free(cls: type[Mastodon]) -> type[Mastodon]:
    """The adapter without limits."""

    class Free(cls):  # type: ignore[valid-type,misc]
        def buckets(self, token: Token | None, kind: str) -> list[BucketSpec]:
            return []

    return Free


@dataclass
class Feed:
    """A tag's feed, newest first: ids in the server's own order, paged by what it links to."""

    about: dict[str, Any]
    posts: list[dict[str, Any]]
    per_page: int = 20
    link: Callable[[str, str], list[str]] = lambda url, last: [f'<{url}{last}>; rel="next"']
    filtered: Callable[[list[dict[str, Any]], dict[str, str]], list[dict[str, Any]]] = (
        lambda page, query: page
    )
    hides_after: Callable[[dict[str, Any]], bool] = lambda post: False
    asked: list[str] = field(default_factory=list)

    def __call__(self, path: str, headers: dict[str, str]) -> bytes:
        parts = urlsplit(path)
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        if "/instance" in parts.path:
            return http(self.about)
        if "/timelines/tag/" not in parts.path:
            return http({"error": "Record not found"}, status="404 X")
        self.asked.append(path)
        ids = [post["id"] for post in self.posts]
        after = query.get("max_id")
        # An id that is none of this server's sorts somewhere, as text: mostly nothing follows.
        start = 0 if after is None else ids.index(after) + 1 if after in ids else len(ids)
        if start and after in ids and self.hides_after(self.posts[start - 1]):
            return http([])
        page = self.posts[start : start + self.per_page]
        if not page:
            return http([])
        shown = self.filtered(page, query)
        url = f"http://{headers['host']}{parts.path}?limit=40&max_id="
        raw = http(shown)
        lines = "".join(f"Link: {line}\r\n" for line in self.link(url, page[-1]["id"]))
        return raw.replace(b"Connection:", lines.encode() + b"Connection:", 1)


def post(number: str, days_old: float, **changes: Any) -> dict[str, Any]:
    when = (NOW - dt.timedelta(days=days_old)).isoformat().replace("+00:00", "Z")
    return status(number, created_at=when, **changes)


def gather(feed: Feed, folder: Path, adapter: type[Mastodon], **source: Any) -> Study:
    with in_thread(feed) as server:  # type: ignore[attr-defined]
        name = adapter.name
        study = study_of(
            folder, platform=name, host=server.url, permission="p", tags=["x"], **source
        )
        TokenStore().put(new_token(name, server.url.removeprefix("http://"), {"access_token": "t"}))
        collect_from(study, [free(adapter)(s) for s in study.config.collect.sources])
    return study


def counters(study: Study) -> dict[str, int]:
    [found] = study.manifest("posts").extra["counters"].values()
    return dict(found)


AKKOMA = {"version": "2.7.2 (compatible; Akkoma 3.13.2-0-g050bc74)"}
TAKAHE = {"version": "takahe/0.11.0", "source_url": "https://github.com/jointakahe/takahe"}
MASTODON = {"version": "4.4.1", "source_url": "https://github.com/mastodon/mastodon"}
PIXELFED = {"version": "3.5.3 (compatible; Pixelfed 0.12.4)"}
FLAKES = [f"A{'zyxwvutsrqponmlkjihgfedcba'[n % 26]}flake{n:03d}" for n in range(60)]


def test_akkoma_flakes_are_paged_by_link(tmp_path: Path) -> None:
    feed = Feed(AKKOMA, [post(FLAKES[n], n) for n in range(30)])
    assert gather(feed, tmp_path, Mastodon).manifest("posts").rows == 30
    assert len(feed.asked) == 3, "two pages and the empty one, in one chain"


def test_takahe_numbers_and_its_inverted_only_media(tmp_path: Path) -> None:
    bare = {"media_attachments": []}
    posts = [post(str(9 * 10**17 - n), n / 10, **(bare if n % 3 == 0 else {})) for n in range(76)]

    def inverted(page: list[dict[str, Any]], query: dict[str, str]) -> list[dict[str, Any]]:
        return [p for p in page if "only_media" not in query or not p["media_attachments"]]

    feed = Feed(TAKAHE, posts, filtered=inverted)
    study = gather(feed, tmp_path, Mastodon)
    assert study.manifest("posts").rows == sum(bool(p["media_attachments"]) for p in posts)
    assert counters(study)["odd:only_media_inverted"] == 1


@pytest.mark.parametrize(
    "lines",
    [
        lambda url, last: [f"<{url}{last}>; rel=next"],
        lambda url, last: [f'<{url}9999>; rel="prev"', f'<{url}{last}>; rel="next"'],
        lambda url, last: [f'<{url}{last}>; rel="next"', f'<{url}9999>; rel="prev"'],
        lambda url, last: [f'<{url}{last}>; title="a, b"; rel="last next"'],
        lambda url, last: [],
    ],
    ids=["unquoted", "second line", "first of two lines", "a list", "none at all"],
)
def test_link_headers_of_all_kinds_lead_on(
    tmp_path: Path, lines: Callable[[str, str], list[str]]
) -> None:
    feed = Feed(AKKOMA, [post(FLAKES[n], n) for n in range(50)], link=lines)
    assert gather(feed, tmp_path, Mastodon).manifest("posts").rows == 50


@pytest.mark.parametrize("about", [MASTODON, AKKOMA], ids=["mastodon", "akkoma"])
def test_a_page_that_was_filtered_to_nothing_goes_on(tmp_path: Path, about: dict[str, str]) -> None:
    day = 86_400_000
    ids = [str(int(NOW.timestamp() * 1000 - (n + 1) * day / 100) << 16) for n in range(80)]
    posts = [post(number, (n + 1) / 100) for n, number in enumerate(ids)]
    hidden = {p["id"] for p in posts[20:60]}
    sees = lambda page, _: [p for p in page if p["id"] not in hidden]  # noqa: E731

    class Exact(Feed):
        """Ids in between are fine, as on a server that compares numbers."""

        def __call__(self, path: str, headers: dict[str, str]) -> bytes:
            return super().__call__(_nearest(path, ids), headers)

    study = gather(Exact(about, posts, filtered=sees), tmp_path, Mastodon)
    assert study.manifest("posts").rows == 40
    assert counters(study)["pages_empty"] >= 2


def _nearest(path: str, ids: list[str]) -> str:
    """The path with the last id that is not below ``max_id``, or without it above all ids."""
    start, sep, after = path.partition("max_id=")
    newer = [one for one in ids if sep and after.isdigit() and int(one) >= int(after)]
    return f"{start}{sep}{newer[-1]}" if newer else start if sep and after.isdigit() else path


def test_since_ends_pixelfeds_paging(tmp_path: Path) -> None:
    feed = Feed(PIXELFED, [post(str(10**17 - n), n) for n in range(170)])
    since = (NOW - dt.timedelta(days=30)).date()
    study = gather(feed, tmp_path, Pixelfed, since=since)
    # Days 0 to 30; the paging ends one page after the last that is wanted.
    assert study.manifest("posts").rows in {30, 31}
    assert len(feed.asked) == 3


def test_pixelfeds_six_months_are_named(tmp_path: Path) -> None:
    def too_old(last: dict[str, Any]) -> bool:
        return dt.datetime.fromisoformat(last["created_at"]) < NOW - dt.timedelta(days=182)

    posts = [post(str(10**17 - n), n * 5) for n in range(80)]
    feed = Feed(PIXELFED, posts, hides_after=too_old)
    with pytest.raises(PartialError) as caught:
        gather(feed, tmp_path, Pixelfed)
    assert caught.value.exit_code == 3
    [(item, why)] = caught.value.failures
    assert "tag x" in item and "six_month_horizon" in why and "last six months" in why
    study = Study.open(tmp_path)
    assert counters(study)["lost:six_month_horizon"] == 1
    assert study.manifest("posts").rows == 40


def test_a_pixelfed_tag_younger_than_six_months_is_whole(tmp_path: Path) -> None:
    feed = Feed(PIXELFED, [post(str(10**17 - n), n) for n in range(50)])
    assert gather(feed, tmp_path, Pixelfed).manifest("posts").rows == 50


@pytest.mark.parametrize(
    ("about", "software"),
    [
        (MASTODON, "mastodon"),
        ({"version": "4.5.0-alpha.1+glitch", "source_url": "https://x/glitch"}, "mastodon"),
        ({"version": "4.0.10+hometown-1.1.1"}, "mastodon"),
        ({"version": "3.5.3"}, "mastodon"),
        (AKKOMA, "akkoma"),
        (TAKAHE, "takahe"),
        (PIXELFED, "pixelfed"),
        ({"version": "2.7.2 (compatible; Pleroma 2.6.0)"}, "pleroma"),
        ({"version": "0.17.0+git-1", "source_url": "https://x/gotosocial"}, "gotosocial"),
        ({"version": "4.2.1", "source_url": "https://codeberg.org/superseriousbusiness/gotosocial"},
         "gotosocial"),
        ({"version": "2.8.0 (compatible; Something 1.0)"}, "unknown"),
        ({"version": "0.9.1"}, "unknown"),
        ({"version": 5}, "unknown"),
        ({}, "unknown"),
    ],
)  # fmt: skip
def test_the_instance_answer_tells_the_software(about: dict[str, Any], software: str) -> None:
    assert dialect_of(about).software == software
    platform = Mastodon(Source(platform="mastodon", host="https://h.example", tags=["x"]))
    platform.learn(Answer(200, {}, about))
    assert platform.snowflakes == (software == "mastodon")
    assert (len(platform.plan(None, 10**15)) > 1) == platform.snowflakes


def test_an_old_server_is_asked_for_the_older_page() -> None:
    platform = Mastodon(Source(platform="mastodon", host="https://h.example", tags=["x"]))
    asked = []
    for answer in (Answer(404, {}, {"error": "x"}), Answer(200, {}, {"version": "3.5.3"})):
        asked.append(platform.probe().path)
        platform.learn(answer)
    assert asked == ["/api/v2/instance", "/api/v1/instance"]
    assert platform.probe() is None and platform.snowflakes


@pytest.mark.parametrize(
    "place", [Place(), Place("7"), Place("7", "99"), Place("", "A9", whole=True),
              Place("7", "", True), Place("", "5", old=True), Place("7", "5", True, True)],
)  # fmt: skip
def test_places_are_written_and_read(place: Place) -> None:
    assert Place.read(str(place)) == place
