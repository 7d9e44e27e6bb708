"""The Mastodon dialect: paging, batches, hidden and deleted posts, the instance."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import mastodon
import numpy as np
import pytest

from infra.sandbox import TAGS, Limiter, Sandbox, Shares, World, WorldSpec, running
from infra.sandbox.world import Hidden, Visibility

SPEC = WorldSpec(
    seed=4,
    authors=120,
    posts=400,
    epoch=dt.date(2026, 11, 1),
    shares=Shares(hidden=0.2, not_public=0.1, wordy=0.05, doomed=0.05, nobot=0.05, noindex=0.05),
)
WORLD = World(SPEC)


@pytest.fixture
async def server() -> AsyncIterator[Sandbox]:
    async with Sandbox(World(SPEC), limiter=Limiter(enabled=False)) as running_server:
        yield running_server


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def get(client: aiohttp.ClientSession, url: str, **options: Any) -> tuple[int, Any]:
    async with client.get(url, **options) as answer:
        assert answer.headers["X-Synthetic-World"] == "1"
        return answer.status, await answer.json()


async def walk(
    client: aiohttp.ClientSession, url: str, relation: str = "next"
) -> list[list[dict[str, Any]]]:
    """All pages in the order of their Links; the last one is empty and has none."""
    pages = []
    while url:
        async with client.get(url) as answer:
            assert answer.status == 200
            rows = await answer.json()
            assert bool(rows) == (relation in answer.links)
            url = str(answer.links[relation]["url"]) if rows else ""
            pages.append(rows)
    return pages


def expected(tag: str, *, media: bool = False) -> list[str]:
    """Ids that a tag's timeline must hold, newest first, by plain looping."""
    bit = TAGS.index(tag)
    ids = [
        int(WORLD.post_id[i])
        for i in range(SPEC.posts)
        if (int(WORLD.tags[i]) >> bit) & 1
        and WORLD.visibility[i] == Visibility.PUBLIC
        and (not media or WORLD.n_media[i] > 0)
    ]
    return [str(i) for i in sorted(ids, reverse=True)]


@pytest.mark.parametrize("tag", ["photo", "été", "PORTRAIT"])
@pytest.mark.parametrize("limit", [7, 40])
async def test_paging_by_link_gives_every_public_post_once(
    server: Sandbox, client: aiohttp.ClientSession, tag: str, limit: int
) -> None:
    pages = await walk(client, f"{server.url}/api/v1/timelines/tag/{tag}?limit={limit}")
    assert [p["id"] for page in pages for p in page] == expected(tag.lower())
    assert [len(page) for page in pages[:-2]] == [limit] * (len(pages) - 2)
    assert pages[-1] == []


async def test_only_media_leaves_out_words(server: Sandbox, client: aiohttp.ClientSession) -> None:
    url = f"{server.url}/api/v1/timelines/tag/photo?limit=40&only_media=true"
    found = [p["id"] for page in await walk(client, url) for p in page]
    assert found == expected("photo", media=True)
    assert len(found) < len(expected("photo"))


async def test_min_id_pages_forward(server: Sandbox, client: aiohttp.ClientSession) -> None:
    url = f"{server.url}/api/v1/timelines/tag/photo?limit=30&min_id=1"
    pages = await walk(client, url, relation="prev")
    assert all(p == sorted(p, key=lambda s: -int(s["id"])) for p in pages)
    assert [p["id"] for page in pages for p in page[::-1]] == expected("photo")[::-1]


async def test_chains_may_start_at_a_computed_moment(
    server: Sandbox, client: aiohttp.ClientSession
) -> None:
    ids = expected("photo")
    moment = int(dt.datetime(2026, 6, 1, tzinfo=dt.UTC).timestamp() * 1000) << 16
    url = f"{server.url}/api/v1/timelines/tag/photo?limit=40"
    old = [p["id"] for page in await walk(client, f"{url}&max_id={moment}") for p in page]
    _, new = await get(client, f"{url}&since_id={moment}")
    assert old == [i for i in ids if int(i) < moment]
    assert [p["id"] for p in new] == [i for i in ids if int(i) > moment][:40]


async def test_several_tags(server: Sandbox, client: aiohttp.ClientSession) -> None:
    base = f"{server.url}/api/v1/timelines/tag/selfie?limit=40"
    for extra, want in (
        ("any[]=street", set(expected("selfie")) | set(expected("street"))),
        ("all[]=street", set(expected("selfie")) & set(expected("street"))),
        ("none[]=street", set(expected("selfie")) - set(expected("street"))),
        ("remote=true", set()),
    ):
        found = [p["id"] for page in await walk(client, f"{base}&{extra}") for p in page]
        assert len(found) == len(set(found)) and set(found) == want
    assert await get(client, f"{server.url}/api/v1/timelines/tag/unheard") == (200, [])


