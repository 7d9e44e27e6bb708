"""Search platforms: what recorded and documented answers become, and what is never asked for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors import platforms
from collectors.platforms import licences
from collectors.platforms.base import Answer, Chain, Outcome, Platform
from likewise.config import Source
from likewise.errors import ConfigError

HOSTS = {
    "openverse": "https://api.openverse.org",
    "commons": "https://commons.wikimedia.org",
    "flickr": "https://api.flickr.com",
}


def adapter(name: str, **more: Any) -> Platform:
    source = {"platform": name, "host": HOSTS[name], "keywords": ["tree"], **more}
    return platforms.get(name)(Source(**source))


def answer(platform: Platform, body: Any, status: int = 200, **headers: str) -> Answer:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    found = platform.decode(status, {k.replace("_", "-"): v for k, v in headers.items()}, raw)
    found.received = 1_000_000.0
    return found


def recorded(folder: Path, name: str) -> tuple[int, Mapping[str, str], bytes]:
    response = json.loads((folder / name).read_text())["response"]
    return response["status"], response["headers"], response["body"].encode()


# -- licences -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://creativecommons.org/licenses/by-sa/4.0", ("by-sa", "4.0")),
        ("//creativecommons.org/licenses/by/2.0/deed.de", ("by", "2.0")),
        ("http://www.creativecommons.org/publicdomain/zero/1.0/", ("cc0", "1.0")),
        ("https://creativecommons.org/publicdomain/mark/1.0/", ("pdm", "1.0")),
        ("https://creativecommons.org/licenses/sampling/1.0/", None),
        ("https://example.org/creativecommons.org/licenses/by/4.0/", None),
        ("https://www.gnu.org/licenses/fdl-1.3.html", None),
        (None, None),
    ],
)
def test_addresses_of_licences(url: str | None, expected: tuple[str, str] | None) -> None:
    assert licences.of_url(url) == expected


@pytest.mark.parametrize("code", licences.CODES)
def test_the_address_of_a_licence_names_it_again(code: str) -> None:
    assert licences.of_url(licences.url_of(code, "1.0")) == (code, "1.0")


@given(st.text())
def test_any_text_is_a_licence_or_none(text: str) -> None:
    for found in (licences.of_url(text), licences.text_code(text)):
        assert found is None or found[0] in licences.CODES


def test_names_of_commons() -> None:
    assert licences.text_code("cc-by-sa-4.0") == ("by-sa", "4.0")
    assert licences.text_code("CC BY 2.5") == ("by", "2.5")
    assert licences.text_code("cc-by-sa-3.0-de") == ("by-sa", "3.0")
    assert licences.text_code("GFDL") is None and licences.text_code("cc-sa-1.0") is None


def test_a_licence_that_does_not_exist_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="no licence 'gpl'"):
        adapter("openverse", licences=["by", "gpl"])


# -- Openverse ----------------------------------------------------------------------------


def test_openverse_search_as_documented(shared: Path) -> None:
    platform = adapter("openverse")
    [chain] = platform.plan(None, 1)
    assert (chain.kind, chain.lo, chain.hi) == ("search", 0, 400)  # 20 pages of 20, never more
    asked = dict(platform.page(chain, None).params)
    assert asked == {"q": "tree", "license": "cc0,pdm,by,by-sa", "page": "1", "page_size": "20"}
    found = platform.decode(*recorded(shared / "recorded/openverse", "search_200.json"))
    assert platform.judge(found).outcome is Outcome.OK
    page = platform.read_page(chain, None, found)
    [post], [author] = page.posts, page.authors
    told = post.licence
    assert told is not None
    assert (told.code, told.version) == ("cc0", "1.0")
    assert told.url == "https://creativecommons.org/publicdomain/zero/1.0/"
    assert (told.creator, told.source, told.rank) == ("PERSON ONE", "stocksnap", 0)
    assert post.url == "https://stocksnap.io/photo/XNVBVXO3B7"
    assert post.labels == ["class:tree"] and post.tags == ["tree", "bark"]
    assert (post.media[0].width, post.media[0].height) == (6016, 4016)
    assert author.handle == "PERSON ONE" and author.author_id == post.author_id
    assert page.cursor is None


def test_openverse_results_may_lack_size_and_more(shared: Path) -> None:
    platform = adapter("openverse")
    name = "search_200_flickr_item_with_fewer_fields.json"
    found = platform.decode(*recorded(shared / "recorded/openverse", name))
    [post] = platform.read_page(platform.plan(None, 1)[0], None, found).posts
    assert post.media[0].width is None and post.indexed_at is None
    assert post.licence is not None and post.licence.code == "by"


def test_openverse_errors(shared: Path) -> None:
    platform = adapter("openverse")
    folder = shared / "recorded/openverse"
    gone = platform.decode(*recorded(folder, "detail_404.json"))
    assert platform.judge(gone).outcome is Outcome.GONE
    bad = platform.decode(*recorded(folder, "search_400_bad_license.json"))
    assert platform.judge(bad).outcome is Outcome.REFUSED
    too_large = answer(platform, {"detail": "page_size may not exceed 20"}, 401)
    assert platform.judge(too_large).outcome is Outcome.TOKEN
    busy = answer(platform, {"detail": "Request was throttled."}, 429, retry_after="42")
    verdict = platform.judge(busy)
    assert (verdict.outcome, verdict.until) == (Outcome.THROTTLED, 1_000_042.0)
    page = answer(platform, b"<!doctype html><p>busy", 200, content_type="text/html")
    assert platform.judge(page).reason == "html"


def test_openverse_budgets_follow_the_headers() -> None:
    platform = adapter("openverse")
    specs = platform.buckets(None, "page")
    assert [(spec.limit, spec.period) for spec in specs] == [(20, 60.0), (200, 86400.0)]
    headers = {
        "x_ratelimit_limit_anon_burst": "20/min",
        "x_ratelimit_available_anon_burst": "7",
        "x_ratelimit_available_anon_sustained": "0",
    }
    body = {"results": [], "page_count": 0}
    found = answer(platform, body)
    found.headers = {k.replace("_", "-").replace("anon-", "anon_"): v for k, v in headers.items()}
    said = {c.key: c.remaining for c in platform.corrections(found, specs)}
    assert said == {specs[0].key: 7, specs[1].key: 0}


def test_openverse_reads_no_page_beyond_its_twentieth() -> None:
    platform = adapter("openverse", results=5000)
    [chain] = platform.plan(None, 1)
    body = {"results": [{"id": "a"}], "page_count": 500, "page": 20}
    assert platform.read_page(chain, "19", answer(platform, body)).cursor == "20"
    assert platform.read_page(chain, "20", answer(platform, body)).cursor is None


def test_openverse_takes_the_rendition_of_drawings_and_tiffs() -> None:
    platform = adapter("openverse")
    item = {"id": "a", "license": "by", "license_version": "4.0", "thumbnail": "https://x.org/t/"}
    results = [
        {**item, "url": "https://x.org/a.SVG"},
        {**item, "id": "b", "url": "https://x.org/b.tif?x=1"},
        {**item, "id": "c", "url": "https://x.org/c", "filetype": "tiff"},
        {**item, "id": "d", "url": "https://x.org/d.jpg"},
    ]
    page = platform.read_page(
        platform.plan(None, 1)[0], None, answer(platform, {"results": results})
    )
    found = [post.media[0].url for post in page.posts]
    assert found == [*["https://x.org/t/"] * 3, "https://x.org/d.jpg"]
    assert page.oddities["original_not_taken"] == 3


def test_keywords_of_any_script_stay_what_they_are() -> None:
    for keyword in ('"grey cat"', "either/or", "🐈", "a&b=c#d"):
        for name in HOSTS:
            platform = adapter(name, keywords=[keyword])
            [chain] = platform.plan(None, 1)
            request = platform.page(chain, None)
            values = dict(request.params or request.data).values()
            assert any(value.startswith(keyword) for value in values)
            assert platform.follows(chain)
    with pytest.raises(ConfigError, match="201 characters"):
        adapter("openverse", keywords=["x" * 201])


def test_another_choice_of_licences_is_another_search() -> None:
    [first] = adapter("openverse").plan(None, 1)
    [second] = adapter("openverse", licences=["by", "by-nc"]).plan(None, 1)
    assert first != second and not adapter("openverse").follows(second)


# -- Commons ------------------------------------------------------------------------------


def commons_page(**changes: Any) -> dict[str, Any]:
    info = {
        "url": "https://upload.wikimedia.org/a.tif",
        "thumburl": "https://upload.wikimedia.org/thumb/960px-a.tif.jpg",
        "thumbwidth": 960, "thumbheight": 540, "width": 5514, "height": 3102,
        "mediatype": "BITMAP", "timestamp": "2019-08-29T10:00:00Z", "user": "UPLOADER",
        "descriptionurl": "https://commons.wikimedia.org/wiki/File:A.tif",
        "extmetadata": {
            "Artist": {"value": "<a href='//x'>PERSON &amp; Co</a><br>Oslo"},
            "License": {"value": "cc-by-sa-4.0"},
            "LicenseUrl": {"value": "https://creativecommons.org/licenses/by-sa/4.0"},
        },
    }  # fmt: skip
    return {"pageid": 7, "title": "File:A.tif", "index": 3, "imageinfo": [{**info, **changes}]}


def test_commons_as_recorded(shared: Path) -> None:
    platform = adapter("commons")
    page = json.loads((shared / "recorded/commons/imageinfo_page.json").read_text())["page"]
    body = {"query": {"pages": {str(page["pageid"]): page}}}
    [post] = platform.read_page(platform.plan(None, 1)[0], None, answer(platform, body)).posts
    told = post.licence
    assert told is not None and (told.code, told.version) == ("by-sa", "4.0")
    assert told.creator == "PERSON" and told.title == "LoneTree.jpg"
    assert post.post_id == "81754323"
    assert post.url == "https://commons.wikimedia.org/wiki/File:LoneTree.jpg"


def test_commons_serves_a_jpeg_of_a_tiff_and_tells_makers_as_plain_text() -> None:
    platform = adapter("commons")
    body = {"query": {"pages": [commons_page()]}, "batchcomplete": True}
    [post] = platform.read_page(platform.plan(None, 1)[0], None, answer(platform, body)).posts
    [medium] = post.media
    assert medium.url == "https://upload.wikimedia.org/thumb/960px-a.tif.jpg"
    assert (medium.width, medium.height) == (960, 540)
    assert post.licence is not None
    assert post.licence.creator == "PERSON & Co\nOslo" and post.licence.rank == 2


def test_commons_goes_on_with_the_whole_continue_object() -> None:
    platform = adapter("commons", results=120)
    [chain] = platform.plan(None, 1)
    assert dict(platform.page(chain, None).params)["gsrlimit"] == "50"
    body = {
        "continue": {"iicontinue": "x|y", "gsroffset": 100, "continue": "gsroffset||"},
        "query": {"pages": [commons_page()]},
    }
    cursor = platform.read_page(chain, None, answer(platform, body)).cursor
    asked = dict(platform.page(chain, cursor).params)
    assert (asked["iicontinue"], asked["gsroffset"], asked["gsrlimit"]) == ("x|y", "100", "20")
    body["continue"] = {"gsroffset": 120, "continue": "gsroffset||"}
    assert platform.read_page(chain, cursor, answer(platform, body)).cursor is None


def test_commons_licences_are_sorted_out_here() -> None:
    platform = adapter("commons")
    unfree = {"License": {"value": "gfdl"}, "LicenseShortName": {"value": "GFDL"}}
    noncommercial = {"LicenseUrl": {"value": "https://creativecommons.org/licenses/by-nc/4.0/"}}
    pages = [commons_page(extmetadata=unfree), commons_page(extmetadata=noncommercial)]
    found = platform.read_page(
        platform.plan(None, 1)[0], None, answer(platform, {"query": {"pages": pages}})
    )
    assert not found.posts and found.dropped["other_licence"] == 2
    again = platform.read_counts(["7"], answer(platform, {"query": {"pages": pages[1:]}}))
    assert again.posts[0].flags == {"other_licence"}  # refresh: the licence was changed


def test_commons_is_asked_by_one_call_at_a_time_and_waits_when_told() -> None:
    platform = adapter("commons")
    assert platform.source.at_once == 1
    lagged = {"error": {"code": "maxlag", "info": "Waiting for a database"}}
    verdict = platform.judge(answer(platform, lagged, retry_after="5"))
    assert (verdict.outcome, verdict.until) == (Outcome.THROTTLED, 1_000_005.0)
    refused = platform.judge(answer(platform, {"error": {"code": "badvalue"}}))
    assert (refused.outcome, refused.reason) == (Outcome.REFUSED, "commons_badvalue")


def test_commons_answers_in_other_formats_are_named(shared: Path) -> None:
    platform = adapter("commons")
    for path in sorted((shared / "recorded/commons").glob("*.json")):
        if "response" not in json.loads(path.read_text()):
            continue
        found = platform.decode(*recorded(path.parent, path.name))
        if found.status == 200 and "xml" in str(found.headers.get("content-type", "")):
            assert platform.judge(found).reason == "broken_json", path
        else:
            platform.judge(found)
            chain = Chain("search", next(iter(platform.searches)), 0, 10)
            if isinstance(found.body, dict):
                assert not platform.read_page(chain, None, found).posts


# -- Flickr -------------------------------------------------------------------------------


def test_flickr_searches_by_licence() -> None:
    platform = adapter("flickr", licences=["by", "cc0"])
    probe = platform.probe()
    assert probe is not None
    xml = (
        b'<rsp stat="ok"><licenses><license id="4" name="a" '
        b'url="https://creativecommons.org/licenses/by/2.0/"/><license id="21" name="b" '
        b'url="https://creativecommons.org/licenses/by/4.0/"/></licenses></rsp>'
    )
    platform.learn(answer(platform, xml))
    assert platform.probe() is None
    [chain] = platform.plan(None, 1)
    asked = dict(platform.page(chain, None).data)
    assert (asked["text"], asked["license"], asked["sort"]) == ("tree", "4,9,21", "relevance")
    photos = (
        b'<rsp stat="ok"><photos page="1" pages="3" perpage="100" total="201">'
        b'<photo id="1" owner="7@N01" ownername="Ada" title="T" license="21" server="2" '
        b'secret="s"/><photo id="2" owner="7@N01" license="0" server="2" secret="s"/>'
        b"</photos></rsp>"
    )
    page = platform.read_page(chain, None, answer(platform, photos))
    [post] = page.posts
    assert post.licence is not None
    assert (post.licence.code, post.licence.version, post.licence.rank) == ("by", "4.0", 0)
    assert post.licence.creator == "Ada" and "class:tree" in post.labels
    assert page.dropped["other_licence"] == 1 and page.cursor == "2"
