"""The Bluesky collector against Bluesky's own servers: rows, pictures, deletions, opt-outs."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import requests
from people import Network, Person, picture, until
from PIL import Image

from collectors.collect import collect
from collectors.crawling.journal import Journal
from collectors.download import download
from collectors.refresh import refresh
from collectors.tokens.store import TokenStore, new_token
from likewise.config import render
from likewise.pictures import picture_bytes
from likewise.study import Manifest, Study
from likewise.tables import KEPT_POSTS

pytestmark = [pytest.mark.atproto, pytest.mark.timeout(300)]

TAG = "portrait"
FOLLOWERS = {"anna": 3, "bela": 1, "cleo": 0}


@dataclass
class World:
    """What the people did: the truth that the tables are compared with."""

    network: Network
    people: dict[str, Person] = field(default_factory=dict)
    pictures: dict[str, list[bytes]] = field(default_factory=dict)
    likes: dict[str, int] = field(default_factory=dict)
    author: dict[str, str] = field(default_factory=dict)
    posts: dict[str, dict[str, str]] = field(default_factory=dict)
    shy: dict[str, dict[str, str]] = field(default_factory=dict)

    def post(self, name: str, number: int, pictures: int, fans: list[Person]) -> None:
        """A post with that many pictures, liked by some."""
        images = [picture(10 * number + n) for n in range(pictures)]
        made = self.people[name].post(f"Morning {number}", TAG, images)
        for fan in fans:
            fan.like(made)
        uri = made["uri"]
        self.posts[uri], self.pictures[uri] = made, images
        self.author[uri], self.likes[uri] = self.people[name].did, len(fans)


@pytest.fixture(scope="module")
def world(network: Network) -> World:
    """Three people with posts, four who like and follow, and one who asked to be left alone."""
    world = World(network)
    names = (*FOLLOWERS, "dora", "emil", "fritz", "shy")
    world.people = {name: network.join(f"{name}-tables") for name in names}
    fans = [world.people[name] for name in ("dora", "emil", "fritz")]
    for name, followers in FOLLOWERS.items():
        for fan in fans[:followers]:
            fan.follow(world.people[name])
    for number in range(30):
        name = list(FOLLOWERS)[number % 3]
        world.post(name, number, pictures=1 + (number % 10 == 0), fans=fans[: number % 4])
    fans[0].post("Without any picture", TAG)
    fans[0].post("Another subject", "landscape", [picture(900)])
    shy = world.people["shy"]
    shy.ask_not_to_be_shown()
    made = [shy.post(f"Leave me alone {n}", TAG, [picture(950 + n)]) for n in range(2)]
    world.shy = {post["uri"]: post for post in made}
    until("everything is indexed", lambda: _indexed(world))
    return world


def _indexed(world: World) -> bool:
    viewer = world.people["dora"]
    uris = list(world.posts.values())
    seen = viewer.views(uris[:25]) | viewer.views([*uris[25:], *world.shy.values()])
    shy = [seen[uri]["author"].get("labels") for uri in world.shy if uri in seen]
    counts = {uri: seen.get(uri, {}).get("likeCount") for uri in world.posts}
    follows = {n: viewer.profile(world.people[n]).get("followersCount") for n in FOLLOWERS}
    return counts == world.likes and follows == FOLLOWERS and len(shy) == 2 and all(shy)


@pytest.fixture
def study(world: World, tmp_path: Path) -> Study:
    """A study that collects the tag with a session of one of the people."""
    dora = world.people["dora"]
    access, again = dora.login()
    secret = {"access_jwt": access, "refresh_jwt": again}
    TokenStore().put(new_token("bluesky", world.network.host, secret, user=dora.did))
    source = {"platform": "bluesky", "host": world.network.pds, "tags": [TAG]}
    text = {"collect": {"sources": [source]}, "download": {"allow_hosts": ["127.0.0.1"]}}
    (tmp_path / "likewise.toml").write_text(render(text), encoding="utf-8")
    return Study.open(tmp_path)


def test_posts_likes_and_followers(world: World, study: Study) -> None:
    manifest = collect(study)
    rows = {row["post_id"]: row for row in study.read("posts").to_pylist()}
    assert {uri: row["likes"] for uri, row in rows.items()} == world.likes
    assert {uri: row["author_id"] for uri, row in rows.items()} == world.author
    assert all(row["tags"] == [TAG] and row["language"] == "en" for row in rows.values())
    assert {uri: len(row["media"]) for uri, row in rows.items()} == {
        uri: len(images) for uri, images in world.pictures.items()
    }
    followers = {
        row["author_id"]: row["followers"]
        for row in study.read("authors").to_pylist()
        if row["source"] == "account"
    }
    assert followers == {world.people[n].did: count for n, count in FOLLOWERS.items()}
    assert manifest.funnel["dropped"] == {"no_unauthenticated": 2, "no_media": 1}
    assert collect(study).fingerprint == manifest.fingerprint


def test_an_account_feed_brings_the_same_rows(world: World, study: Study) -> None:
    toml = study.root / "likewise.toml"
    anna = world.people["anna"]
    text = toml.read_text(encoding="utf-8")
    toml.write_text(text.replace(f'tags = ["{TAG}"]', f'accounts = ["{anna.handle}"]'), "utf-8")
    collect(study.root)
    expected = {uri for uri, did in world.author.items() if did == anna.did}
    assert set(study.read("posts")["post_id"].to_pylist()) == expected


def test_of_people_who_opted_out_only_the_key_is_kept(world: World, study: Study) -> None:
    collect(study)
    with Journal(study.journal_path) as journal:
        rows = journal.db.execute(
            "SELECT post_id, record FROM posts WHERE flags LIKE '%no_unauthenticated%'"
        ).fetchall()
    assert dict(rows) == dict.fromkeys(world.shy, "")
    assert not set(study.read("posts")["post_id"].to_pylist()) & set(world.shy)


def test_pictures_are_the_bytes_behind_the_addresses(world: World, study: Study) -> None:
    collect(study)
    _keep_all(study)
    manifest = download(study)
    rows = study.read("fetches").to_pylist()
    files = dict(picture_bytes(study, [row["picture_id"] for row in rows]))
    assert manifest.rows == len(rows) == sum(map(len, world.pictures.values()))
    assert {row["status"] for row in rows} == {"ok"}
    media = {row["post_id"]: row["media"] for row in study.read("posts").to_pylist()}
    for row in rows:
        url = media[row["post_id"]][row["media_index"]]["url"]
        shown = requests.get(url, timeout=30).content
        assert files[row["picture_id"]] == shown
        assert row["picture_id"] == hashlib.sha256(shown).hexdigest()
        # The server shows a copy of 1000 pixels, enlarged where need be: it must look the same.
        uploaded = world.pictures[row["post_id"]][row["media_index"]]
        assert _difference(shown, uploaded) < 8.0
        assert _difference(shown, picture(999)) > 40.0


def _keep_all(study: Study) -> None:
    """All posts as kept posts: who is ordinary is another stage's business."""
    rows = [
        {**row, "audience": 1, "age_days": 40.0, "robust_z": 0.0}
        for row in study.read("posts").to_pylist()
    ]
    stage = study.begin("kept_posts", inputs=["posts"], redo=True)
    stage.write(pa.Table.from_pylist(rows, schema=KEPT_POSTS.schema))
    stage.publish(rows=len(rows))


