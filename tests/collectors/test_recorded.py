"""Every recorded answer of the real platforms: the right records, or the right error.

The truth is computed here from the raw bodies, by other means than the adapters use.
"""

from __future__ import annotations

import datetime as dt
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from requests.utils import parse_header_links

from collectors import platforms
from collectors.platforms.base import Answer, Chain, Outcome, Page, Platform
from collectors.platforms.flickr import read_person
from collectors.platforms.instagram import usage
from likewise.config import Source

CHAIN = Chain("tag", "x")


def adapter(name: str, host: str = "http://localhost:3000") -> Platform:
    return platforms.get(name)(Source(platform=name, host=host))


def exchange(path: Path, platform: Platform) -> tuple[dict[str, Any], Answer]:
    """A recorded exchange and its answer as the client would hand it over."""
    recorded = json.loads(path.read_text(encoding="utf-8"))
    response = recorded["response"]
    headers = {name.lower(): values[-1] for name, values in response["headers"].items()}
    body = response.get("body", response.get("body_base64", ""))
    raw = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    answer = platform.decode(response["status"], headers, raw)
    answer.received = 1_000_000.0
    return recorded, answer


def files(folder: Path, *names: str) -> list[Path]:
    found = [path for name in names for path in sorted(folder.glob(f"{name}/*.json"))]
    assert found, f"no recorded files in {folder}"
    return found


def iso(text: str) -> int:
    return round(dt.datetime.fromisoformat(text).timestamp() * 1_000_000)


# -- Mastodon ---------------------------------------------------------------------------------


def check_statuses(page: Page, statuses: list[dict[str, Any]], path: Path) -> None:
    plain = [s for s in statuses if not s["reblog"]]
    assert [p.post_id for p in page.posts] == [s["id"] for s in plain], path
    assert page.dropped["reblog"] == len(statuses) - len(plain)
    for post, author, status in zip(page.posts, page.authors, plain, strict=True):
        account = status["account"]
        assert post.likes == status["favourites_count"], path
        assert (post.comments, post.shares) == (
            status.get("replies_count"),
            status["reblogs_count"],
        )
        assert post.created_at == pytest.approx(iso(status["created_at"]), abs=1)
        assert post.author_id == author.author_id == account["id"]
        assert author.followers == account["followers_count"]
        assert author.posts_count == account["statuses_count"]
        assert [m.url for m in post.media] == [m["url"] for m in status["media_attachments"]]
        assert post.tags == [t["name"].lower() for t in status["tags"]]
        assert "<" not in re.sub(r"<3|<-", "", post.text or "")
        assert ("not_public" in post.flags) == (status["visibility"] != "public")
        closed = account.get("noindex") is True or account.get("indexable") is False
        assert ("noindex" in post.flags) == closed


def test_mastodon_timelines(shared: Path) -> None:
    mastodon = adapter("mastodon")
    for path in files(shared / "recorded/mastodon", "timeline_*", "trends"):
        recorded, answer = exchange(path, mastodon)
        assert mastodon.judge(answer).outcome is Outcome.OK
        page = mastodon.read_page(CHAIN, None, answer)
        check_statuses(page, json.loads(recorded["response"]["body"]), path)
        links = parse_header_links(recorded["response"]["headers"].get("link", [""])[0])
        following = [link["url"] for link in links if link.get("rel") == "next"]
        expected = re.search(r"max_id=(\d+)", following[0])[1] if following else None
        assert page.cursor == expected, path


def test_mastodon_single_statuses(shared: Path) -> None:
    mastodon = adapter("mastodon")
    for path in files(shared / "recorded/mastodon", "status"):
        recorded, answer = exchange(path, mastodon)
        assert mastodon.judge(answer).outcome is Outcome.OK
        body = json.loads(recorded["response"]["body"])
        check_statuses(mastodon.read_counts([body["id"]], answer), [body], path)


def test_mastodon_accounts(shared: Path) -> None:
    mastodon = adapter("mastodon")
    for path in files(shared / "recorded/mastodon", "accounts"):
        recorded, answer = exchange(path, mastodon)
        body = json.loads(recorded["response"]["body"])
        entries = body if isinstance(body, list) else [body]
        if any("favourites_count" in entry for entry in entries):
            check_statuses(mastodon.read_page(CHAIN, None, answer), entries, path)
            continue
        people = [entry for entry in entries if "followers_count" in entry]
        authors = {a.author_id: a for a in mastodon.read_authors([], answer)}
        for person in people:
            author = authors[person["id"]]
            assert author.followers == person["followers_count"], path
            assert author.handle == person["acct"]
            assert author.bot == person["bot"]


