"""The reviews database: SQLite beside the study, or PostgreSQL by its URL.

``open_database`` brings the tables to the newest revision of ``migrations/``. Everything that a
database can refuse comes back as one ``ReviewsUnavailableError`` that says which of it happened.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from likewise.errors import ConfigError, StorageError

__all__ = [
    "ReviewsUnavailableError", "alembic_config", "open_database", "reading", "revision",
    "upgrade", "writing",
]  # fmt: skip

WAIT_S = 5.0
"""Patience with a lock of somebody else, and with a server that does not answer."""

UPGRADE_LOCK = 0x6C696B65
"""Key of the advisory lock under which one of several servers upgrades a PostgreSQL database."""

Reason = Literal["locked", "full", "read-only", "down", "damaged"]


class ReviewsUnavailableError(StorageError):
    """The reviews database cannot be used now; ``reason`` says why."""

    def __init__(self, reason: Reason, where: str, detail: str) -> None:
        super().__init__(f"the reviews database {where} is {reason}: {detail}", hint=_HINTS[reason])
        self.reason = reason


_HINTS: dict[Reason, str] = {
    "locked": "another program holds it; what was not stored is sent again by the page",
    "full": "make room on its disk; what was not stored is sent again by the page",
    "read-only": "give the server's user the right to write there",
    "down": "start the database, or correct likewise serve --reviews",
    "damaged": "restore it from a backup, or move it away to begin anew",
}


def open_database(where: str | Path) -> Engine:
    """An engine on the newest revision.

    Args:
        where: a file for SQLite, or a ``postgresql://`` URL.

    Raises:
        ConfigError: the URL cannot be read, or names another kind of database.
        ReviewsUnavailableError: the database does not answer or cannot be written.
    """
    engine = _engine(where)
    try:
        upgrade(engine)
    except BaseException:
        engine.dispose()
        raise
    return engine


def _engine(where: str | Path) -> Engine:
    url = URL.create("sqlite", database=str(where)) if isinstance(where, Path) else _url(where)
    if url.get_backend_name() == "sqlite":
        engine = create_engine(url, connect_args={"timeout": WAIT_S}, pool_timeout=WAIT_S)
        event.listen(engine, "connect", _on_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    return create_engine(
        url.set(drivername="postgresql+psycopg"),
        connect_args={"connect_timeout": int(WAIT_S), "options": "-c lock_timeout=5s"},
        pool_pre_ping=True,  # a server that was started anew costs nobody an error
        pool_timeout=WAIT_S,
    )


def _url(text_: str) -> URL:
    try:
        url = make_url(text_)
        known = url.get_backend_name() in {"sqlite", "postgresql"}
    except (ArgumentError, NoSuchModuleError) as error:
        raise ConfigError(f"--reviews is no database URL: {error}") from None
    if not known:
        raise ConfigError(
            f"--reviews names a {url.get_backend_name()} database, expected PostgreSQL",
            hint="postgresql://USER@HOST/DATABASE, or leave it away for SQLite",
        )
    return url


def _on_sqlite(connection: sqlite3.Connection, _: Any) -> None:
    # The driver's own transactions begin too late to be exclusive; ``_begin_sqlite`` begins them.
    connection.isolation_level = None
    with contextlib.closing(connection.cursor()) as cursor:
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.execute("PRAGMA synchronous=FULL")  # an answer that was confirmed survives a crash


def _begin_sqlite(connection: Connection) -> None:
    if connection.get_execution_options().get("only_reads"):
        connection.exec_driver_sql("BEGIN")
    else:
        # Read, then write: a deferred transaction would be refused without waiting for its turn.
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def alembic_config(engine: Engine | None = None) -> Config:
    """Alembic's settings, without a file: ``migrations/`` of this package."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    if engine is not None:
        config.attributes["engine"] = engine
    return config


def revision(connection: Connection) -> str | None:
    """Revision of the database; None where it is empty."""
    return MigrationContext.configure(connection).get_current_revision()


