"""Counts keep their history: every reading is a row with its time, and nothing overwrites one."""

from __future__ import annotations

import datetime as dt
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from driver import WideMastodon
from moved_clock import EPOCH, Clock

from collectors.collect import collect_from
from collectors.crawling.journal import Journal
from collectors.forget import forget
from collectors.platforms.base import Page
from collectors.platforms.records import Author, Media, Post
from collectors.refresh import refresh_from
from infra.sandbox import World, WorldSpec, running
from infra.sandbox.server import Sandbox
from likewise.config import render
from likewise.study import Study

DAY = 86_400_000_000
WHERE = ("mastodon", "h.example")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    made.set(20)
    monkeypatch.setattr(time, "time_ns", made)
    return made


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with running(World(WorldSpec(authors=40, posts=200, epoch=EPOCH.date()))) as server:
        server.limiter.enabled = False
        yield server


@pytest.fixture
def study(sandbox: Sandbox, clock: Clock, tmp_path: Path) -> Study:
    source = {
        "platform": "mastodon",
        "host": sandbox.url,
        "permission": "a test",
        "tags": ["photo"],
    }
    text = render({"collect": {"sources": [source]}})
    (tmp_path / "likewise.toml").write_text(text, encoding="utf-8")
    return Study.open(tmp_path)


def adapters(study: Study) -> list[WideMastodon]:
    return [WideMastodon(source) for source in study.config.collect.sources]


def readings(study: Study) -> Counter[str]:
    return Counter(study.read("post_counts")["post_id"].to_pylist())


def test_a_second_reading_stands_beside_the_first(study: Study, clock: Clock) -> None:
    collect_from(study, adapters(study))
    first = study.read("post_counts").to_pylist()
    posts = {row["post_id"]: row for row in study.read("posts").to_pylist()}
    assert {row["post_id"] for row in first} == posts.keys() and len(first) == len(posts)
    assert all(row["likes"] == posts[row["post_id"]]["likes"] for row in first)
    young = {k for k, row in posts.items() if clock.now - row["created_at"] < dt.timedelta(days=30)}
    assert young and young < posts.keys()
    clock.set(0)
    refresh_from(study, adapters(study), of_age=True)
    after = study.read("post_counts").to_pylist()
    assert all(row in after for row in first), "no reading is lost"
    old_enough = {k for k in young if EPOCH - posts[k]["created_at"] >= dt.timedelta(days=30)}
    assert readings(study) == Counter({k: 1 + (k in old_enough) for k in posts})
    assert {row["source"] for row in after} == {"embedded", "asked"}
    newest = {row["post_id"]: row for row in sorted(after, key=lambda row: row["read_at"])}
    for row in study.read("posts").to_pylist():
        reading = newest[row["post_id"]]
        assert (row["likes"], row["collected_at"]) == (reading["likes"], reading["read_at"])


def test_a_refresh_that_finds_the_same_counts_makes_nothing_stale(
    study: Study, clock: Clock
) -> None:
    clock.set(0)
    collect_from(study, adapters(study))
    before = {name: study.require(name).fingerprint for name in ("posts", "authors")}
    clock.now += dt.timedelta(hours=5)
    refresh_from(study, adapters(study))
    assert {name: study.require(name).fingerprint for name in before} == before
    assert set(readings(study).values()) == {2}, "that they were read again is known"


def test_forget_reaches_every_reading(study: Study, clock: Clock) -> None:
    collect_from(study, adapters(study))
    clock.set(0)
    refresh_from(study, adapters(study))
    author = study.read("posts")["author_id"].to_pylist()[0]
    theirs = {
        row["post_id"] for row in study.read("posts").to_pylist() if row["author_id"] == author
    }
    erased = forget(study, author)
    assert erased["post_counts"] == 2 * len(theirs)
    assert not theirs & readings(study).keys()
    with sqlite3.connect(study.journal_path) as db:
        left = {row[0] for row in db.execute("SELECT post_id FROM counts")}
    db.close()
    assert left and not theirs & left


def test_parts_that_did_not_change_stay(study: Study, clock: Clock) -> None:
    collect_from(study, adapters(study))
    before = set(study.parts("post_counts"))
    clock.set(0)
    refresh_from(study, adapters(study), of_age=True)
    assert before < set(study.parts("post_counts")), "readings only came"