@pytest.mark.parametrize(
    ("folder", "outcome"),
    [
        ("err400", Outcome.REFUSED),
        ("err401", Outcome.TOKEN),
        ("err403", Outcome.REFUSED),
        ("err404", Outcome.GONE),
        ("err422", Outcome.REFUSED),
        ("oauth", Outcome.OK),
    ],
)
def test_mastodon_errors(shared: Path, folder: str, outcome: Outcome) -> None:
    mastodon = adapter("mastodon")
    for path in files(shared / "recorded/mastodon", folder):
        recorded, answer = exchange(path, mastodon)
        failed = recorded["response"]["status"] >= 400
        assert mastodon.judge(answer).outcome is (outcome if failed else Outcome.OK), path


def test_mastodon_rate_headers_find_their_bucket(shared: Path) -> None:
    mastodon = adapter("mastodon")
    specs = mastodon.buckets(None, "page")
    seen = 0
    for path in files(shared / "recorded/mastodon", "timeline_tag"):
        recorded, answer = exchange(path, mastodon)
        for correction in mastodon.corrections(answer, specs):
            headers = recorded["response"]["headers"]
            assert correction.remaining == int(headers["x-ratelimit-remaining"][0])
            assert correction.reset == pytest.approx(iso(headers["x-ratelimit-reset"][0]) / 1e6)
            seen += 1
    assert seen >= 5


# -- Bluesky ----------------------------------------------------------------------------------


def test_bluesky_search(shared: Path) -> None:
    bluesky = adapter("bluesky")
    kinds: Counter[str] = Counter()
    for path in files(shared / "recorded/bluesky", "search"):
        recorded, answer = exchange(path, bluesky)
        body = json.loads(recorded["response"]["body"])
        page = bluesky.read_page(CHAIN, None, answer)
        assert page.cursor == body.get("cursor")
        assert [p.post_id for p in page.posts] == [p["uri"] for p in body["posts"]]
        for post, view in zip(page.posts, body["posts"], strict=True):
            assert post.likes == view["likeCount"]
            assert post.author_id == view["author"]["did"]
            assert post.text == view["record"]["text"].strip()
            assert post.tags == re.findall(r"#(\w+)", view["record"]["text"])
            pictures = re.findall(r'"fullsize": "([^"]+)"', json.dumps(view.get("embed")))
            assert [m.url for m in post.media] == pictures
            kinds["pictures"] += len(pictures)
            assert post.indexed_at == pytest.approx(iso(view["indexedAt"]), abs=1)
    assert kinds["pictures"] > 20


def test_bluesky_profiles(shared: Path) -> None:
    bluesky = adapter("bluesky")
    for path in files(shared / "recorded/bluesky", "profiles"):
        recorded, answer = exchange(path, bluesky)
        body = json.loads(recorded["response"]["body"])
        authors = bluesky.read_authors([], answer)
        assert [a.author_id for a in authors] == [p["did"] for p in body["profiles"]]
        assert [a.followers for a in authors] == [p["followersCount"] for p in body["profiles"]]


BLUESKY_ERRORS = {
    "pds_429_createSession": Outcome.THROTTLED,
    "pds_429_global": Outcome.THROTTLED,
    "pds_bad_token": Outcome.TOKEN,
    "pds_expired_token": Outcome.TOKEN,
    "pds_no_auth": Outcome.TOKEN,
    "pds_profile_not_found": Outcome.GONE,
    "appview_profile_not_found": Outcome.GONE,
}


def test_bluesky_errors(shared: Path) -> None:
    bluesky = adapter("bluesky")
    for path in files(shared / "recorded/bluesky", "errors"):
        recorded, answer = exchange(path, bluesky)
        expected = BLUESKY_ERRORS.get(path.stem, Outcome.REFUSED)
        verdict = bluesky.judge(answer)
        assert verdict.outcome is expected, path
        if expected is Outcome.THROTTLED:
            headers = recorded["response"]["headers"]
            wait = answer.received + float(headers["Retry-After"][0])
            assert verdict.until == max(wait, float(headers["RateLimit-Reset"][0]))


def test_bluesky_sessions_and_pictures(shared: Path) -> None:
    from collectors.tokens.store import Token

    bluesky = adapter("bluesky")
    token = Token("t", "bluesky", "h", secret={"identifier": "i", "app_password": "p"})
    for path in files(shared / "recorded/bluesky", "oauth"):
        recorded, answer = exchange(path, bluesky)
        body = json.loads(recorded["response"]["body"])
        fresh = bluesky.renewed(token, answer)
        if recorded["response"]["status"] == 200:
            assert fresh is not None
            assert fresh["access_jwt"] == body["accessJwt"]
        else:
            assert fresh is None
    for path in files(shared / "recorded/bluesky", "images"):
        _, answer = exchange(path, bluesky)
        assert bluesky.judge(answer).outcome is not Outcome.OK, "bytes are no answer of the API"


