"""Whatever ends a chain before its end has a name, a sentence and exit code 3."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import pytest
from test_bad_input import http, link, status
from test_dialects import MASTODON, counters, free
from test_other_platforms import FreeFlickr, FreeInstagram, in_thread, rsp, study_of

from collectors.budgets.buckets import BucketSpec
from collectors.collect import collect_from
from collectors.platforms.base import Outcome, Platform
from collectors.platforms.bluesky import Bluesky
from collectors.platforms.flickr import Flickr
from collectors.platforms.mastodon import Mastodon
from collectors.tokens.store import Token, TokenStore, new_token
from likewise.config import Source
from likewise.errors import PartialError
from likewise.study import Study

START = 1_700_000_000


class FreeBluesky(Bluesky):
    def buckets(self, token: Token | None, kind: str) -> list[BucketSpec]:
        return []


class PlainFlickr(FreeFlickr):
    most_likes_calls = 0


def gather(study: Study, adapter: type[Platform]) -> None:
    sources = study.config.collect.sources
    for source in sources:
        host = adapter(source).host
        if not TokenStore().of(adapter.name, host):
            secret = {"access_jwt": "jwt", "access_token": "t", "api_key": "k"}
            TokenStore().put(new_token(adapter.name, host, secret))
    collect_from(study, [adapter(source) for source in sources])


def failed(study: Study, adapter: type[Platform]) -> list[tuple[str, str]]:
    with pytest.raises(PartialError) as caught:
        gather(study, adapter)
    assert caught.value.exit_code == 3
    return caught.value.failures


def once(folder: Path, url: str, platform: str, **source: Any) -> Study:
    study = study_of(folder, platform=platform, host=url, permission="p", **source)
    toml = folder / "likewise.toml"
    toml.write_text(toml.read_text().replace("# max_attempts = 6", "max_attempts = 1"))
    return Study.open(study.root)


# -- pages that are no end --------------------------------------------------------------------

NO_END = {
    "404 of the platform": http({"error": "Record not found"}, status="404 X"),
    "404 of a proxy": http(b"<html>nothing</html>", status="404 X", Content_Type="text/html"),
    "HTML with status 200": http(b"<!DOCTYPE html><h1>Login</h1>", Content_Type="text/html"),
    "410": http({"error": "Gone"}, status="410 X"),
}


@pytest.mark.parametrize("name", NO_END)
def test_what_is_no_page_fails_the_chain_and_is_asked_again(tmp_path: Path, name: str) -> None:
    broken = True

    def script(path: str, headers: dict[str, str]) -> bytes:
        if "/instance" in path:
            return http({"version": "2.7.2 (compatible; Akkoma 3)"})
        if "max_id" not in path:
            return http([status("9")], Link='<http://h/x?max_id=9>; rel="next"')
        return NO_END[name] if broken else http([status("8")] if "max_id=9" in path else [])

    with in_thread(script) as server:  # type: ignore[attr-defined]
        study = once(tmp_path, server.url, "mastodon", tags=["x"])
        [(item, _)] = failed(study, free(Mastodon))
        assert item.endswith("tag x")
        assert study.manifest("posts").rows == 1
        broken = False
        gather(study, free(Mastodon))
        assert study.read("posts")["post_id"].to_pylist() == ["8", "9"]


def test_pages_that_go_round_in_a_circle_are_told(tmp_path: Path) -> None:
    turns = {"": "30", "30": "20", "20": "10", "10": "20"}

    def script(path: str, headers: dict[str, str]) -> bytes:
        if "/instance" in path:
            return http({"version": "2.7.2 (compatible; Akkoma 3)"})
        after = path.partition("max_id=")[2]
        url = f"http://{headers['host']}"
        return http([status(f"1{after or 40}")], Link=link(url, turns[after]))

    with in_thread(script) as server:  # type: ignore[attr-defined]
        study = once(tmp_path, server.url, "mastodon", tags=["x"])
        [(_, why)] = failed(study, free(Mastodon))
        assert why.startswith("cursor_repeated") and "circle" in why
        assert study.manifest("posts").rows == 4
        assert counters(study)["lost:cursor_repeated"] == 1


# -- accounts ---------------------------------------------------------------------------------


def test_a_misspelt_account_is_listed_by_name_and_a_renamed_one_followed(tmp_path: Path) -> None:
    names = {"ann": "7"}
    looked_up: list[str] = []

    def script(path: str, headers: dict[str, str]) -> bytes:
        parts = urlsplit(path)
        if "/instance" in path:
            return http(MASTODON)
        if parts.path.endswith("lookup"):
            [name] = parse_qs(parts.query)["acct"]
            looked_up.append(name)
            found = names.get(name)
            return http({"id": found}) if found else http({"error": "Not found"}, status="404 X")
        assert parts.path == "/api/v1/accounts/7/statuses"
        return http([] if "max_id" in path else [status("5"), status("6")])

    with in_thread(script) as server:  # type: ignore[attr-defined]
        study = once(tmp_path, server.url, "mastodon", accounts=["ann", "amn"])
        [(item, why)] = failed(study, free(Mastodon))
        assert item.endswith("account amn") and "misspelt" in why
        assert study.manifest("posts").rows == 2
        # She takes another name and somebody else hers; the crawl is extended.
        names.clear()
        names["ann"] = "8"
        toml = tmp_path / "likewise.toml"
        toml.write_text(toml.read_text().replace('"ann", "amn"', '"ann"'))
        study = Study.open(tmp_path)
        since = dt.date(2020, 1, 1)
        adapters = [free(Mastodon)(s) for s in study.config.collect.sources]
        collect_from(study, adapters, since=since)
        assert looked_up.count("ann") == 1
        assert study.manifest("posts").rows == 2


INVALID = {"message": "Invalid user id", "code": 110, "error_subcode": 2207013}


def test_bluesky_and_flickr_accounts_are_followed_by_id(tmp_path: Path) -> None:
    """The name is looked up once; what it means later does not matter."""
    actors: list[str] = []
    looked_up: list[str] = []

    def bluesky(path: str, headers: dict[str, str]) -> bytes:
        if "getAuthorFeed" not in path:
            return http({"profiles": [{"did": "did:plc:a", "followersCount": 5}]})
        actors.extend(parse_qs(urlsplit(path).query)["actor"])
        return http({"feed": [{"post": view(1, 1)}]})

    def flickr(path: str, headers: dict[str, str]) -> bytes:
        form = dict(parse_qsl(headers["(body)"]))
        if form["method"] == "flickr.people.findByUsername":
            looked_up.append(form["username"])
            return rsp('<user nsid="2@N01"/>')
        assert form["user_id"] == "2@N01"
        return rsp('<photos page="1" pages="1" perpage="500" total="0"/>')

    for name, script, adapter in (
        ("bluesky", bluesky, FreeBluesky),
        ("flickr", flickr, PlainFlickr),
    ):
        folder = tmp_path / name
        folder.mkdir()
        with in_thread(script) as server:  # type: ignore[attr-defined]
            study = once(folder, server.url, name, accounts=["ann.example"])
            gather(study, adapter)
            sources = study.config.collect.sources
            collect_from(study, [adapter(s) for s in sources], since=dt.date(2020, 1, 1))
    assert actors == ["ann.example", "did:plc:a"]
    assert looked_up == ["ann.example"]


CLOSED = [
    ("instagram", 400, {"error": INVALID}, "graph_110"),
    ("mastodon", 200, {"id": "7", "suspended": True}, "account_suspended"),
    ("mastodon", 410, {"error": "Gone"}, "http_410"),
    ("bluesky", 400, {"error": "AccountTakedown", "message": "x"}, "AccountTakedown"),
    ("bluesky", 400, {"error": "AccountDeactivated", "message": "x"}, "AccountDeactivated"),
    ("bluesky", 400, {"error": "BlockedActor", "message": "x"}, "BlockedActor"),
    ("bluesky", 400, {"error": "BlockedByActor", "message": "x"}, "BlockedByActor"),
    ("bluesky", 400, {"error": "InvalidRequest", "message": "Profile not found"}, "not_found"),
    ("bluesky", 400, {"error": "InvalidRequest", "message": "Account is deactivated"}, "not_found"),
]


@pytest.mark.parametrize(("platform", "code", "body", "reason"), CLOSED)
def test_closed_accounts_are_gone_by_name(
    tmp_path: Path, platform: str, code: int, body: dict[str, Any], reason: str
) -> None:
    adapter = {
        "mastodon": free(Mastodon),
        "bluesky": FreeBluesky,
        "instagram": FreeInstagram,
    }[platform]

    def script(path: str, headers: dict[str, str]) -> bytes:
        if "/instance" in path:
            return http(MASTODON)
        if any(name in path for name in ("lookup", "getAuthorFeed", "business_discovery")):
            return http(body, status=f"{code} X")
        raise AssertionError(path)

    with in_thread(script) as server:  # type: ignore[attr-defined]
        study = once(tmp_path, server.url, platform, accounts=["someone.example"])
        [(item, why)] = failed(study, adapter)
    assert item.endswith("account someone.example")
    assert why.startswith(reason)


# -- Bluesky's search -------------------------------------------------------------------------


def view(n: int, seconds: int) -> dict[str, Any]:
    when = dt.datetime.fromtimestamp(START - seconds, dt.UTC).isoformat().replace("+00:00", "Z")
    return {
        "uri": f"at://did:plc:a/app.bsky.feed.post/{n:06d}",
        "author": {"did": "did:plc:a", "handle": "a.example", "labels": []},
        "record": {"text": "#x", "createdAt": when},
        "embed": {"images": [{"fullsize": f"https://h.example/{n}"}]},
        "indexedAt": when,
    }


def seconds(text: str) -> float:
    return dt.datetime.fromisoformat(text).timestamp()


class Search:
    """A search that shows ``most`` results and then says that there are no more."""

    def __init__(self, views: list[dict[str, Any]], most: int, last_cursor: bool = False) -> None:
        self.views, self.most, self.last_cursor = views, most, last_cursor
        self.times = [seconds(v["indexedAt"]) for v in views]
        self.calls = 0

    def __call__(self, path: str, headers: dict[str, str]) -> bytes:
        query = {n: v[-1] for n, v in parse_qs(urlsplit(path).query).items()}
        if "getProfiles" in path:
            return http({"profiles": [{"did": "did:plc:a", "followersCount": 5}]})
        self.calls += 1
        until = seconds(query.get("until", "2100-01-01T00:00:00Z"))
        since = seconds(query.get("since", "2000-01-01T00:00:00Z"))
        found = [v for v, t in zip(self.views, self.times, strict=True) if since <= t < until]
        found = found[: self.most]
        start = int(query.get("cursor", 0))
        if start >= self.most:
            return http({"error": "InvalidRequest", "message": "cursor too far"}, status="400 X")
        shown = found[start : start + 100]
        more = start + 100 < len(found) or (self.last_cursor and start + 100 == self.most)
        return http({"posts": shown, **({"cursor": str(start + 100)} if more else {})})


@pytest.mark.parametrize(("last_cursor", "most"), [(True, 10_000), (False, 500)])
def test_a_search_that_ends_early_is_taken_up_by_time(
    tmp_path: Path, last_cursor: bool, most: int
) -> None:
    search = Search([view(n, n // 3) for n in range(most * 5 // 4)], most, last_cursor)
    with in_thread(search) as server:  # type: ignore[attr-defined]
        study = once(tmp_path, server.url, "bluesky", tags=["x"])
        gather(study, FreeBluesky)
    assert study.manifest("posts").rows == most * 5 // 4
    assert search.calls < most / 100 * 1.25 + 15


def test_more_posts_of_one_moment_than_a_search_shows_are_told(tmp_path: Path) -> None:
    search = Search([view(n, 0) for n in range(10_050)], 10_000)
    with in_thread(search) as server:  # type: ignore[attr-defined]
        study = once(tmp_path, server.url, "bluesky", tags=["x"])
        [(item, why)] = failed(study, FreeBluesky)
    assert item.endswith("tag x")
    assert why.startswith("search_limit")
    assert study.manifest("posts").rows == 10_000


# -- Flickr's search --------------------------------------------------------------------------


class Photos:
    """photos.search over upload times; at most 4000 results of a query, as Flickr shows them."""

    def __init__(self, times: list[int], skips: int = 0) -> None:
        self.times = sorted(times, reverse=True)
        self.skips = skips

    def __call__(self, path: str, headers: dict[str, str]) -> bytes:
        form = dict(parse_qsl(headers["(body)"]))
        if form["method"] == "flickr.people.findByUsername":
            return rsp('<err code="1" msg="User not found"/>', stat="fail")
        until = int(form.get("max_upload_date", 10**12))
        found = [(n, t) for n, t in enumerate(self.times) if t <= until]
        number, size = int(form["page"]), int(form["per_page"])
        start = (number - 1) * size
        if start >= 4000:
            start = 3500
        shown = found[start : start + size]
        if self.skips and number == 2:
            shown = found[start - self.skips : start + size - self.skips]
        body = "".join(
            f'<photo id="{n}" owner="2@N01" dateupload="{t}" count_faves="1" url_l="https://h.example"/>'
            for n, t in shown
        )
        pages = -(-len(found) // size)
        return rsp(
            f'<photos page="{number}" pages="{pages}" perpage="{size}" total="{len(found)}">'
            f"{body}</photos>"
        )


def test_flickr_brings_what_total_says(tmp_path: Path) -> None:
    with in_thread(Photos([START + n // 4 for n in range(9000)])) as server:  # type: ignore[attr-defined]
        study = once(tmp_path, server.url, "flickr", tags=["x"])
        gather(study, PlainFlickr)
    assert study.manifest("posts").rows == 9000


def test_flickr_tells_what_its_order_lost(tmp_path: Path) -> None:
    photos = Photos([START + n for n in range(1200)], skips=3)
    with in_thread(photos) as server:  # type: ignore[attr-defined]
        study = once(tmp_path, server.url, "flickr", tags=["x"])
        [(item, why)] = failed(study, PlainFlickr)
    assert item.endswith("tag x")
    assert why.startswith("fewer_than_total") and "1197 of the 1200" in why


def test_more_than_4000_photos_of_one_second_are_told_and_passed(tmp_path: Path) -> None:
    with in_thread(Photos([START] * 4600 + [START - 9] * 10)) as server:  # type: ignore[attr-defined]
        study = once(tmp_path, server.url, "flickr", tags=["x"])
        found = failed(study, PlainFlickr)
    reasons = [why.partition(":")[0] for _, why in found]
    assert reasons == ["4000_in_one_second", "fewer_than_total"]
    assert "4010 of the 4610" in found[1][1]
    assert study.manifest("posts").rows == 4010


def test_a_misspelt_flickr_account_is_listed_by_name(tmp_path: Path) -> None:
    with in_thread(Photos([])) as server:  # type: ignore[attr-defined]
        study = once(tmp_path, server.url, "flickr", accounts=["nobdy"])
        [(item, why)] = failed(study, PlainFlickr)
    assert item.endswith("account nobdy") and "misspelt" in why


def test_flickrs_search_that_is_away_is_asked_again() -> None:
    flickr = Flickr(Source(platform="flickr", host="https://api.flickr.com"))
    raw = b'<rsp stat="fail"><err code="10" msg="The Flickr search API is not available."/></rsp>'
    assert flickr.judge(flickr.decode(200, {}, raw)).outcome is Outcome.RETRY
