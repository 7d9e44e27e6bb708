"""Leases of hosts in PostgreSQL: which of a study's collectors reads which host now.

A host goes with all its tokens, since limits of an address and of an application count across
tokens. A lease ends by itself when its holder does not renew it, by the database's clock. Each
taking gets a number that is larger than those before (a fencing token: M. Kleppmann, "How to do
distributed locking", 2016): the host's journal refuses what an earlier holder still writes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from likewise.errors import ConfigError, LikewiseError, StorageError

if TYPE_CHECKING:
    from psycopg import Cursor

__all__ = ["Lease", "LeaseLostError", "Leases", "Place"]

Place = tuple[str, str]
"""Platform and host."""


class LeaseLostError(LikewiseError):
    """Another collector has the host now, or has it soon: nothing more is asked or written."""


@dataclass(slots=True)
class Lease:
    """A host that this collector may read until the moment ``until`` of the monotonic clock."""

    place: Place
    number: int
    until: float

    def check(self) -> None:
        """Raises LeaseLostError when the lease has ended."""
        if time.monotonic() >= self.until:
            self.lose()

    def lose(self) -> NoReturn:
        """Raises LeaseLostError, now and at every later ``check``."""
        self.until = -math.inf
        raise LeaseLostError(f"{self.place[1]}: another collector has its lease, or may take it")


_TABLE = """
CREATE TABLE IF NOT EXISTS likewise_leases (
    study text, platform text, host text, open boolean NOT NULL, number bigint NOT NULL,
    holder text, ends timestamptz, PRIMARY KEY (study, platform, host))
