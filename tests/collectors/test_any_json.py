"""Whatever JSON a server sends, with whatever status: adapters answer, and never raise."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collectors.platforms import NAMES, get
from collectors.platforms.base import Answer, Chain, Outcome, Page, Platform
from likewise.config import Source

FOLDER = Path(__file__).resolve().parents[2] / "collectors" / "platforms"


def words(platform: str) -> list[str]:
    """What an adapter looks for: the texts of its own source, and of what it reads entities by."""
    module = NAMES[platform].partition(":")[0].rpartition(".")[2]
    source = (FOLDER / f"{module}.py").read_text("utf-8")
    for other in ("statuses", "bluesky_views"):
        if f"platforms.{other} import" in source:
            source += (FOLDER / f"{other}.py").read_text("utf-8")
    return sorted(set(re.findall(r'"([A-Za-z_]+)"', source)))


JSON_PLATFORMS = [name for name in NAMES if name != "flickr"]
HEADERS = (
    "date", "age", "link", "retry-after", "x-ratelimit-limit", "x-ratelimit-remaining",
    "x-ratelimit-reset", "ratelimit-limit", "ratelimit-remaining", "ratelimit-reset",
    "x-app-usage", "x-business-use-case-usage", "content-type",
)  # fmt: skip


ODD = [
    -1, 0, 1, 4, 17, 190, 10**30, 1e308, float("inf"), float("nan"), None, True, "-1", "", "\x00",
    "\ud800", "1970-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "at://x/y/z", "<p>", "https://[",
]  # fmt: skip
ODD_HEADERS = [
    "", "x", "-1", "0", "1e999", "nan", "{}", "[1]", '{"a":[{"type":[]}]}',
    '<https://[>; rel="next"', "2026-01-01T00:00:00Z",
]  # fmt: skip


SEARCHES = {"openverse", "commons"}


def values(known: list[str]) -> st.SearchStrategy[Any]:
    """JSON whose keys and texts are those that the adapter looks for."""
    leaf = st.one_of(st.sampled_from(ODD), st.sampled_from(known))
    return st.recursive(
        leaf,
        lambda inner: st.one_of(
            st.lists(inner, max_size=3),
            st.dictionaries(st.sampled_from(known), inner, max_size=8),
        ),
        max_leaves=25,
    )


def adapter(name: str) -> Platform:
    host = str(FOLDER) if name == "instagram-v1" else "https://h.example"
    asked = {"keywords": ["x"]} if name in SEARCHES else {"tags": ["x"], "accounts": ["someone"]}
    return get(name)(Source(platform=name, host=host, **asked))


def read_everything(platform: Platform, answer: Answer) -> None:
    """Everything that the crawl would do with an answer."""
    specs = platform.buckets(None, "page")
    for correction in platform.corrections(answer, specs):
        assert correction.remaining is None or isinstance(correction.remaining, int)
    if platform.judge(answer).outcome is not Outcome.OK:
        return
    pages: list[Page] = []
    chains = [Chain(kind, "x", 0, 10**15) for kind in ("tag", "account")]
    if platform.searches:
        chains = platform.plan_searches(100)
    for chain in chains:
        pages.append(platform.read_page(chain, None, answer))
    if platform.authors_per_call:
        platform.read_authors(["1"], answer)
    if platform.counts_per_call:
        pages.append(platform.read_counts(["1"], answer))
    for page in pages:
        texts = [post.row() for post in page.posts] + [author.row() for author in page.authors]
        json.dumps(texts, ensure_ascii=False, allow_nan=False).encode()


@pytest.mark.parametrize("name", JSON_PLATFORMS)
def test_no_json_makes_an_adapter_raise(name: str) -> None:
    platform = adapter(name)

    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        body=values(words(name)),
        status=st.sampled_from([200, 200, 200, 400, 401, 403, 429, 500, 302]),
        headers=st.dictionaries(st.sampled_from(HEADERS), st.sampled_from(ODD_HEADERS), max_size=6),
    )
    def check(body: Any, status: int, headers: dict[str, str]) -> None:
        read_everything(platform, Answer(status, headers, body, received=1.7e9))

    check()


ODD_BODIES: list[Any] = [
    None, 5, "text", [], [[]], {"error": []}, {"error": {"code": []}}, {"error": {"code": {}}},
    {"meta": {"code": []}}, {"meta": {"error_type": {}}}, {"data": 5}, {"data": [[]]},
    {"posts": [[]]}, {"feed": {"a": 1}}, {"profiles": 1},
    {"data": [{"id": "1", "media_type": []}]},
    {"posts": [{"uri": "at://a", "author": {"did": "d", "labels": [{"val": []}]}, "embed": []}]},
    [{"id": "1", "account": {"id": "1"}, "visibility": {}, "media_attachments": [{"type": []}]}],
]  # fmt: skip


@pytest.mark.parametrize("name", JSON_PLATFORMS)
@pytest.mark.parametrize("status", [200, 400, 401, 403, 422, 429, 500])
def test_bodies_of_another_shape(name: str, status: int) -> None:
    for body in ODD_BODIES:
        read_everything(adapter(name), Answer(status, {}, body, received=1.7e9))


@pytest.mark.parametrize(
    ("name", "body", "reason"),
    [
        ("mastodon", b'{"error": "busy"}', "error_in_200"),
        ("pixelfed", b'{"error": ["busy"]}', "error_in_200"),
        ("bluesky", b'{"error": "InternalServerError"}', "error_in_200"),
        ("bluesky", b'{"error": {"message": "busy"}}', "error_in_200"),
        ("mastodon", b"null", "not_an_object"),
        ("bluesky", b"[]", "not_an_object"),
        ("instagram", b'{"error": []}', "error_in_200"),
        ("instagram", b'{"error": {"code": 2, "message": "try later"}}', "graph_2"),
        ("flickr", b'<rsp stat="fail"><err code="105" msg="unavailable"/></rsp>', "flickr_105"),
        ("flickr", b"<other/>", "not_flickr"),
        ("flickr", b'<!DOCTYPE x [<!ENTITY a "b">]><rsp stat="ok">&a;</rsp>', "broken_xml"),
    ],
)
def test_an_error_with_status_200_has_a_name(name: str, body: bytes, reason: str) -> None:
    platform = adapter(name)
    verdict = platform.judge(platform.decode(200, {}, body))
    assert (verdict.outcome, verdict.reason) == (Outcome.RETRY, reason)
