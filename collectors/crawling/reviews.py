"""Erase what people wrote about a picture in the browser, wherever those reviews lie.

``web.reviews`` writes them: to SQLite beside the study, or to PostgreSQL. Each PostgreSQL database
that has held reviews of a study is noted in a file beside it, so that a person who is forgotten
years later, from the command line, leaves it as well.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Collection
from pathlib import Path

from likewise.errors import ConfigError, StorageError
from likewise.study import Study
from likewise.whole import write_bytes

__all__ = [
    "ADDRESSES_FILE", "REVIEWS_FILE", "address_of", "addresses", "erase_reviews", "note_address",
]  # fmt: skip

REVIEWS_FILE = "reviews.sqlite"
"""Reviews in SQLite, beside the study."""

ADDRESSES_FILE = "reviews.addresses"
"""PostgreSQL databases that hold reviews of the study, one a line, beside it."""

_ABOUT = "# PostgreSQL databases with reviews of this study: likewise forget deletes there, too.\n"
_SECRETS = {"password", "sslpassword"}


def address_of(url: str) -> str:
    """A PostgreSQL address as it may be written down.

    Raises:
        ConfigError: it is no such address, or holds a password.
    """
    from sqlalchemy.engine import make_url  # an extra: most who collect have no reviews
    from sqlalchemy.exc import ArgumentError

    try:
        made = make_url(url)
    except (ArgumentError, ValueError):
        # The text is not repeated: what cannot be read may hold a password.
        raise ConfigError(
            "the address of the reviews' database cannot be read",
            hint="postgresql://USER@HOST/DATABASE",
        ) from None
    if made.get_backend_name() != "postgresql":
        raise ConfigError(
            f"reviews are kept in PostgreSQL or beside the study, not by {made.drivername}",
            hint="postgresql://USER@HOST/DATABASE; without an address SQLite beside the study",
        )
    if made.password is not None or _SECRETS & set(made.query):
        raise ConfigError(
            "the address of the reviews' database holds a password, which others could read",
            hint="leave it away and put it in ~/.pgpass or in the environment's PGPASSWORD",
        )
    return made.set(drivername="postgresql").render_as_string()


def addresses(root: Path) -> list[str]:
    """PostgreSQL databases that hold reviews of the study in this folder."""
    path = root / ADDRESSES_FILE
    if not path.is_file():
        return []
    lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    return [address_of(line) for line in lines if line and not line.startswith("#")]


def note_address(root: Path, url: str) -> None:
    """Note a database before the first review is written to it.

    Raises:
        StorageError: the file cannot be written.
    """
    known, address = addresses(root), address_of(url)
    if address in known:
        return
    path = root / ADDRESSES_FILE
    try:
        write_bytes(path, "".join([_ABOUT, *(f"{one}\n" for one in (*known, address))]).encode())
    except OSError as error:
        raise StorageError(
            f"{path} cannot be written ({error.strerror}): without it likewise forget would not "
            "find the reviews",
            hint=f"let the server write there, or add the line yourself: {address}",
        ) from error


def erase_reviews(study: Study, pictures: Collection[str]) -> int:
    """Delete every line about these pictures, in all databases; how many there were.

    Every noted PostgreSQL database is asked even where no picture goes: what cannot be reached is
    told before anything else of a person is deleted.

    Raises:
        StorageError: a database cannot be reached or refuses. Asking again is safe.
    """
    lines = sum(_in_postgresql(study, one, pictures) for one in addresses(study.root))
    path = study.root / REVIEWS_FILE
    return lines + (_in_sqlite(path, pictures) if pictures and path.is_file() else 0)


def _in_postgresql(study: Study, address: str, pictures: Collection[str]) -> int:
    from sqlalchemy import create_engine, text
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import DBAPIError
    from sqlalchemy.pool import NullPool

    engine = create_engine(
        make_url(address).set(drivername="postgresql+psycopg"),
        connect_args={"connect_timeout": 10, "options": "-c lock_timeout=30s"},
        poolclass=NullPool,
    )
    inside = "WHERE picture_id = ANY(:pictures)"
    values = {"pictures": sorted(pictures)}
    try:
        with engine.begin() as connection:
            # One statement for each table: an undo and the line that it names go together.
            lines = connection.execute(text(f"DELETE FROM reviews {inside}"), values).rowcount  # noqa: S608
            connection.execute(text(f"DELETE FROM leases {inside}"), values)  # noqa: S608
    except DBAPIError as error:
        raise StorageError(
            f"reviews in {address} cannot be deleted: {str(error.orig).strip().splitlines()[0]}",
            hint="start the database and see that this user may delete there (its password: "
            "~/.pgpass or PGPASSWORD), then do this again; if the database is gone for good, "
            f"delete its line in {study.root / ADDRESSES_FILE}",
        ) from error
    return lines


def _in_sqlite(path: Path, pictures: Collection[str]) -> int:
    with contextlib.closing(sqlite3.connect(path, timeout=30.0, isolation_level=None)) as db:
        db.execute("PRAGMA secure_delete=ON")
        db.execute("CREATE TEMP TABLE gone (picture_id TEXT PRIMARY KEY)")
        db.executemany("INSERT INTO gone VALUES (?)", [(one,) for one in pictures])
        inside = "WHERE picture_id IN (SELECT picture_id FROM gone)"
        db.execute("BEGIN IMMEDIATE")
        lines = db.execute(f"DELETE FROM reviews {inside}").rowcount  # noqa: S608
        db.execute(f"DELETE FROM leases {inside}")  # noqa: S608
        db.execute("COMMIT")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return lines