@pytest.mark.parametrize(
    ("limit", "want"), [("", 20), ("0", 1), ("1000", 40), ("-3", 20), ("x", 20), ("5", 5)]
)
async def test_limits_are_clamped(
    server: Sandbox, client: aiohttp.ClientSession, limit: str, want: int
) -> None:
    _, page = await get(client, f"{server.url}/api/v1/timelines/tag/photo?limit={limit}")
    assert len(page) == want


async def test_posts_say_what_was_drawn(server: Sandbox, client: aiohttp.ClientSession) -> None:
    pages = await walk(client, f"{server.url}/api/v1/timelines/tag/photo?limit=40")
    seen: set[Hidden] = set()
    for post in (p for page in pages for p in page):
        index = WORLD.find_post(int(post["id"]))
        assert index is not None
        author = WORLD.account(int(WORLD.author[index]))
        hidden = Hidden(int(WORLD.hidden[index]))
        seen.add(hidden)
        if hidden == Hidden.ABSENT:
            assert "favourites_count" not in post
        else:
            want = None if hidden == Hidden.NULL else int(WORLD.likes[index])
            assert post["favourites_count"] == want
        created = dt.datetime.fromisoformat(post["created_at"])
        assert round(created.timestamp() * 1000) == int(WORLD.created_ms[index])
        assert int(post["id"]) >> 16 == int(WORLD.created_ms[index])
        account = post["account"]
        assert account["id"] == str(author.id)
        assert account["followers_count"] == author.followers
        assert (account["bot"], account["noindex"], account["indexable"]) == (
            author.bot,
            author.noindex,
            author.indexable,
        )
        assert ("nobot" in account["note"]) == author.nobot
        assert "synthetic world" in account["note"] + account["display_name"]
        assert len(post["media_attachments"]) == WORLD.n_media[index]
        assert post["sensitive"] == bool(WORLD.sensitive[index])
    assert seen == set(Hidden)


async def test_accounts_come_in_batches(server: Sandbox, client: aiohttp.ClientSession) -> None:
    ids = [str(WORLD.account(i).id) for i in range(41)]
    asked = [("id[]", i) for i in [*ids[:38], "999", ids[0], "junk"]]
    status, found = await get(client, f"{server.url}/api/v1/accounts", params=asked)
    assert status == 200 and [a["id"] for a in found] == ids[:38]
    status, _ = await get(
        client, f"{server.url}/api/v1/accounts", params=[("id[]", i) for i in ids]
    )
    assert status == 422
    assert (await get(client, f"{server.url}/api/v1/accounts/{ids[3]}"))[1] == found[3]
    assert (await get(client, f"{server.url}/api/v1/accounts/1"))[0] == 404
    assert (await get(client, f"{server.url}/api/v1/accounts/x"))[0] == 404
    url = f"{server.url}/api/v1/accounts/lookup?acct=@person00003"
    assert (await get(client, url))[1]["id"] == ids[3]


async def test_an_accounts_posts_hold_the_unlisted_and_not_the_private(
    server: Sandbox, client: aiohttp.ClientSession
) -> None:
    author = int(np.bincount(WORLD.author).argmax())
    account = WORLD.account(author)
    pages = await walk(client, f"{server.url}/api/v1/accounts/{account.id}/statuses?limit=3")
    mine = [
        str(WORLD.post_id[i])
        for i in range(SPEC.posts - 1, -1, -1)
        if WORLD.author[i] == author and WORLD.visibility[i] != Visibility.PRIVATE
    ]
    assert [p["id"] for page in pages for p in page] == mine
    private = int(WORLD.post_id[WORLD.visibility == Visibility.PRIVATE][0])
    assert (await get(client, f"{server.url}/api/v1/statuses/{private}"))[0] == 404


async def test_statuses_come_in_batches_and_deleted_ones_go(
    server: Sandbox, client: aiohttp.ClientSession
) -> None:
    ids = expected("photo")[:20]
    asked = [("id[]", i) for i in ids]
    _, before = await get(client, f"{server.url}/api/v1/statuses", params=asked)
    assert [p["id"] for p in before] == ids
    assert server.delete_posts([ids[4], "12345"]) == 1
    _, after = await get(client, f"{server.url}/api/v1/statuses", params=asked)
    assert [p["id"] for p in after] == [i for i in ids if i != ids[4]]
    assert (await get(client, f"{server.url}/api/v1/statuses/{ids[4]}"))[0] == 404
    pages = await walk(client, f"{server.url}/api/v1/timelines/tag/photo?limit=40")
    assert ids[4] not in [p["id"] for page in pages for p in page]
    url = before[4]["media_attachments"][0]["url"]
    assert (await get(client, url))[0] == 404
    too_many = [("id[]", i) for i in expected("photo")[:21]]
    assert (await get(client, f"{server.url}/api/v1/statuses", params=too_many))[0] == 422