# -- Flickr -----------------------------------------------------------------------------------


def test_flickr_lists_of_photos(shared: Path) -> None:
    flickr = adapter("flickr", "https://api.flickr.com")
    posts = 0
    names = (
        "photos.search",
        "galleries.getPhotos",
        "people.getPublicPhotos",
        "photosets.getPhotos",
    )
    for path in files(shared / "recorded/flickr", *names):
        recorded, answer = exchange(path, flickr)
        body = recorded["response"]["body"]
        assert flickr.judge(answer).outcome is Outcome.OK
        page = flickr.read_page(CHAIN, None, answer)
        assert [p.post_id for p in page.posts] == re.findall(r'<photo id="(\d+)"', body), path
        assert [p.created_at // 1_000_000 for p in page.posts if p.created_at] == [
            int(when) for when in re.findall(r'dateupload="(\d+)"', body)
        ]
        views = [p.views for p in page.posts if p.views is not None]
        assert views == [int(n) for n in re.findall(r'<photo [^>]*count_views="(\d+)"', body)]
        assert all(p.likes is None for p in page.posts), "no recording asked for count_faves"
        originals = re.findall(r'url_o="([^"]+)"', body)
        assert [m.url for p in page.posts for m in p.media if m.url in originals] == originals
        posts += len(page.posts)
    assert posts > 100


def test_flickr_single_photos(shared: Path) -> None:
    flickr = adapter("flickr", "https://api.flickr.com")
    for path in files(shared / "recorded/flickr", "photos.getInfo"):
        recorded, answer = exchange(path, flickr)
        body = recorded["response"]["body"]
        [post] = flickr.read_counts([], answer).posts
        assert post.post_id == re.search(r'<photo id="(\d+)"', body)[1]
        assert post.author_id == re.search(r'<owner nsid="([^"]+)"', body)[1]
        assert post.views == int(re.search(r' views="(\d+)"', body)[1])
        assert post.comments == int(re.search(r"<comments>(\d+)<", body)[1])
        assert len(post.tags) <= body.count("<tag ")


def test_flickr_people_and_the_rest(shared: Path) -> None:
    flickr = adapter("flickr", "https://api.flickr.com")
    for path in files(shared / "recorded/flickr", "people.getInfo"):
        recorded, answer = exchange(path, flickr)
        author = read_person(answer.body)
        assert author is not None
        assert author.author_id == re.search(r'nsid="([^"]+)"', recorded["response"]["body"])[1]
        assert author.followers is None, "Flickr tells no follower counts"
    names = ("photos.getSizes", "profile.getProfile", "urls.lookupUser", "test.login")
    for path in files(shared / "recorded/flickr", *names):
        _, answer = exchange(path, flickr)
        assert flickr.judge(answer).outcome is Outcome.OK
        assert flickr.read_page(CHAIN, None, answer).posts == []


def test_flickr_failures(shared: Path) -> None:
    flickr = adapter("flickr", "https://api.flickr.com")
    by_code = dict.fromkeys(("98", "99", "100"), Outcome.TOKEN)
    by_code |= dict.fromkeys(("105", "201"), Outcome.RETRY)
    seen: Counter[Outcome] = Counter()
    for path in files(shared / "recorded/flickr", "stat_fail", "err500", "err404"):
        recorded, answer = exchange(path, flickr)
        error = re.search(r'<err code="(\d+)" msg="([^"]*)"', recorded["response"]["body"] or "")
        status = recorded["response"]["status"]
        if error is None:
            expected = {500: Outcome.RETRY, 404: Outcome.REFUSED}.get(status, Outcome.OK)
        else:
            gone = re.search("not found|deleted|private|nsid|unknown user", error[2], re.IGNORECASE)
            expected = by_code.get(error[1], Outcome.GONE if gone else Outcome.REFUSED)
        verdict = flickr.judge(answer).outcome
        assert verdict is expected, (path, error)
        seen[verdict] += 1
    assert seen[Outcome.GONE] > 10
    assert seen[Outcome.RETRY] >= 5


def test_flickr_oauth_answers(shared: Path) -> None:
    from urllib.parse import parse_qs

    for path in files(shared / "recorded/flickr", "oauth"):
        body = json.loads(path.read_text())["response"]["body"]
        assert parse_qs(body)["oauth_token"]


# -- Instagram --------------------------------------------------------------------------------


def graph_files(shared: Path) -> list[Path]:
    found = sorted((shared / "recorded/instagram_graph").rglob("*.json"))
    assert len(found) > 30
    return found


