"""The book of reviews on SQLite and on PostgreSQL: append-only, undone, raced for, handed out."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import create_engine, inspect, text
from sqlalchemy.engine import make_url
from throwaway_postgres import cluster

from likewise.errors import ConfigError, UsageError
from web.reviews.book import Book, Said, StaleReviewError, open_book
from web.reviews.database import (
    ReviewsUnavailableError,
    alembic_config,
    open_database,
    revision,
    upgrade,
)
from web.reviews.opinions import outcome
from web.reviews.schema import METADATA

A, B, C = (letter * 64 for letter in "abc")


@pytest.fixture(params=["sqlite", "postgresql"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> str | Path:
    """A place for a database that is not there yet."""
    if request.param == "sqlite":
        return tmp_path / "reviews.sqlite"
    url = make_url(request.getfixturevalue("postgres"))
    name = f"t{os.urandom(6).hex()}"
    engine = create_engine(url.set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return url.set(database=name).render_as_string(hide_password=False)


@pytest.fixture
def book(where: str | Path) -> Iterator[Book]:
    opened = open_book(where)
    yield opened
    opened.close()


def said(picture: str = A, label: str | None = None, **more: object) -> Said:
    action = "accept" if label is None else "correct"
    return Said(picture, action, old_label="cat", new_label=label, **more)  # type: ignore[arg-type]


def test_revisions_go_up_and_down(where: str | Path) -> None:
    engine = open_database(where)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []
        assert revision(connection) == "0002"
    for down, tables in (("0001", {"reviews"}), ("base", set())):
        command.downgrade(alembic_config(engine), down)
        assert set(inspect(engine).get_table_names()) - {"alembic_version"} == tables
    upgrade(engine)
    with engine.connect() as connection:
        assert revision(connection) == "0002"
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []
    engine.dispose()


def test_leases_go_down_without_the_reviews(where: str | Path) -> None:
    book = open_book(where)
    book.review("ann", said())
    command.downgrade(alembic_config(book.engine), "0001")
    upgrade(book.engine)
    assert len(book.lines()) == 1
    book.close()


def test_two_servers_upgrade_at_once(where: str | Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        engines = list(pool.map(open_database, [where] * 4))
    with engines[0].connect() as connection:
        assert revision(connection) == "0002"
    for engine in engines:
        engine.dispose()


def test_a_database_of_a_newer_likewise_is_left_alone(where: str | Path) -> None:
    engine = open_database(where)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(ReviewsUnavailableError, match="another likewise"):
        upgrade(engine)
    engine.dispose()


def test_a_line_holds_what_was_said(book: Book) -> None:
    line = book.review("  ann   b ", said(A, "dog", model="m", score=0.25, reason="ears"))
    assert (line.version, line.seen, line.reviewer, line.action) == (1, 0, "ann b", "correct")
    assert (line.old_label, line.new_label, line.model, line.score, line.reason) == (
        "cat", "dog", "m", 0.25, "ears",
    )  # fmt: skip
    assert book.history(A) == [line]
    assert book.review("ann", said(B)).new_label == "cat"  # an accepted label is written out
    assert book.newest() == 2
    assert book.histories([A, B, C]).keys() == {A, B}


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (Said(A, "undo"), "no review"),
        (Said(A, "guess"), "no review"),  # type: ignore[arg-type]
        (Said(A, "correct"), "needs the right label"),
        (Said(A, "reject", new_label="x"), "left out"),
        (Said(A, "accept", old_label="a", new_label="b"), "left out"),
        (Said(A, "reject", reason="x" * 2001), "2001 characters"),
    ],
)
def test_nonsense_is_refused(tmp_path: Path, wrong: Said, words: str) -> None:
    book = open_book(tmp_path / "r.sqlite")
    with pytest.raises(UsageError, match=words):
        book.review("ann", wrong)
    for name in ("", " ", "x" * 101, "a\x00b"):
        with pytest.raises(UsageError, match="names no reviewer"):
            book.review(name, said())
    assert book.lines() == []
    book.close()


def test_a_stale_version_is_refused_and_told(book: Book) -> None:
    first = book.review("ann", said(A, "dog"))
    with pytest.raises(StaleReviewError) as caught:
        book.review("bob", said(A, "newt", seen=0))
    assert caught.value.version == 1 and caught.value.history == (first,)
    with pytest.raises(StaleReviewError):
        book.review("bob", said(A, "newt", seen=2))  # a version that nobody can have seen
    settled = book.review("bob", said(A, "newt", seen=1))
    assert (settled.version, settled.seen) == (2, 1)
    found = outcome(A, book.history(A))
    assert found is not None and found.labels == {"newt"}


def test_independent_reviews_stand_side_by_side(book: Book) -> None:
    book.review("ann", said(A, "dog"))
    book.review("bob", said(A, "newt", independent=True))
    found = outcome(A, book.history(A))
    assert found is not None and found.conflict and found.labels == {"dog", "newt"}
    with pytest.raises(StaleReviewError):  # bob's own other window has answered meanwhile
        book.review("bob", said(A, "dog", independent=True))
    book.review("cy", said(A, "dog", seen=2))  # a third look settles it
    found = outcome(A, book.history(A))
    assert found is not None and found.decided and found.labels == {"dog"}
    book.undo("cy")
    found = outcome(A, book.history(A))
    assert found is not None and found.conflict


def test_undo_has_no_end_and_survives_a_reopening(where: str | Path) -> None:
    book = open_book(where)
    for picture in (A, B, C):
        book.review("ann", said(picture, "dog"))
    book.review("ann", said(A, "newt", seen=1))
    book.review("bob", said(B, "newt", seen=1))
    book.close()
    book = open_book(where)  # as after a reload, or another server
    undone = []
    while lines := book.undo("ann"):
        undone += [(line.picture_id, line.new_label) for line in lines]
    assert undone == [(A, "newt"), (C, "dog"), (B, "dog"), (A, "dog")]
    assert book.undo("ann") == []
    assert outcome(A, book.history(A)) is None
    assert [review.new_label for review in outcome(B, book.history(B)).reviews] == ["newt"]  # type: ignore[union-attr]
    assert len(book.lines()) == 5 + 4  # nothing was ever deleted
    book.close()


def test_a_key_that_comes_twice_is_one_line(book: Book) -> None:
    first = book.review("ann", said(A, "dog", key="k1"))
    assert book.review("ann", said(A, "dog", key="k1")) == first
    assert len(book.lines()) == 1


def test_bulk_leaves_what_others_reviewed_meanwhile_and_is_undone_whole(book: Book) -> None:
    many = [f"{n:064d}" for n in range(1200)]
    book.review("bob", said(many[0], "dog"))
    as_of = book.newest()
    book.review("bob", said(many[7], "dog"))
    done = book.bulk("ann", [said(picture, "newt") for picture in many], as_of=as_of)
    assert (done.written, done.reviewed_meanwhile) == (1199, 1)
    assert outcome(many[0], book.history(many[0])).labels == {"newt"}  # type: ignore[union-attr]
    assert outcome(many[7], book.history(many[7])).labels == {"dog"}  # type: ignore[union-attr]
    book.review("ann", said(C, "dog"))
    assert [line.picture_id for line in book.undo("ann")] == [C]
    assert len(book.undo("ann")) == 1199
    assert book.undo("ann") == []
    assert outcome(many[0], book.history(many[0])).labels == {"dog"}  # type: ignore[union-attr]
    again = book.bulk("ann", [said(many[3], "newt")], as_of=book.newest())
    book.review("ann", said(B, "dog"))
    assert len(book.undo("ann", again.batch)) == 1
    assert book.undo("ann", again.batch) == []


def test_writers_at_once_never_share_a_version(book: Book) -> None:
    refused = []
    gate = threading.Barrier(4)

    def write(name: str) -> None:
        gate.wait()
        for _ in range(10):
            seen = len(book.history(A))
            try:
                book.review(name, said(A, "dog", seen=seen))
            except StaleReviewError as error:
                refused.append(error)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, "wxyz"))
    versions = [line.version for line in book.history(A)]
    assert versions == list(range(1, len(versions) + 1))
    assert len(versions) + len(refused) == 40


def test_leases_keep_reviewers_apart(where: str | Path) -> None:
    clock = [1000.0]
    book = open_book(where)
    book._now = lambda: clock[0]
    order = [A, B, C]
    assert book.lease("ann", order, 2) == [A, B]
    assert book.lease("bob", order, 2) == [C]
    assert book.lease("ann", order, 2) == [A, B]  # her own
    assert book.lease("bob", order, 3, reviews=2) == [A, B, C]  # double review
    assert book.lease("cy", order, 3, reviews=2) == [C]
    clock[0] += 301
    assert book.lease("cy", order, 3) == [A, B, C]
    book.review("cy", said(A))
    book.review("cy", Said(B, "skip"))
    assert book.lease("cy", order, 3) == [C]
    assert book.lease("ann", order, 3) == [B]  # what cy skipped is for others
    clock[0] += 301
    assert book.lease("ann", order, 3, reviews=2) == [A, B, C]
    book.undo("cy")
    assert book.lease("cy", order, 3, reviews=2) == [B, C]
    book.close()


def test_leases_handed_out_at_once_are_disjoint(book: Book) -> None:
    order = [f"{n:064d}" for n in range(60)]
    with ThreadPoolExecutor(6) as pool:
        given = list(pool.map(lambda name: book.lease(name, order, 10), "uvwxyz"))
    assert sorted(picture for part in given for picture in part) == order


def test_the_reason_of_a_refusal_is_named(tmp_path: Path) -> None:
    path = tmp_path / "reviews.sqlite"
    book = open_book(path)
    book.review("ann", said())
    book.engine.pool.dispose()

    def refused(reason: str, act: Callable[[], object]) -> None:
        with pytest.raises(ReviewsUnavailableError) as caught:
            act()
        assert caught.value.reason == reason

    other = sqlite3.connect(path, isolation_level=None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("web.reviews.database.WAIT_S", 0.1)
        quick = open_book(path)
        other.execute("BEGIN IMMEDIATE")
        refused("locked", lambda: quick.review("ann", said(B)))
        assert len(quick.lines()) == 1  # readers go on
        other.execute("ROLLBACK")
        quick.close()
    pages = other.execute("PRAGMA page_count").fetchone()[0]
    other.close()
    with book.engine.connect() as connection:
        driver = connection.connection.driver_connection
        assert driver is not None
        driver.execute(f"PRAGMA max_page_count={pages}")
    many = [said(f"{n:064d}", "x" * 400) for n in range(300)]
    refused("full", lambda: book.bulk("ann", many, as_of=0))
    assert len(book.lines()) == 1  # the half that fitted is not there
    book.close()
    reader = open_book(f"sqlite:///file:{path}?mode=ro&uri=true")
    refused("read-only", lambda: reader.review("ann", said(B)))
    reader.close()
    path.write_bytes(b"no database at all" * 100)
    refused("damaged", lambda: open_book(path))
    refused("down", lambda: open_book(tmp_path / "no" / "folder.sqlite"))
    refused("down", lambda: open_book("postgresql://nobody@127.0.0.1:1/none"))
    for url in ("mysql://x/y", "not a url"):
        with pytest.raises(ConfigError, match="reviews"):
            open_book(url)


def test_a_secret_is_not_told() -> None:
    with pytest.raises(ReviewsUnavailableError) as caught:
        open_book("postgresql://ann:hush-hush@127.0.0.1:1/none")
    assert "hush" not in f"{caught.value} {caught.value.hint}"


@pytest.mark.slow
def test_a_server_that_goes_away_and_comes_back() -> None:
    with cluster() as server:
        book = open_book(server.url)
        book.review("ann", said())
    with pytest.raises(ReviewsUnavailableError) as caught:
        book.review("ann", said(B))
    assert caught.value.reason == "down"
    book.close()
