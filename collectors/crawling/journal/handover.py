"""Hosts that leave the journal for a while, so that several collectors can read them.

A host's rows go into a journal of its own (``lend``), which whoever has the host's lease goes on
writing, and come back into the study's (``fold``) before anything is published or forgotten. A
lent journal carries the number of its lease: a holder of before is refused by its next transaction,
so nothing that it still writes is published.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from pathlib import Path

from collectors.crawling.journal.journal import Journal
from collectors.crawling.journal.schema import FENCE
from collectors.crawling.journal.trouble import explained
from likewise.whole import fingerprint

__all__ = ["FAILURES", "extend_key", "fold", "fold_all", "lend", "lent", "lent_path"]

FAILURES = "failures"
"""Under this name its holder says, as JSON, what failed."""

_CLOSED = (1 << 62) - 1
"""A number that no lease has: who holds the journal now has lost it."""

_OF_HOST = ("chains", "accounts", "posts", "authors", "counts", "wanted", "counters", "tokens")
"""Tables whose rows belong to one host. A crawl deletes none of them."""

_CHAINS = 1 << 24
"""Numbers that each lent journal has for its new chains: posts name them, so none may be twice."""

_NUMBERS = "chains_lent"
_PLACE = "place"


def extend_key(platform: str, host: str) -> str:
    """Under this name a journal remembers that a host is to be read on until now."""
    return f"extend {platform} {host}"


def lent_path(root: Path, platform: str, host: str) -> Path:
    """Where a host's own journal lies. The doctor and links are looked for beside the study's."""
    return root / f"journal-{fingerprint([platform, host])[:16]}.sqlite"


def lend(journal: Journal, path: Path, platform: str, host: str, number: int) -> None:
    """Give a host's rows a journal of their own, which leases after ``number`` may write.

    Another journal at that place must have been ``fold``ed before. The journal must be idle.
    """
    begun = path.with_suffix(".lending")
    _remove(begun)
    [last] = journal.db.execute("SELECT coalesce(max(id), 0) FROM chains").fetchone()
    base = max(int(last), int(journal.meta(_NUMBERS, "0"))) + 1
    journal.set_meta(_NUMBERS, str(base + _CHAINS))
    with contextlib.closing(Journal(begun).db) as db:
        db.execute("PRAGMA journal_mode=DELETE")  # the write-ahead log does not cross machines
        db.execute("ATTACH ? AS whole", (str(journal.path),))
        db.execute("BEGIN IMMEDIATE")
        for table in _OF_HOST:
            some = ", ".join(_columns(db, "main", table))
            rows = f"SELECT {some} FROM whole.{table} WHERE platform = ? AND host = ?"  # noqa: S608
            db.execute(f"INSERT INTO {table} ({some}) {rows}", (platform, host))
        # SQLite numbers a new row after the largest there is.
        db.execute(
            "INSERT INTO chains (id, platform, host, kind, value, state) "
            "VALUES (?, '', '', '', '', 'done')",
            (base,),
        )
        own = f"{host}/"  # every bucket's name begins with its host
        db.execute(
            "INSERT INTO calls SELECT * FROM whole.calls WHERE substr(buckets, 1, ?) = ?",
            (len(own), own),
        )
        db.execute("INSERT INTO shut SELECT * FROM whole.shut")
        wanted = ("since", extend_key(platform, host))
        db.execute("INSERT INTO meta SELECT * FROM whole.meta WHERE key IN (?, ?)", wanted)
        own_facts = ((FENCE, number), (_PLACE, json.dumps([platform, host])))
        db.executemany("INSERT INTO meta VALUES (?, ?)", own_facts)
        db.execute("COMMIT")
        db.execute("DETACH whole")
    begun.replace(path)


def fold(journal: Journal, path: Path) -> list[tuple[str, str]]:
    """Take a host's rows back and delete its journal; whoever holds it has lost it.

    Done twice it changes nothing more. The journal must be idle.

    Returns:
        What failed for the one who read the host last, as (part of the crawl, reason).

    Raises:
        StudyBusyError: another process holds the file.
        StudyError: the file is damaged.
    """
    try:
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as own:
            own.execute("UPDATE meta SET value = ? WHERE key = ?", (_CLOSED, FENCE))
            told = dict(own.execute("SELECT key, value FROM meta"))
    except sqlite3.Error as error:
        raise explained(path, error) from error
    platform, host = json.loads(told[_PLACE])
    db = journal.db
    db.execute("ATTACH ? AS lent", (str(path),))
    try:
        with journal.transaction():
            for table in _OF_HOST:
                _take_back(db, table, platform, host)
            db.execute(_CALLS)
            db.execute(_SHUT.format(", ".join(_columns(db, "lent", "shut"))))
            key = extend_key(platform, host)
            journal.set_meta(key, told.get(key, ""))
    finally:
        db.execute("DETACH lent")
    _remove(path)
    return [(part, reason) for part, reason in json.loads(told.get(FAILURES, "[]"))]


def fold_all(journal: Journal) -> None:
    """Take back every host, before rows are erased; to be called under the study's lock.

    Raises:
        StudyBusyError: as ``fold``.
    """
    for path in lent(journal):
        fold(journal, path)


def lent(journal: Journal) -> list[Path]:
    """Journals of the hosts that are lent now."""
    return sorted(journal.path.parent.glob("journal-*.sqlite"))


def _columns(db: sqlite3.Connection, schema: str, table: str) -> list[str]:
    return [row[1] for row in db.execute(f"PRAGMA {schema}.table_info({table})")]


def _take_back(db: sqlite3.Connection, table: str, platform: str, host: str) -> None:
    """Rows that are new or others than before; what is the same is not news."""
    names = _columns(db, "lent", table)
    some = ", ".join(names)
    changes = ", ".join(f"{name} = excluded.{name}" for name in names)
    theirs, ours = (
        f"SELECT {some} FROM {one}.{table} WHERE platform = ?1 AND host = ?2"  # noqa: S608
        for one in ("lent", "main")
    )
    news = f"SELECT * FROM ({theirs} EXCEPT {ours}) WHERE true"  # noqa: S608
    into = f"INSERT INTO main.{table} ({some}) {news}"
    db.execute(f"{into} ON CONFLICT DO UPDATE SET {changes}", (platform, host))


_CALLS = """
INSERT INTO main.calls (token, buckets, started, ended)
SELECT token, buckets, started, ended FROM lent.calls
EXCEPT SELECT token, buckets, started, ended FROM main.calls
"""

_SHUT = """
INSERT INTO main.shut ({0}) SELECT {0} FROM lent.shut WHERE true
ON CONFLICT DO UPDATE SET until = excluded.until, noted = excluded.noted
WHERE excluded.until > until
"""


def _remove(path: Path) -> None:
    for end in ("", "-journal", "-wal", "-shm"):
        path.with_name(path.name + end).unlink(missing_ok=True)