"""

_ALONE = "SELECT pg_advisory_xact_lock(hashtext('likewise_leases'))"
"""CREATE TABLE IF NOT EXISTS fails where two sessions do it at once (PostgreSQL's manual)."""

_CLOSE = """
INSERT INTO likewise_leases AS old
SELECT %(study)s, platform, host, false, 1, NULL, NULL
FROM unnest(%(platforms)s::text[], %(hosts)s::text[]) AS wanted (platform, host)
ON CONFLICT (study, platform, host) DO UPDATE
SET open = false, number = old.number + 1, holder = NULL, ends = NULL
WHERE old.ends IS NULL OR old.ends < now()
RETURNING platform, host, number
"""

_OPEN = """
UPDATE likewise_leases SET open = true WHERE study = %(study)s AND holder IS NULL
AND (platform, host) IN (SELECT * FROM unnest(%(platforms)s::text[], %(hosts)s::text[]))
RETURNING platform, host, number
"""

_TAKE = """
UPDATE likewise_leases AS l SET number = l.number + 1, holder = %(holder)s,
    ends = now() + make_interval(secs => %(seconds)s)
FROM (
    SELECT study, platform, host FROM likewise_leases
    WHERE study = %(study)s AND open AND (ends IS NULL OR ends < now())
    AND (platform, host) IN (SELECT * FROM unnest(%(platforms)s::text[], %(hosts)s::text[]))
    ORDER BY platform, host LIMIT 1 FOR UPDATE SKIP LOCKED) AS free
WHERE (l.study, l.platform, l.host) = (free.study, free.platform, free.host)
RETURNING l.platform, l.host, l.number
"""
"""SKIP LOCKED: who finds a row that another is taking passes on to the next one."""

_OWN = (
    "WHERE (study, platform, host, number) = (%(study)s, %(platform)s, %(host)s, %(number)s) "
    "AND holder = %(holder)s RETURNING platform, host, number"
)

_RENEW = f"UPDATE likewise_leases SET ends = now() + make_interval(secs => %(seconds)s) {_OWN}"  # noqa: S608 - our own words

_GIVE_BACK = f"UPDATE likewise_leases SET open = %(open)s, holder = NULL, ends = NULL {_OWN}"  # noqa: S608

_WAITING = """
SELECT platform, host, number FROM likewise_leases WHERE study = %(study)s AND open
AND (platform, host) IN (SELECT * FROM unnest(%(platforms)s::text[], %(hosts)s::text[]))
"""


class Leases:
    """The leases of one study, as ``holder`` sees them. Each method is one short transaction.

    All methods raise StorageError where the database cannot be used. They block.

    Args:
        address: ``postgresql://USER@HOST/DATABASE``; its password is in ~/.pgpass.
        study: What the study is called by all its collectors.
        holder: What this collector is called.
        seconds: Time after which a lease that is not renewed ends.

    Raises:
        ConfigError: the address cannot be read, or holds a password.
    """

    def __init__(self, address: str, study: str, holder: str, seconds: float) -> None:
        self._address = _checked(address)
        self._names = {"study": study, "holder": holder, "seconds": seconds}
        self.seconds = seconds
        self._made = False

    def close(self, places: Collection[Place]) -> dict[Place, int]:
        """Let nobody take these hosts; gives those that nobody reads now, with their numbers."""
        return self._ask(_CLOSE, places)

    def open(self, places: Collection[Place]) -> None:
        """Offer hosts that were closed."""
        self._ask(_OPEN, places)

    def take(self, places: Collection[Place]) -> Lease | None:
        """One of these hosts that is offered and read by nobody; None where there is none."""
        began = time.monotonic()  # before it is asked for: never longer than the database's
        for place, number in self._ask(_TAKE, places).items():
            return Lease(place, number, began + self.seconds)
        return None

    def renew(self, lease: Lease) -> None:
        """Hold a host for another while.

        Raises:
            LeaseLostError: another has it.
        """
        began = time.monotonic()
        if not self._ask(_RENEW, [lease.place], number=lease.number):
            lease.lose()
        lease.until = began + self.seconds

    def give_back(self, lease: Lease, *, done: bool) -> None:
        """End a lease; unless it is ``done``, another collector goes on with the host."""
        self._ask(_GIVE_BACK, [lease.place], number=lease.number, open=not done)

    def waiting(self, places: Collection[Place]) -> set[Place]:
        """Hosts among these that are not done."""
        return set(self._ask(_WAITING, places))

    def _ask(self, statement: str, places: Collection[Place], **more: Any) -> dict[Place, int]:
        import psycopg  # an extra: most who collect have one collector

        platforms, hosts = [place[0] for place in places], [place[1] for place in places]
        values: Mapping[str, Any] = {
            **self._names, "platforms": platforms, "hosts": hosts,
            **({"platform": platforms[0], "host": hosts[0]} if "number" in more else {}), **more,
        }  # fmt: skip
        try:
            # A connection a question: there are few, and none is left to break in between.
            with psycopg.connect(self._address, connect_timeout=10) as connection:
                if not self._made:
                    connection.execute(_ALONE)
                    connection.execute(_TABLE)
                    self._made = True
                return _rows(connection.execute(statement.encode(), values))
        except psycopg.Error as error:
            what = str(error).strip().splitlines()[0]
            raise StorageError(
                f"[collect] leases: {self._address} cannot be used: {what}",
                hint="start the database, and see that this user may make a table there (its "
                "password: ~/.pgpass or PGPASSWORD); what was read is kept",
            ) from error


def _checked(address: str) -> str:
    """The address; it is not repeated where it is wrong, for it may hold a password."""
    import psycopg
    from psycopg.conninfo import conninfo_to_dict

    hint = 'leases = "postgresql://USER@HOST/DATABASE", its password in ~/.pgpass or PGPASSWORD'
    try:
        found = conninfo_to_dict(address)
    except psycopg.Error:
        raise ConfigError("[collect] leases: the address cannot be read", hint=hint) from None
    if {"password", "sslpassword"} & found.keys():
        raise ConfigError(
            "[collect] leases: the address holds a password, which others could read", hint=hint
        )
    return address


def _rows(cursor: Cursor[tuple[Any, ...]]) -> dict[Place, int]:
    return {(platform, host): int(number) for platform, host, number in cursor.fetchall()}