def upgrade(engine: Engine, to: str = "head") -> None:
    """Bring the tables to a revision; one server does it while others wait.

    Raises:
        ReviewsUnavailableError: it cannot be written, or a newer likewise has made it.
    """
    config = alembic_config(engine)
    newest = ScriptDirectory.from_config(config).get_current_head()
    with reading(engine) as connection:
        if to == "head" and revision(connection) == newest:
            return
    if engine.dialect.name == "sqlite":
        _write_ahead(engine)
    with writing(engine) as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": UPGRADE_LOCK})
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, to)
        except CommandError as error:
            raise ReviewsUnavailableError(
                "damaged", _where(engine), f"its revision is of another likewise ({error})"
            ) from None


def _write_ahead(engine: Engine) -> None:
    """Let readers go on while somebody writes; set once, it stays with the file."""
    deadline = time.monotonic() + WAIT_S
    with _named(engine), engine.connect() as connection:
        driver = connection.connection.driver_connection
        assert isinstance(driver, sqlite3.Connection)
        while True:
            try:
                driver.execute("PRAGMA journal_mode=WAL").close()
                return
            except sqlite3.OperationalError as error:
                # SQLite does not wait here: another server is changing the same file's mode.
                if (
                    error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY
                    or time.monotonic() > deadline
                ):
                    raise OperationalError("PRAGMA journal_mode", None, error) from error
                time.sleep(0.02)


@contextlib.contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """A transaction that is committed at the end. Raises ReviewsUnavailableError."""
    with _named(engine), engine.begin() as connection:
        yield connection


@contextlib.contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """One consistent view, without a lock. Raises ReviewsUnavailableError."""
    with _named(engine), engine.execution_options(only_reads=True).begin() as connection:
        yield connection


@contextlib.contextmanager
def _named(engine: Engine) -> Iterator[None]:
    try:
        yield
    except PoolTimeoutError as error:
        raise ReviewsUnavailableError("down", _where(engine), "too many requests wait") from error
    except DBAPIError as error:
        reason = _reason(error)
        if reason is None:
            raise
        detail = str(error.orig).strip().partition("\n")[0]
        raise ReviewsUnavailableError(reason, _where(engine), detail) from error


def _where(engine: Engine) -> str:
    return engine.url.render_as_string(hide_password=True).partition("?")[0]


_SQLITE: dict[int, Reason] = {
    sqlite3.SQLITE_BUSY: "locked",
    sqlite3.SQLITE_LOCKED: "locked",
    sqlite3.SQLITE_FULL: "full",
    sqlite3.SQLITE_IOERR: "full",
    sqlite3.SQLITE_READONLY: "read-only",
    sqlite3.SQLITE_PERM: "read-only",
    sqlite3.SQLITE_CANTOPEN: "down",
    sqlite3.SQLITE_CORRUPT: "damaged",
    sqlite3.SQLITE_NOTADB: "damaged",
}

_POSTGRES: dict[str, Reason] = {
    "55P03": "locked",  # lock_not_available
    "57014": "locked",  # query_canceled
    "53100": "full",  # disk_full
    "53200": "full",  # out_of_memory
    "53300": "down",  # too_many_connections
    "25006": "read-only",  # read_only_sql_transaction
    "42501": "read-only",  # insufficient_privilege
}


def _reason(error: DBAPIError) -> Reason | None:
    """What a driver's error means; None for one that is a fault of this program."""
    code = getattr(error.orig, "sqlite_errorcode", None)
    if code is not None:
        return _SQLITE.get(code & 0xFF)  # the low byte is the kind, the rest tells more of it
    state = getattr(error.orig, "sqlstate", None)
    if state in _POSTGRES:
        return _POSTGRES[state]
    # Class 08: connection exceptions; 57P: shut down by its operator; no state: never reached.
    gone = state is None or state[:2] == "08" or state[:3] == "57P"
    return "down" if gone and _is_connection_trouble(error) else None


def _is_connection_trouble(error: DBAPIError) -> bool:
    return type(error.orig).__name__ in {"OperationalError", "AdminShutdown", "InterfaceError"} or (
        error.connection_invalidated
    )