def _difference(one: bytes, other: bytes) -> float:
    """Mean absolute difference of two pictures, in grey levels."""
    pictures = [Image.open(io.BytesIO(raw)).convert("RGB") for raw in (one, other)]
    left, right = (np.asarray(p.resize((80, 60)), dtype=np.int16) for p in pictures)
    return float(np.abs(left - right).mean())


def test_refresh_drops_what_was_deleted_upstream(world: World, study: Study) -> None:
    collect(study)
    anna, fan = world.people["anna"], world.people["dora"]
    [doomed, liked] = [uri for uri in world.posts if world.author[uri] == anna.did][:2]
    anna.delete(world.posts[doomed])
    world.people["cleo"].like(world.posts[liked])
    del world.likes[doomed], world.pictures[doomed], world.author[doomed]
    world.likes[liked] += 1
    ours = [world.posts[doomed], world.posts[liked]]

    def noticed() -> bool:
        seen = fan.views(ours)
        return doomed not in seen and seen[liked]["likeCount"] == world.likes[liked]

    until("the deletion and the like are indexed", noticed)
    del world.posts[doomed]
    manifest: Manifest = refresh(study)
    rows = {row["post_id"]: row["likes"] for row in study.read("posts").to_pylist()}
    assert rows == world.likes
    assert manifest.funnel["dropped"]["deleted_upstream"] == 1
    with Journal(study.journal_path) as journal:
        [row] = journal.db.execute(
            "SELECT author_id, record FROM posts WHERE post_id = ?", (doomed,)
        )
    assert row == ("", "")