# -- the journal ------------------------------------------------------------------------------


def post(likes: int | None, **more: Any) -> Post:
    made = 1_700_000_000_000_000
    media = [Media(0, "image", "https://h.example/1.jpg")]
    return Post("1", "7", created_at=made, likes=likes, media=media, **more)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with Journal(tmp_path / "journal.sqlite") as opened:
        yield opened


def counts(journal: Journal) -> list[tuple[Any, ...]]:
    query = "SELECT read_at, source, likes, views FROM counts ORDER BY read_at"
    return journal.db.execute(query).fetchall()


def test_a_page_that_shows_the_same_is_no_reading(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1_700_000_000_000_000

    def store(chain: int, days: float, likes: int) -> None:
        monkeypatch.setattr(time, "time_ns", lambda: round(now + days * DAY) * 1000)
        journal.posts.store(*WHERE, [post(likes)], lambda _: True, chain, frozenset())

    for chain, days, likes in ((1, 1, 5), (2, 1.5, 5), (3, 1.6, 6), (3, 1.7, 9), (4, 3, 6)):
        store(chain, days, likes)
    assert [(row[0] - now) / DAY for row in counts(journal)] == [1, 1.6, 3]
    assert [row[2] for row in counts(journal)] == [5, 6, 6], "a chain stores a post once"
    [[read_at]] = journal.db.execute("SELECT collected_at FROM posts").fetchall()
    assert read_at == now + 3 * DAY


def test_two_answers_of_one_moment_are_one_reading(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: 1_800_000_000_000_000_000)
    journal.posts.store(*WHERE, [post(None)], lambda _: True, 1, frozenset())
    monkeypatch.setattr(time, "time_ns", lambda: 1_900_000_000_000_000_000)
    page = Page(posts=[post(None, views=9)])
    journal.read_again(*WHERE, page, frozenset({"comments", "views"}), 30 * DAY)
    journal.note_likes(*WHERE, "1", 4)
    assert counts(journal)[1:] == [(1_900_000_000_000_000, "asked", 4, 9)]


def test_an_author_who_is_shown_twice_with_other_counts_has_two_readings(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    for day, followers in enumerate((10, 10, 11, 11, 10)):
        monkeypatch.setattr(time, "time_ns", lambda d=day: (d + 1) * DAY * 1000)
        journal.authors.store(*WHERE, [Author("7", followers=followers)])
    query = "SELECT fetched_at, json_extract(record, '$.followers') FROM authors ORDER BY 1"
    assert journal.db.execute(query).fetchall() == [(DAY, 10), (3 * DAY, 11), (5 * DAY, 10)]


def test_age_counts_from_when_the_server_saw_the_post(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As ``clean`` counts it: else such a post would be young for ever."""
    made = 1_700_000_000_000_000
    monkeypatch.setattr(time, "time_ns", lambda: (made + 6 * DAY) * 1000)
    one = post(1, indexed_at=made + 5 * DAY)
    journal.posts.store(*WHERE, [one], lambda _: True, 1, frozenset())
    for days, expected in ((31, []), (34, []), (35, ["1"])):
        monkeypatch.setattr(time, "time_ns", lambda d=days: (made + d * DAY) * 1000)
        assert journal.posts.came_of_age(*WHERE, "", 9, 30 * DAY) == expected
        assert journal.posts.count_came_of_age(*WHERE, 30 * DAY) == len(expected)


def test_a_journal_without_readings_gets_the_one_it_knows(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    with Journal(path) as journal:
        one = post(3, indexed_at=1_700_000_000_000_005)
        journal.posts.store(*WHERE, [one], lambda _: True, 1, frozenset())
        [[read_at]] = journal.db.execute("SELECT collected_at FROM posts").fetchall()
        journal.db.execute("DROP TABLE counts")
        journal.db.execute("DROP INDEX posts_by_age")
        journal.db.execute("ALTER TABLE posts DROP COLUMN since")
    with Journal(path) as journal:
        assert counts(journal) == [(read_at, "embedded", 3, None)]
        [[since]] = journal.db.execute("SELECT since FROM posts").fetchall()
        assert since == 1_700_000_000_000_005
