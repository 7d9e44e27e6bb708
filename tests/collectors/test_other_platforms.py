"""Whole chains of the platforms that are no fediverse, over scripted servers."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import parse_qs, parse_qsl, urlsplit

import pytest
from test_bad_input import QUICK, Scripted, http

from collectors.budgets.buckets import BucketSpec
from collectors.budgets.pool import Pool
from collectors.collect import collect_from
from collectors.crawling.client import Client, open_session
from collectors.platforms.bluesky import Bluesky
from collectors.platforms.flickr import Flickr
from collectors.platforms.instagram import Instagram
from collectors.platforms.instagram_v1 import InstagramV1
from collectors.refresh import refresh_from
from collectors.tokens.store import Token, TokenStore, new_token
from likewise.config import render
from likewise.study import Study


class FreeInstagram(Instagram):
    def buckets(self, token: Token | None, kind: str) -> list[BucketSpec]:
        return []


def study_of(folder: Path, **source: object) -> Study:
    text = render({"collect": {"sources": [source]}})
    (folder / "likewise.toml").write_text(text, encoding="utf-8")
    return Study.open(folder)


def in_thread(script: object) -> object:
    """A scripted server in a thread of its own, for code that runs its own event loop."""
    import asyncio
    import contextlib
    import threading

    @contextlib.contextmanager
    def running():  # type: ignore[no-untyped-def]
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever, daemon=True)
        thread.start()
        server = Scripted(script)  # type: ignore[arg-type]
        asyncio.run_coroutine_threadsafe(server.__aenter__(), loop).result(10)
        yield server
        asyncio.run_coroutine_threadsafe(server.__aexit__(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()

    return running()


def media(number: int) -> dict[str, object]:
    return {
        "id": str(number),
        "media_type": "IMAGE",
        "media_url": f"https://h.example/{number}.jpg",
        "timestamp": "2026-01-02T03:04:05+0000",
        "caption": "a #Portrait",
        "like_count": number,
    }


def test_instagram_hashtags_repeat_their_cursor_and_have_no_author(tmp_path: Path) -> None:
    turn = iter(range(10))

    def script(path: str, headers: dict[str, str]) -> bytes:
        assert "access_token" not in path
        assert headers["authorization"] == "bearer secret"
        if "ig_hashtag_search" in path:
            assert parse_qs(urlsplit(path).query)["user_id"] == ["1789"]
            return http({"data": [{"id": "99"}]})
        first = next(turn) * 3
        paging = {"paging": {"cursors": {"after": "same"}}} if first < 9 else {}
        return http({"data": [media(first + n) for n in range(3)], **paging})

    with in_thread(script) as server:  # type: ignore[attr-defined]
        study = study_of(tmp_path, platform="instagram", host=server.url, tags=["portrait"])
        host = server.url.removeprefix("http://")
        secret = {"access_token": "secret", "user_id": "1789"}
        TokenStore().put(new_token("instagram", host, secret))
        manifest = collect_from(study, [FreeInstagram(s) for s in study.config.collect.sources])
    rows = study.read("posts").to_pylist()
    assert len(rows) == manifest.funnel["rows_in"] == 12
    assert {row["author_id"] for row in rows} == {f"no-author:{n}" for n in range(12)}
    assert study.read("authors").num_rows == 0


def test_instagram_accounts_have_followers(tmp_path: Path) -> None:
    def script(path: str, headers: dict[str, str]) -> bytes:
        assert urlsplit(path).path == "/v25.0/1789"
        [asked] = parse_qs(urlsplit(path).query)["fields"]
        assert "business_discovery.username(someone)" in asked
        last = ".after(two)" in asked
        paging = {} if last else {"paging": {"cursors": {"after": "two"}}}
        numbers = (3, 4) if last else (1, 2)
        found = {"id": "5", "username": "someone", "followers_count": 1234, "media_count": 4}
        found["media"] = {"data": [media(n) for n in numbers], **paging}
        return http({"business_discovery": found, "id": "1789"})

    with in_thread(script) as server:  # type: ignore[attr-defined]
        study = study_of(tmp_path, platform="instagram", host=server.url, accounts=["someone"])
        host = server.url.removeprefix("http://")
        secret = {"access_token": "secret", "user_id": "1789"}
        TokenStore().put(new_token("instagram", host, secret))
        collect_from(study, [FreeInstagram(s) for s in study.config.collect.sources])
    assert sorted(study.read("posts")["likes"].to_pylist()) == [1, 2, 3, 4]
    [author] = study.read("authors").to_pylist()
    assert (author["followers"], author["handle"], author["source"]) == (1234, "someone", "account")


def test_bluesky_logs_in_by_app_password_and_asks_for_profiles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIKEWISE_BLUESKY_IDENTIFIER", "me.example")
    monkeypatch.setenv("LIKEWISE_BLUESKY_APP_PASSWORD", "abcd-efgh")
    logins = []

    def post(n: int) -> dict[str, object]:
        did = f"did:plc:{n % 3}"
        return {
            "uri": f"at://{did}/app.bsky.feed.post/{n}",
            "author": {"did": did, "handle": f"u{n % 3}.example", "labels": []},
            "record": {"text": "hello #x", "createdAt": "2026-01-02T03:04:05Z"},
            "embed": {"images": [{"fullsize": f"https://h.example/{n}", "thumb": None}]},
            "likeCount": n,
            "indexedAt": "2026-01-02T03:04:05Z",
        }

    def script(path: str, headers: dict[str, str]) -> bytes:
        if "createSession" in path:
            logins.append(path)
            return http({"accessJwt": "jwt", "refreshJwt": "refresh", "did": "did:plc:me"})
        if headers.get("authorization") != "bearer jwt":
            return http({"error": "AuthMissing"}, status="401 X")
        query = parse_qs(urlsplit(path).query)
        if "getProfiles" in path:
            assert len(query["actors"]) <= 25
            people = [{"did": did, "followersCount": 7} for did in query["actors"]]
            return http({"profiles": people})
        assert query["q"] == ["#x"]
        if "since" in query:
            return http({"posts": []})
        if "cursor" in query:
            return http({"posts": [post(n) for n in range(5, 9)]})
        return http({"posts": [post(n) for n in range(5)], "cursor": "next"})

    with in_thread(script) as server:  # type: ignore[attr-defined]
        study = study_of(tmp_path, platform="bluesky", host=server.url, tags=["x"])
        collect_from(study, [Bluesky(s) for s in study.config.collect.sources])
    assert len(logins) == 1
    assert sorted(study.read("posts")["likes"].to_pylist()) == list(range(9))
    asked = [r for r in study.read("authors").to_pylist() if r["source"] == "account"]
    assert [r["followers"] for r in asked] == [7, 7, 7]


async def test_flickr_keeps_its_key_out_of_addresses() -> None:
    import asyncio

    from likewise.config import Source

    body = b'<?xml version="1.0"?><rsp stat="ok"><photos page="1" pages="0" perpage="500"/></rsp>'
    server = Scripted(lambda *_: http(body, Content_Type="text/xml"))
    async with (
        server as url,
        open_session(2, QUICK, "") as session,
    ):
        flickr = Flickr(Source(platform="flickr", host=url, tags=["x"]))
        token = Token("k", "flickr", "h", secret={"api_key": "very-secret"})
        client = Client(session, Pool(flickr, [token]), asyncio.Semaphore(1), limits=QUICK)
        [chain] = flickr.plan(None, 10**15)
        answer = await client.call(flickr.page(chain, None))
    assert flickr.read_page(chain, None, answer).cursor is None
    assert server.asked == ["/services/rest/"]


class FreeFlickr(Flickr):
    most_likes_calls = 2

    def buckets(self, token: Token | None, kind: str) -> list[BucketSpec]:
        return []


def test_flickr_asks_for_the_favourites_that_a_page_left_out(tmp_path: Path) -> None:
    photo = (
        '<photo id="{0}" owner="2@N01" dateupload="160000000{0}" url_l="https://h.example" {1}/>'
    )
    photos = [photo.format(n, 'count_faves="9"' if n == 1 else "") for n in range(1, 6)]
    totals = {"2": "20", "3": "-1", "5": "50"}
    asked = []

    def script(path: str, headers: dict[str, str]) -> bytes:
        form = dict(parse_qsl(headers["(body)"]))
        if form["method"] == "flickr.photos.search":
            return rsp(f'<photos page="1" pages="1" perpage="500">{"".join(photos)}</photos>')
        assert (form["method"], form["per_page"]) == ("flickr.photos.getFavorites", "1")
        number = form["photo_id"]
        asked.append(number)
        if number not in totals:
            return rsp('<err code="1" msg="Photo not found"/>', stat="fail")
        return rsp(
            f'<photo id="{number}" page="1" pages="1" perpage="1" total="{totals[number]}"/>'
        )

    with in_thread(script) as server:  # type: ignore[attr-defined]
        study = study_of(tmp_path, platform="flickr", host=server.url, tags=["x"])
        host = server.url.removeprefix("http://")
        TokenStore().put(new_token("flickr", host, {"api_key": "k"}))

        def gather() -> dict[str, int | None]:
            collect_from(study, [FreeFlickr(s) for s in study.config.collect.sources])
            return {r["post_id"]: r["likes"] for r in study.read("posts").to_pylist()}

        # The newest first, two a run; nobody is asked twice, and the page's own word holds.
        assert gather() == {"1": 9, "2": None, "3": None, "4": None, "5": 50}
        assert sorted(asked) == ["4", "5"]
        assert gather() == {"1": 9, "2": 20, "3": None, "4": None, "5": 50}
        assert sorted(asked) == ["2", "3", "4", "5"]
        gather()
        assert len(asked) == 4
    [counters] = study.manifest("posts").extra["counters"].values()
    assert (counters["likes_asked"], counters["likes_told"], counters["likes_unknown"]) == (4, 2, 2)


def test_flickr_asks_for_favourites_again(tmp_path: Path) -> None:
    photo = '<photo id="{0}" dateuploaded="160000000{0}" views="3"><owner nsid="2@N01"/></photo>'
    totals = {"1": "10", "2": "20"}

    def script(path: str, headers: dict[str, str]) -> bytes:
        form = dict(parse_qsl(headers["(body)"]))
        if form["method"] == "flickr.photos.search":
            listed = (
                f'<photo id="{n}" owner="2@N01" dateupload="160000000{n}" url_l="https://h.example"/>'
                for n in totals
            )
            return rsp(f'<photos page="1" pages="1" perpage="500">{"".join(listed)}</photos>')
        number = form["photo_id"]
        if form["method"] == "flickr.photos.getInfo":
            return rsp(photo.format(number))
        assert form["method"] == "flickr.photos.getFavorites"
        return rsp(f'<photo id="{number}" total="{totals[number]}"/>')

    with in_thread(script) as server:  # type: ignore[attr-defined]
        study = study_of(tmp_path, platform="flickr", host=server.url, tags=["x"])
        TokenStore().put(new_token("flickr", server.url.removeprefix("http://"), {"api_key": "k"}))
        adapters = [FreeFlickr(s) for s in study.config.collect.sources]

        def likes() -> list[tuple[int, int]]:
            return [(r["likes"], r["views"]) for r in study.read("posts").to_pylist()]

        collect_from(study, adapters)
        assert likes() == [(10, None), (20, None)]
        totals.update({"1": "11", "2": "25"})
        refresh_from(study, adapters)
        assert likes() == [(11, 3), (25, 3)]


def rsp(inside: str, stat: str = "ok") -> bytes:
    return http(f'<rsp stat="{stat}">{inside}</rsp>'.encode(), Content_Type="text/xml")


def test_flickr_goes_on_by_date_after_4000_results() -> None:
    from likewise.config import Source

    flickr = Flickr(Source(platform="flickr", host="https://api.flickr.com", tags=["x"]))
    [chain] = flickr.plan(None, 1_700_000_000_000_000)
    xml = (
        '<rsp stat="ok"><photos page="8" pages="200" perpage="500"><photo id="1" owner="2@N01" '
        'dateupload="1600000000" url_l="https://h.example/1.jpg"/></photos></rsp>'
    )
    answer = flickr.decode(200, {}, xml.encode())
    assert flickr.read_page(chain, "/7", answer).cursor == "/8"
    later = flickr.read_page(chain, "/8", answer).cursor
    assert later == "1600000000/1"
    assert ("max_upload_date", "1600000000") in flickr.page(chain, later).data


def test_recorded_answers_of_instagram_v1_become_tables(tmp_path: Path) -> None:
    dump = tmp_path / "dump"
    dump.mkdir()
    user = {"id": 7, "username": "someone"}
    picture = {
        "standard_resolution": {"url": "https://h.example/1.jpg", "width": 612, "height": 612}
    }
    item = {"id": "1_7", "type": "image", "created_time": "1296703536", "likes": {"count": 3},
            "comments": {"count": 1}, "user": user, "images": picture}  # fmt: skip
    (dump / "tag.json").write_text(json.dumps({"data": [item]}))
    counts = {"media": 5, "follows": 6, "followed_by": 70}
    (dump / "user.json").write_text(json.dumps({"data": {**user, "counts": counts}}))
    study = study_of(tmp_path, platform="instagram-v1", host=str(dump))
    collect_from(study, [InstagramV1(s) for s in study.config.collect.sources])
    [post] = study.read("posts").to_pylist()
    assert (post["post_id"], post["author_id"], post["likes"]) == ("1_7", "7", 3)
    followers = {r["source"]: r["followers"] for r in study.read("authors").to_pylist()}
    assert followers == {"embedded": None, "account": 70}
