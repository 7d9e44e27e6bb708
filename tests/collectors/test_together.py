"""Several collectors of one study: the rows and the calls of one, whoever is killed or stopped."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from serving import Proxy, served
from throwaway_postgres import Cluster, cluster

from collectors.collect import collect, join, open_platforms
from collectors.crawling.journal import Journal
from collectors.crawling.journal.handover import fold, fold_all, lend, lent_path
from collectors.crawling.leases import Lease, LeaseLostError, Leases
from collectors.platforms.base import Chain
from collectors.together import NAMED, Collector
from infra.sandbox import World, WorldSpec, running
from likewise.config import render
from likewise.errors import ConfigError, ExitCode, StorageError, StudyBusyError
from likewise.study import Study

HERE = Path(__file__).parent
PLACES = [("mastodon", "a.example"), ("mastodon", "b.example")]
LONG = Lease(PLACES[0], 0, float("inf"))


@pytest.fixture(scope="module")
def server() -> Iterator[Cluster]:
    with cluster() as found:
        yield found


@pytest.fixture(scope="module")
def postgres(server: Cluster) -> str:
    return server.url


# -- leases -----------------------------------------------------------------------------------


def leases(address: str, study: str, holder: str, seconds: float = 60.0) -> Leases:
    return Leases(address, study, holder, seconds)


def test_a_host_has_one_reader_and_its_numbers_grow(postgres: str) -> None:
    ann, bob = leases(postgres, "grow", "ann"), leases(postgres, "grow", "bob")
    assert ann.take(PLACES) is None  # nothing is offered
    first = ann.close(PLACES)
    assert ann.take(PLACES) is None
    ann.open(PLACES)
    one, two = ann.take(PLACES), bob.take(PLACES)
    assert one is not None and two is not None
    assert {one.place, two.place} == set(PLACES)
    assert ann.take(PLACES) is bob.take(PLACES) is None
    assert one.number > first[one.place]
    assert ann.close(PLACES) == {}  # both are being read
    ann.give_back(one, done=False)
    again = bob.take(PLACES)
    assert again is not None and again.place == one.place and again.number > one.number
    with pytest.raises(LeaseLostError):
        ann.renew(one)
    with pytest.raises(LeaseLostError):
        one.check()
    ann.give_back(one, done=True)  # it has nothing to give back
    assert bob.waiting(PLACES) == set(PLACES)
    bob.give_back(again, done=True)
    assert bob.waiting(PLACES) == {two.place}
    assert leases(postgres, "another study", "ann").waiting(PLACES) == set()


def test_a_lease_that_is_not_renewed_ends(postgres: str) -> None:
    ann, bob = (leases(postgres, "ends", name, 2.0) for name in ("ann", "bob"))
    ann.close(PLACES[:1])
    ann.open(PLACES[:1])
    one = ann.take(PLACES)
    assert one is not None
    time.sleep(1.1)
    ann.renew(one)
    time.sleep(1.1)
    one.check()
    assert bob.take(PLACES) is None
    time.sleep(1.2)
    with pytest.raises(LeaseLostError):
        one.check()
    two = bob.take(PLACES)
    assert two is not None and two.number > one.number


def test_nobody_takes_what_another_takes_now(postgres: str) -> None:
    """SKIP LOCKED: a row that is locked is passed over, not waited for."""
    import psycopg

    ann = leases(postgres, "skip", "ann")
    ann.close(PLACES)
    ann.open(PLACES)
    with psycopg.connect(postgres) as other:
        other.execute("SELECT * FROM likewise_leases WHERE study = 'skip' AND host = 'a.example' "
                      "FOR UPDATE")  # fmt: skip
        began = time.monotonic()
        taken = ann.take(PLACES)
        assert taken is not None and taken.place == PLACES[1]
        assert ann.take(PLACES) is None
        assert time.monotonic() - began < 5


def test_a_database_that_is_away_is_said_without_a_secret(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot be used") as caught:
        leases(f"postgresql://ann@/x?host={tmp_path}", "s", "ann").take(PLACES)
    assert "PGPASSWORD" in str(caught.value.hint)


@pytest.mark.parametrize(
    "address", ["postgresql://a:geheim@db/x", "postgresql://a@db/x?password=geheim", "geheim://db"]
)
def test_addresses_that_are_refused_are_not_repeated(address: str) -> None:
    with pytest.raises(ConfigError, match="leases") as caught:
        leases(address, "s", "ann")
    assert "geheim" not in str(caught.value)


def test_there_is_nothing_to_join_without_leases(tmp_path: Path) -> None:
    source = {"platform": "mastodon", "host": "https://a.example", "permission": "x", "tags": ["x"]}
    text = render({"collect": {"sources": [source]}})
    (tmp_path / "likewise.toml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match="there are none") as caught:
        join(tmp_path)
    assert "leases =" in str(caught.value.hint)


def test_a_database_that_goes_away_stops_a_collector_with_its_own_error(tmp_path: Path) -> None:
    """8 for schedulers, not a bug in a group of readers."""
    away = f"postgresql://ann@/x?host={tmp_path}"
    source = {"platform": "mastodon", "host": "https://a.example", "permission": "x", "tags": ["x"]}
    text = render({"collect": {"sources": [source], "leases": away}})
    (tmp_path / "likewise.toml").write_text(text, encoding="utf-8")
    study = Study.open(tmp_path)
    (tmp_path / NAMED).write_text("its name", encoding="ascii")
    sources: Any = {(one.name, one.host): (one, []) for one in open_platforms(study)}
    with pytest.raises(StorageError, match="cannot be used"):
        Collector(study, sources).run()


# -- journals that are lent -------------------------------------------------------------------


def dump(path: Path) -> list[str]:
    with sqlite3.connect(path) as db:
        return sorted(db.iterdump())


def two_hosts(path: Path) -> None:
    """A journal with a chain and an author to ask on each of two hosts."""
    with Journal(path) as journal, journal.transaction():
        for place in PLACES:
            journal.chains.add(*place, [Chain("tag", "x", None, 5)])
            journal.authors.want(*place, ["ada"])
            journal.counters.add(*place, {"pages": 3})
        journal.set_meta("published", "{}")  # from now on changes are news


def test_rows_go_and_come_back_once(tmp_path: Path) -> None:
    main = tmp_path / "journal.sqlite"
    two_hosts(main)
    paths = {place: lent_path(tmp_path, *place) for place in PLACES}
    with Journal(main) as journal:
        for place in PLACES:
            lend(journal, paths[place], *place, 7)
    untouched = dump(main)
    for place in PLACES:
        with Journal(paths[place], Lease(place, 8, float("inf"))) as lent:
            assert lent.chains.planned(*place) and lent.authors.count_wanted(*place) == 1
            other = PLACES[1 - PLACES.index(place)]
            assert not lent.chains.planned(*other) and not lent.authors.count_wanted(*other)

            async def work(lent: Journal = lent, place: tuple[str, str] = place) -> None:
                await lent.run(lent.chains.add, *place, [Chain("tag", "x", 5, 9)])
                await lent.run(lent.authors.want, *place, ["bob"])
                await lent.run(lent.counters.add, *place, {"pages": 2})

            asyncio.run(work())
    copies = {place: path.read_bytes() for place, path in paths.items()}
    assert dump(main) == untouched
    with Journal(main) as journal:
        fold_all(journal)
        assert not list(tmp_path.glob("journal-*"))
        for place in PLACES:
            assert len(journal.chains.planned(*place)) == 2
            assert journal.authors.count_wanted(*place) == 2
            assert journal.counters.of(*place) == {"pages": 5}
        numbers = [row[0] for row in journal.db.execute("SELECT id FROM chains")]
        assert len(set(numbers)) == 4  # posts name them: the new ones are of no other host
    once = dump(main)
    for place, content in copies.items():  # killed between the rows and the file
        paths[place].write_bytes(content)
    with Journal(main) as journal:
        fold_all(journal)
    assert dump(main) == once


def test_what_is_shut_comes_back_from_a_journal_that_an_earlier_version_lent(
    tmp_path: Path,
) -> None:
    main, path = tmp_path / "journal.sqlite", lent_path(tmp_path, *PLACES[0])
    two_hosts(main)
    until = time.time() + 900
    with Journal(main) as journal:
        journal.budgets.note_shut("later", until, until - 900)
        journal.flush()
        lend(journal, path, *PLACES[0], 1)
        with contextlib.closing(sqlite3.connect(path)) as db:
            db.execute("ALTER TABLE shut DROP COLUMN noted")
            db.execute("INSERT OR REPLACE INTO shut VALUES ('later', ?)", (until - 5,))
            db.execute("INSERT INTO shut VALUES ('new', ?)", (until,))
            db.commit()
        fold(journal, path)
        assert journal.budgets.shut() == {"later": until, "new": until}


def test_rows_of_a_zombie_stay_out(tmp_path: Path) -> None:
    main, place = tmp_path / "journal.sqlite", PLACES[0]
    two_hosts(main)
    path = lent_path(tmp_path, *place)
    with Journal(main) as journal:
        lend(journal, path, *place, 1)

    async def want(lent: Journal, name: str) -> None:
        await lent.run(lent.authors.want, *place, [name])

    zombie, heir = Lease(place, 2, float("inf")), Lease(place, 3, float("inf"))
    with Journal(path, zombie) as old:
        asyncio.run(want(old, "before"))
        with Journal(path, heir) as new:
            with pytest.raises(LeaseLostError):
                asyncio.run(want(old, "zombie"))
            with pytest.raises(LeaseLostError):
                zombie.check()  # and it asks nothing any more
            asyncio.run(want(new, "heir"))
            with pytest.raises(LeaseLostError):
                Journal(path, zombie)
            with Journal(main) as journal:
                fold(journal, path)
            with pytest.raises(LeaseLostError):  # what is published now has no more holders
                asyncio.run(want(new, "late"))
    with Journal(main) as journal:
        found = journal.db.execute("SELECT author_id FROM wanted WHERE host = 'a.example'")
        assert {row[0] for row in found} == {"ada", "before", "heir"}


def test_a_lease_of_before_does_not_open_the_next_journal(tmp_path: Path) -> None:
    main, place = tmp_path / "journal.sqlite", PLACES[0]
    two_hosts(main)
    path = lent_path(tmp_path, *place)
    with Journal(main) as journal:
        lend(journal, path, *place, 5)
    with pytest.raises(LeaseLostError):
        Journal(path, Lease(place, 4, float("inf")))


# -- whole crawls -----------------------------------------------------------------------------

LIMIT, PERIOD_S, LEASE_S = 12, 6.0, 1.5
"""The window is longer than a lease: who takes over inherits calls that still count."""


class Counted(Proxy):
    """A server's door that notes when calls come in."""

    def __init__(self, upstream: str) -> None:
        super().__init__(upstream)
        self.came: list[float] = []

    async def _answer(self, request: web.Request) -> web.Response:
        self.came.append(time.monotonic())
        await asyncio.sleep(0.05)
        return await super()._answer(request)

    def most(self) -> int:
        """Most calls in any window of ``PERIOD_S``."""
        return max(sum(one <= t < one + PERIOD_S for t in self.came) for one in self.came)