def test_instagram_graph(shared: Path) -> None:
    instagram = adapter("instagram", "https://graph.facebook.com")
    seen: Counter[str] = Counter()
    for path in graph_files(shared):
        raw = path.read_bytes()
        body = json.loads(raw)
        answer = instagram.decode(400 if "error" in body else 200, {}, raw)
        verdict = instagram.judge(answer)
        if "error" in body:
            assert verdict.outcome is Outcome.REFUSED
            seen["error"] += 1
            continue
        assert verdict.outcome is Outcome.OK
        if "business_discovery" in body:
            check_discovery(instagram, answer, body)
            seen["discovery"] += 1
        elif "media" in path.stem and path.parent.name in {"hashtags", "users"}:
            page = instagram.read_page(CHAIN, "#1/", answer)
            nodes = body.get("data", [])
            assert [p.post_id for p in page.posts] == [str(n["id"]) for n in nodes], path
            assert [p.likes for p in page.posts] == [n.get("like_count") for n in nodes]
            assert all(p.author_id.startswith("no-author:") or "owner" in n
                       for p, n in zip(page.posts, nodes, strict=True))  # fmt: skip
            seen["media"] += 1
        else:
            instagram.read_page(CHAIN, "#1/", answer)
    assert seen["error"] == 2
    assert seen["discovery"] == 3
    assert seen["media"] >= 6


def check_discovery(instagram: Platform, answer: Answer, body: dict[str, Any]) -> None:
    chain = Chain("account", "x")
    page = instagram.read_page(chain, None, answer)
    found = body["business_discovery"]
    nodes = found.get("media", {}).get("data", [])
    assert [p.post_id for p in page.posts] == [n["id"] for n in nodes]
    assert [p.likes for p in page.posts] == [n.get("like_count") for n in nodes]
    assert {p.author_id for p in page.posts} <= {found["id"]}
    assert page.cursor == found.get("media", {}).get("paging", {}).get("cursors", {}).get("after")
    if "followers_count" in found:
        assert page.authors[0].followers == found["followers_count"]


def test_instagram_albums_list_their_pictures(shared: Path) -> None:
    instagram = adapter("instagram", "https://graph.facebook.com")
    [path] = [p for p in graph_files(shared) if p.name == "media_default.json"]
    album = json.loads(path.read_text())
    wrapped = json.dumps({"data": [album]}).encode()
    [post] = instagram.read_page(CHAIN, "#1/", instagram.decode(200, {}, wrapped)).posts
    assert [m.url for m in post.media] == [c["media_url"] for c in album["children"]["data"]]
    assert [m.kind for m in post.media] == ["image", "image", "video"]


def test_instagram_usage_headers_are_percentages_and_minutes() -> None:
    # Forms of developers.facebook.com/docs/graph-api/overview/rate-limiting.
    app = {"x-app-usage": '{"call_count":28,"total_time":25,"total_cputime":93}'}
    assert usage(app) == (93.0, 0.0)
    business = {
        "x-business-use-case-usage": '{"1":[{"type":"instagram","call_count":100,"total_cputime":'
        '25,"total_time":25,"estimated_time_to_regain_access":19}],"2":[{"call_count":5}]}'
    }
    assert usage(business) == (100.0, 19.0)
    assert usage({}) == (None, 0.0)
    assert usage({"x-app-usage": "not json"}) == (None, 0.0)


def test_instagram_v1(shared: Path) -> None:
    folder = shared / "recorded/instagram_v1"
    v1 = adapter("instagram-v1", str(folder))
    paths = sorted(folder.rglob("*.json"))
    assert len(v1.plan(None, 0)) == len(paths) > 80
    posts = 0
    for chain in v1.plan(None, 0):
        body = json.loads((folder / chain.value).read_text())
        answer = v1.replay(v1.page(chain, None))
        outcome = v1.judge(answer).outcome
        if isinstance(body, dict) and body.get("meta", {}).get("code", 200) != 200:
            assert outcome is Outcome.REFUSED, chain
            continue
        assert outcome is Outcome.OK, chain
        data = body.get("data") if isinstance(body, dict) else None
        entries = data if isinstance(data, list) else [data] if data else []
        media = [e for e in entries if "images" in e]
        page = v1.read_page(chain, None, answer)
        assert [p.post_id for p in page.posts] == [str(m["id"]) for m in media], chain
        assert [p.likes for p in page.posts] == [
            m["likes"]["count"] if "likes" in m else m.get("like_count") for m in media
        ]
        assert [p.author_id for p in page.posts] == [str(m["user"]["id"]) for m in media]
        assert all(p.media and p.created_at for p in page.posts)
        posts += len(page.posts)
    assert posts > 250