async def test_doomed_posts_are_listed_until_they_go(
    server: Sandbox, client: aiohttp.ClientSession
) -> None:
    doomed = {str(i) for i in WORLD.post_id[WORLD.doomed]}
    assert doomed & set(expected("photo"))
    assert set(server.delete_doomed()) == doomed
    pages = await walk(client, f"{server.url}/api/v1/timelines/tag/photo?limit=40")
    assert not doomed & {p["id"] for page in pages for p in page}


async def test_likes_may_change(server: Sandbox, client: aiohttp.ClientSession) -> None:
    index = int(np.flatnonzero((WORLD.hidden == 0) & (WORLD.visibility == 0))[0])
    post = int(WORLD.post_id[index])
    url = f"{server.url}/api/v1/statuses/{post}"
    await get(client, url)
    server.set_likes(post, 123_456)
    assert (await get(client, url))[1]["favourites_count"] == 123_456
    with pytest.raises(KeyError):
        server.set_likes(1, 1)


async def test_media_are_served_and_the_missing_are_not(
    server: Sandbox, client: aiohttp.ClientSession
) -> None:
    _, page = await get(client, f"{server.url}/api/v1/timelines/tag/photo?limit=12&only_media=1")
    answers = set()
    for post in page:
        for media in post["media_attachments"]:
            async with client.get(media["url"]) as answer:
                answers.add((answer.status, answer.content_type))
                assert await answer.read() or answer.status == 200
    assert (200, "image/jpeg") in answers
    for name in ("1-0.jpg", "x.jpg", f"{page[0]['id']}-9.jpg", "..%2f..%2fetc%2fpasswd"):
        assert (await get(client, f"{server.url}/media/{name}"))[0] == 404


async def test_the_instance_says_what_it_is(server: Sandbox, client: aiohttp.ClientSession) -> None:
    _, instance = await get(client, f"{server.url}/api/v2/instance")
    assert "synthetic world" in instance["title"]
    assert int(instance["version"].split(".")[0]) >= 4
    access = instance["configuration"]["timelines_access"]["hashtag_feeds"]
    assert access == {"local": "public", "remote": "public"}
    _, terms = await get(client, f"{server.url}/api/v1/instance/terms_of_service")
    assert "synthetic world" in terms["content"]
    _, rules = await get(client, f"{server.url}/api/v1/instance/rules")
    assert rules == instance["rules"]
    async with client.get(f"{server.url}/") as answer:
        assert "synthetic world" in await answer.text()
    assert (await get(client, f"{server.url}/api/v1/nothing"))[0] == 404
    async with client.post(f"{server.url}/api/v2/instance") as answer:
        assert answer.status == 405


@pytest.mark.parametrize(
    ("feeds", "stranger", "app", "person"),
    [("authenticated", 401, 401, 200), ("disabled", 403, 403, 403)],
)
async def test_feeds_may_be_closed(
    client: aiohttp.ClientSession, feeds: Any, stranger: int, app: int, person: int
) -> None:
    async with Sandbox(World(SPEC), feeds=feeds) as server:
        url = f"{server.url}/api/v1/timelines/tag/photo"
        for token, want in (
            (None, stranger),
            (server.new_token(), app),
            (server.new_token(user=1), person),
        ):
            header = {"Authorization": f"Bearer {token}"} if token else {}
            async with client.get(url, headers=header) as answer:
                assert answer.status == want


async def test_entities_have_no_key_that_mastodon_has_not(
    server: Sandbox, client: aiohttp.ClientSession, shared: Path
) -> None:
    recorded = sorted((shared / "recorded" / "mastodon" / "timeline_tag").glob("*.json"))
    bodies = [json.loads(json.loads(p.read_text())["response"]["body"]) for p in recorded]
    real = next(body[0] for body in bodies if body)
    _, ours = await get(client, f"{server.url}/api/v1/timelines/tag/photo?limit=40")
    for post in ours:
        assert set(post) <= set(real)
        assert set(post["account"]) <= set(real["account"])
        assert all(set(tag) == set(real["tags"][0]) for tag in post["tags"])


def test_an_independent_client_reads_the_whole_world() -> None:
    """Mastodon.py registers, logs in as an application, pages and reads."""
    with running(World(SPEC), limiter=Limiter(enabled=False)) as server:
        client_id, secret = mastodon.Mastodon.create_app(
            "a test", api_base_url=server.url, scopes=["read"]
        )
        api = mastodon.Mastodon(client_id, secret, api_base_url=server.url)
        page = api.timeline_hashtag("photo", limit=40)
        posts = list(page)
        while page := api.fetch_next(page):
            posts += page
        assert [str(p.id) for p in posts] == expected("photo")
        first = posts[0]
        assert first.created_at.tzinfo is not None
        assert api.account(first.account.id).followers_count == first.account.followers_count
        assert api.status(first.id).url == first.url
        assert "synthetic world" in api.instance_v2().title


async def test_a_taken_port_is_an_error() -> None:
    async with Sandbox(World(SPEC)) as server:
        port = int(server.url.rsplit(":", 1)[1])
        with pytest.raises(OSError, match="address already in use"):
            await Sandbox(World(SPEC), port=port).start()
