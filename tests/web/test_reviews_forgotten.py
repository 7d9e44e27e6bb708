"""Who is forgotten leaves reviews in PostgreSQL, too; a database that is away is told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from fake_study import make
from page_server import Running

from collectors.crawling.erase import Doomed, erase
from collectors.crawling.reviews import ADDRESSES_FILE, address_of, addresses, note_address
from collectors.forget import forget
from likewise.cli import run
from likewise.errors import ConfigError, StorageError
from likewise.study import Study
from web.reviews.book import Said, open_book
from web.settings import Settings

AWAY = "postgresql://nobody@127.0.0.1:1/none"


@pytest.fixture(scope="module")
def database(postgres: str) -> str:
    """A database of its own: reviews of other tests are none of these."""
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute("CREATE DATABASE forgotten")
    return postgres.replace("/postgres?", "/forgotten?")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return make(tmp_path_factory.mktemp("forgotten") / "likes", n_authors=4, features=False)


def two_of(study: Study) -> tuple[str, list[str], str]:
    """An author, their pictures, and a picture of somebody else."""
    rows = study.read("labels", ["picture_id", "author_id"]).to_pylist()
    author = rows[0]["author_id"]
    theirs = [row["picture_id"] for row in rows if row["author_id"] == author]
    return author, theirs, next(r["picture_id"] for r in rows if r["author_id"] != author)


def reviewed(url: str) -> list[str]:
    """Pictures with lines or leases in the database, by another client than the book's."""
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "SELECT picture_id FROM reviews UNION ALL SELECT picture_id FROM leases ORDER BY 1"
        ).fetchall()
        connection.execute("DELETE FROM reviews; DELETE FROM leases")
    return [row[0] for row in rows]


def test_forget_deletes_in_postgresql(
    study: Study, database: str, run_server: Callable[..., Running]
) -> None:
    author, theirs, other = two_of(study)
    running = run_server(study.root, reviews=database)
    with running.client() as client:
        for picture in (*theirs, other):
            body = {"picture_id": picture, "verdict": "reject", "seen": 0}
            assert client.post("/api/v1/reviews", json=body).status_code == 201
        assert client.post("/api/v1/reviews/undo", json={}).status_code == 200
    assert addresses(study.root) == [address_of(database)]
    book = open_book(database)
    book.lease("bob", theirs, 1)
    book.close()
    erased = forget(study, author)
    assert erased["lines of reviews"] == len(theirs)
    assert reviewed(database) == [other, other]  # the review and its undo


def test_forgetting_from_the_page(study: Study, run_server: Callable[..., Running]) -> None:
    author, theirs, other = two_of(study)
    row = next(r for r in study.read("fetches").to_pylist() if r["picture_id"] == theirs[0])
    asked = {name: row[name] for name in ("platform", "host", "author_id")}
    running = run_server(study.root)
    running.wait_until_ready()
    with running.client() as client:
        for picture in (theirs[0], other):
            body = {"picture_id": picture, "verdict": "reject", "seen": 0}
            assert client.post("/api/v1/reviews", json=body).status_code == 201
        found = client.post("/api/v1/forget", json=asked)
        assert found.status_code == 200, found.text
        assert found.json()["rows"]["pictures"] == found.json()["rows"]["labels"] == len(theirs)
        assert Study.open(study.root).require("labels").rows == study.require("labels").rows
        wrong = client.post("/api/v1/forget", json={**asked, "dry_run": False, "confirm": "x"})
        assert wrong.status_code == 409
        assert client.get("/api/v1/reviews/summary").json()["reviewed"] == 2
        note_address(study.root, AWAY)
        asked |= {"dry_run": False, "confirm": author}
        away = client.post("/api/v1/forget", json=asked)
        assert away.status_code == 503 and AWAY in away.json()["detail"]
        assert client.get(f"/api/v1/pictures/{theirs[0]}").status_code == 200
        (study.root / ADDRESSES_FILE).unlink()
        done = client.post("/api/v1/forget", json=asked)
        assert done.status_code == 200, done.text
        assert done.json()["rows"]["lines of reviews"] == 1
        assert client.get(f"/api/v1/pictures/{theirs[0]}").status_code == 410
        assert client.get(f"/api/v1/pictures/{other}").status_code == 200
        assert [line["picture_id"] for line in client.get("/api/v1/reviews").json()] == [other]
        assert client.get("/api/v1/reviews/summary").json()["reviewed"] == 1


def test_what_vanished_upstream_leaves_postgresql(study: Study, database: str) -> None:
    _, (picture, *_), other = two_of(study)
    book = open_book(database)
    note_address(study.root, database)
    for one in (picture, other):
        book.review("ann", Said(one, "reject"))
    book.close()
    [row] = [row for row in study.read("fetches").to_pylist() if row["picture_id"] == picture]
    erase(study, Doomed(row["platform"], row["host"], post_ids=[row["post_id"]]))
    assert reviewed(database) == [other]


def test_a_database_that_is_away_stops_forget_before_anything(
    study: Study, capsys: pytest.CaptureFixture[str]
) -> None:
    author, *_ = two_of(study)
    note_address(study.root, AWAY)
    before = {name: study.require(name).rows for name in study.tables()}
    files = {path for path in study.root.rglob("*") if path.suffix in {".html", ".parquet"}}
    assert run(["forget", str(study.root), "--author", author]) == 8
    told = capsys.readouterr().err
    assert AWAY in told and ADDRESSES_FILE in told
    again = Study.open(study.root)
    assert {name: again.require(name).rows for name in again.tables()} == before
    assert all(path.exists() for path in files)
    (study.root / ADDRESSES_FILE).unlink()  # gone for good, says whoever runs it
    assert run(["forget", str(study.root), "--author", author]) == 0


def test_an_address_is_noted_once_and_holds_no_password(tmp_path: Path) -> None:
    for _ in range(2):
        note_address(tmp_path, "postgresql+psycopg://ann@db.example/likes")
    note_address(tmp_path, "postgresql://ann@db.example/other?host=/run/pg")
    assert addresses(tmp_path) == [
        "postgresql://ann@db.example/likes",
        "postgresql://ann@db.example/other?host=%2Frun%2Fpg",
    ]
    for bad in (
        "postgresql://ann:hush-hush@db.example/likes",
        "postgresql://ann@db.example/likes?password=hush-hush",
        "sqlite:///hush-hush.sqlite",
        "hush-hush",
    ):
        with pytest.raises(ConfigError) as caught:
            Settings((tmp_path,), reviews=bad)
        assert "hush" not in f"{caught.value} {caught.value.hint}"
    with pytest.raises(ConfigError):
        address_of("mysql://ann@db.example/likes")


def test_an_address_that_cannot_be_noted_is_told(tmp_path: Path) -> None:
    (tmp_path / ADDRESSES_FILE).mkdir()  # stops root as well
    with pytest.raises(StorageError, match=ADDRESSES_FILE):
        note_address(tmp_path, AWAY)