@pytest.fixture(scope="module")
def doors() -> Iterator[list[tuple[Counted, str]]]:
    """Three servers of different worlds, each behind a door that counts."""
    with ExitStack() as stack:
        found = []
        for seed in range(3):
            sandbox = stack.enter_context(
                running(World(WorldSpec(seed=seed, authors=60, posts=700)))
            )
            sandbox.limiter.enabled = False
            door = Counted(sandbox.url)
            found.append((door, stack.enter_context(served(door.application))))
        yield found


def study_of(folder: Path, doors: list[tuple[Counted, str]], leases: str) -> Path:
    folder.mkdir()
    sources = [
        {"platform": "mastodon", "host": url, "permission": "a test", "tags": ["photo"]}
        for _, url in doors
    ]
    section = {"sources": sources, "leases": leases, "lease_s": LEASE_S, "leased_at_once": 2}
    (folder / "likewise.toml").write_text(render({"collect": section}), encoding="utf-8")
    for door, _ in doors:
        door.came.clear()
    return folder


STARTED: list[subprocess.Popen[str]] = []


@pytest.fixture(autouse=True)
def _none_is_left() -> Iterator[None]:
    yield
    while STARTED:
        with STARTED.pop() as process:
            process.kill()


def start(study: Path, part: str) -> subprocess.Popen[str]:
    """A collector on a machine of its own: with its own configuration, locks and tokens."""
    home = study.parent / f"home {part} {time.monotonic_ns()}"
    process = subprocess.Popen(
        [sys.executable, str(HERE / "tight_driver.py"), str(study), part, str(LIMIT),
         str(PERIOD_S)],
        env={**os.environ, "LIKEWISE_CONFIG_HOME": str(home)}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    STARTED.append(process)
    return process


def finish(process: subprocess.Popen[str]) -> str:
    said, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors
    return said + errors


def rows(study: Path, table: str) -> list[dict[str, Any]]:
    hidden = {"collected_at", "fetched_at", "read_at"}
    found = Study.open(study).read(table).to_pylist()
    return sorted(
        ({name: value for name, value in row.items() if name not in hidden} for row in found),
        key=str,
    )


@pytest.fixture(scope="module")
def alone(
    doors: list[tuple[Counted, str]], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, list[dict[str, Any]]]:
    study = study_of(tmp_path_factory.mktemp("alone") / "study", doors, "")
    finish(start(study, "lead"))
    for door, _ in doors:
        assert len(door.came) > LIMIT and door.most() <= LIMIT
    return {table: rows(study, table) for table in ("posts", "authors")}


def as_alone(
    study: Path,
    doors: list[tuple[Counted, str]],
    alone: dict[str, list[dict[str, Any]]],
    what: str,
) -> None:
    """The rows of one collector, no more calls in a window than its, and no journal left lent."""
    print(f"\n{what}: calls {[len(d.came) for d, _ in doors]}, most {[d.most() for d, _ in doors]}")
    for table, expected in alone.items():
        assert rows(study, table) == expected
    for door, _ in doors:
        assert door.most() <= LIMIT
    assert not list(study.glob("journal-*"))


def holding(postgres: str, study: Path, pid: int) -> int:
    """How many hosts a process reads now."""
    import psycopg

    if not (study / "collectors.id").is_file():
        return 0
    name = (study / "collectors.id").read_text(encoding="ascii").strip()
    query = "SELECT count(*) FROM likewise_leases WHERE study = %s AND holder LIKE %s"
    try:
        with psycopg.connect(postgres) as connection:
            [found] = connection.execute(query, (name, f"% {pid} %")).fetchall()
    except psycopg.errors.UndefinedTable:
        return 0
    return int(found[0])


def both_reading(postgres: str, study: Path) -> tuple[subprocess.Popen[str], ...]:
    """A leading and a joined collector in the middle of their hosts."""
    leading = start(study, "lead")
    joined = start(study, "join")
    until = time.monotonic() + 60
    while not (holding(postgres, study, leading.pid) and holding(postgres, study, joined.pid)):
        assert time.monotonic() < until and leading.poll() is None is joined.poll()
        time.sleep(0.05)
    time.sleep(1.0)
    return leading, joined


def stop_between_transactions(process: subprocess.Popen[str], study: Path) -> None:
    """One that was stopped in the middle of a transaction would hold its file for ever."""
    until = time.monotonic() + 20
    while True:
        assert time.monotonic() < until
        process.send_signal(signal.SIGSTOP)
        try:
            for path in study.glob("journal-*.sqlite"):
                with contextlib.closing(sqlite3.connect(path, timeout=0.5)) as db:
                    db.execute("BEGIN EXCLUSIVE")
            return
        except sqlite3.OperationalError:
            process.send_signal(signal.SIGCONT)
            time.sleep(0.05)


@pytest.mark.slow  # SQLite waits for it again and again
def test_a_journal_that_is_held_costs_its_host_and_no_other(
    postgres: str, doors: list[tuple[Counted, str]], tmp_path: Path
) -> None:
    study = Study.open(study_of(tmp_path / "study", [*doors[:2]], postgres))
    places = [(one.name, one.host) for one in open_platforms(study)]
    with Journal(study.journal_path) as journal:
        lend(journal, lent_path(study.root, *places[0]), *places[0], 0)
    with contextlib.closing(sqlite3.connect(lent_path(study.root, *places[0]))) as zombie:
        zombie.execute("BEGIN IMMEDIATE")
        with pytest.raises(StudyBusyError) as caught:
            collect(study)
    assert "stop it" in str(caught.value.hint)
    found = {row["host"] for row in study.read("posts", ["host"]).to_pylist()}
    assert found == {places[1][1]}
    collect(study)  # what held it is gone
    found = {row["host"] for row in study.read("posts", ["host"]).to_pylist()}
    assert found == {place[1] for place in places}


@pytest.mark.slow
@pytest.mark.parametrize(
    "fault", ["none", "joined ended", "joined killed", "leading killed", "joined stopped"]
)
def test_rows_and_calls_are_those_of_one_collector(
    postgres: str,
    doors: list[tuple[Counted, str]],
    alone: dict[str, list[dict[str, Any]]],
    tmp_path: Path,
    fault: str,
) -> None:
    study = study_of(tmp_path / "study", doors, postgres)
    leading, joined = both_reading(postgres, study)
    if fault == "joined ended":
        joined.terminate()
        joined.communicate()
        assert joined.returncode == ExitCode.INTERRUPTED
        assert not holding(postgres, study, joined.pid)  # nobody waits for its lease's end
        finish(leading)
    elif fault == "joined killed":
        joined.kill()
        joined.communicate()
        finish(leading)
    elif fault == "leading killed":
        leading.kill()
        leading.communicate()
        assert '"hosts": 3' in finish(joined)  # it took over what the other had
        before = sum(len(door.came) for door, _ in doors)
        finish(start(study, "lead"))  # publishes
        assert sum(len(door.came) for door, _ in doors) == before
    elif fault == "joined stopped":
        stop_between_transactions(joined, study)
        finish(leading)
        before = sum(len(door.came) for door, _ in doors)
        joined.send_signal(signal.SIGCONT)
        assert "lost" in finish(joined)
        # A call that was on its way when the process was stopped is no new one.
        assert sum(len(door.came) for door, _ in doors) == before
    else:
        finish(leading)
        assert '"lost": 0' in finish(joined)
    as_alone(study, doors, alone, fault)
    shutil.rmtree(study)


@pytest.mark.slow
@pytest.mark.parametrize("away_s", [0.0, 3 * LEASE_S], ids=["at once", "when leases have ended"])
def test_the_database_is_killed_and_comes_back(
    server: Cluster,
    doors: list[tuple[Counted, str]],
    alone: dict[str, list[dict[str, Any]]],
    tmp_path: Path,
    away_s: float,
) -> None:
    """Whoever stops says so with 8, which schedulers try again; nothing is asked too often."""
    study, draw = study_of(tmp_path / "study", doors, server.url), random.Random(7)
    working = {part: start(study, part) for part in ("lead", "join")}
    kills, codes = 0, list[int | None]()
    while working["lead"].poll() != 0:  # then it has published
        for part, process in working.items():
            if process.poll() is not None:
                codes.append(process.returncode)
                assert process.returncode in {ExitCode.DONE, ExitCode.STORAGE}, (
                    process.communicate()
                )
                working[part] = start(study, part)
        time.sleep(draw.uniform(0.5, 3))
        if kills < 8 and any(holding(server.url, study, one.pid) for one in working.values()):
            server.kill()
            kills += 1
            time.sleep(away_s)
            server.start()
    working["join"].terminate()
    working["join"].communicate()
    assert kills >= 2
    as_alone(study, doors, alone, f"{kills} kills, {codes.count(ExitCode.STORAGE)} times 8")
