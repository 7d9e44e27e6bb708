"""A post seen through two servers is one post, and its author one author in one fold."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from test_bad_input import http
from test_dialects import AKKOMA, PIXELFED, free, post
from test_other_platforms import in_thread

from collectors.collect import collect_from
from collectors.crawling.journal import Journal
from collectors.forget import forget
from collectors.platforms import get
from collectors.refresh import refresh_from
from collectors.tokens.store import TokenStore, new_token
from likewise.config import render
from likewise.study import Study

HOME = "https://home.example"


def seen(number: str, uri: str, author: str, name: str, likes: int, local: bool) -> dict[str, Any]:
    """A status as one server numbers it; post and author have one address everywhere."""
    account = {
        "id": author,
        "acct": name if local else f"{name}@home.example",
        "url": f"{HOME}/@{name}",
        "followers_count": 50 if local else 5,
    }
    address = f"{HOME}/users/{name}/statuses/{uri}"
    return post(number, 2, uri=address, url=address, account=account, favourites_count=likes)


class Server:
    """One server of the network, with what has come to it."""

    def __init__(self, about: dict[str, Any], posts: list[dict[str, Any]]) -> None:
        self.about = about
        self.posts = posts

    def __call__(self, path: str, headers: dict[str, str]) -> bytes:
        if "/instance" in path:
            return http(self.about)
        if "/timelines/" in path:
            return http([] if "max_id" in path else self.posts)
        asked = path.rpartition("/")[2]
        found = [one for one in self.posts if one["id"] == asked]
        return http(found[0]) if found else http({"error": "Not found"}, status="404 X")


Gather = Callable[..., Study]


@pytest.fixture
def gather(tmp_path: Path) -> Iterator[Gather]:
    """Collects from these servers, (platform, server) each; again from more of them, if asked."""
    with contextlib.ExitStack() as stack:
        running: dict[int, str] = {}

        def collect(*servers: tuple[str, Server], verb: Callable[..., Any] = collect_from) -> Study:
            sources = []
            for platform, server in servers:
                if id(server) not in running:
                    running[id(server)] = stack.enter_context(in_thread(server)).url  # type: ignore[attr-defined]
                url = running[id(server)]
                sources.append(
                    {"platform": platform, "host": url, "permission": "p", "tags": ["x"]}
                )
                host = url.removeprefix("http://")
                if not TokenStore().of(platform, host):
                    TokenStore().put(new_token(platform, host, {"access_token": "t"}))
            toml = render({"collect": {"sources": sources, "max_attempts": 1}})
            (tmp_path / "likewise.toml").write_text(toml, encoding="utf-8")
            study = Study.open(tmp_path)
            adapters = [free(get(s.platform))(s) for s in study.config.collect.sources]
            verb(study, adapters)
            return study

        yield collect


def keys(study: Study) -> set[tuple[str, str]]:
    """(host, author) of all posts: what folds are dealt by."""
    rows = study.read("posts", ["platform", "host", "author_id"]).to_pylist()
    return {(row["host"], row["author_id"]) for row in rows}


def a_and_b() -> tuple[Server, Server]:
    """Ann's own server has posts 1 and 2; another one has seen 2 and 3."""
    own = [seen(f"10{n}", str(n), "7", "ann", likes=9, local=True) for n in (1, 2)]
    far = [seen(f"99{n}", str(n), "23", "ann", likes=2, local=False) for n in (2, 3)]
    far.append(seen("994", "4", "24", "ben", likes=2, local=False))
    return Server(AKKOMA, own), Server(PIXELFED, far)


def test_one_post_one_author(gather: Gather) -> None:
    own, far = a_and_b()
    study = gather(("pixelfed", far), ("mastodon", own))
    rows = study.read("posts").to_pylist()
    assert len(rows) == 4
    ann = [row for row in rows if row["author_id"] == "7"]
    assert len({(row["platform"], row["host"]) for row in ann}) == 1
    assert ann[0]["platform"] == "mastodon"
    # Of the copies the one on her own server stays, with the likes that are counted there.
    assert sorted((row["post_id"].partition("@")[0], row["likes"]) for row in ann) == [
        ("101", 9), ("102", 9), ("993", 2),
    ]  # fmt: skip
    assert len(keys(study)) == 2
    people = study.read("authors").to_pylist()
    assert sorted((row["author_id"], row["followers"]) for row in people) == [("24", 5), ("7", 50)]
    funnel = study.manifest("posts").funnel
    assert funnel["dropped"]["seen_elsewhere"] == 1
    assert funnel["rows_in"] == 5


def test_an_author_keeps_the_key_of_the_first_night(gather: Gather) -> None:
    own, far = a_and_b()
    before = keys(gather(("pixelfed", far)))
    study = gather(("pixelfed", far), ("mastodon", own))
    assert study.manifest("posts").rows == 4
    assert keys(study) == before
    assert gather(("mastodon", own), ("pixelfed", far)).manifest("posts").rows == 4
    assert keys(study) == before


def test_the_order_of_sources_changes_nothing(gather: Gather, tmp_path: Path) -> None:
    own, far = a_and_b()
    study = gather(("mastodon", own), ("pixelfed", far))
    fingerprint = study.manifest("posts").fingerprint
    study = gather(("pixelfed", far), ("mastodon", own))
    assert study.manifest("posts").fingerprint == fingerprint


def test_forget_reaches_a_person_through_every_server(gather: Gather, tmp_path: Path) -> None:
    own, far = a_and_b()
    study = gather(("mastodon", own), ("pixelfed", far))
    forget(study, "ann")
    study = Study.open(tmp_path)
    assert {row["author_id"] for row in study.read("posts").to_pylist()} == {"24"}
    with Journal(study.journal_path) as journal:
        left = journal.db.execute("SELECT DISTINCT author_id FROM authors").fetchall()
    assert left == [("24",)]
    # A third server that knows her brings nothing back.
    third = Server(AKKOMA, [seen("555", "5", "77", "ann", likes=1, local=False)])
    study = gather(("mastodon", own), ("pixelfed", far), ("mastodon", third))
    assert {row["author_id"] for row in study.read("posts").to_pylist()} == {"24"}


def test_what_is_deleted_on_the_other_server_leaves_the_tables(gather: Gather) -> None:
    own, far = a_and_b()
    gather(("mastodon", own), ("pixelfed", far))
    far.posts = [one for one in far.posts if one["id"] != "993"]
    study = gather(("mastodon", own), ("pixelfed", far), verb=refresh_from)
    ids = {row["post_id"].partition("@")[0] for row in study.read("posts").to_pylist()}
    assert ids == {"101", "102", "994"}


def test_bluesky_through_two_servers(tmp_path: Path) -> None:
    from test_chain_ends import FreeBluesky, view

    def server(path: str, headers: dict[str, str]) -> bytes:
        if "getProfiles" in path:
            return http({"profiles": [{"did": "did:plc:a", "followersCount": 5}]})
        return http({"posts": [view(n, n) for n in range(3)]})

    with in_thread(server) as one, in_thread(server) as two:  # type: ignore[attr-defined]
        sources = [{"platform": "bluesky", "host": s.url, "tags": ["x"]} for s in (one, two)]
        (tmp_path / "likewise.toml").write_text(render({"collect": {"sources": sources}}))
        study = Study.open(tmp_path)
        for s in (one, two):
            host = s.url.removeprefix("http://")
            TokenStore().put(new_token("bluesky", host, {"access_jwt": "t"}))
        collect_from(study, [FreeBluesky(s) for s in study.config.collect.sources])
    assert study.manifest("posts").rows == 3
    assert len(keys(study)) == 1
