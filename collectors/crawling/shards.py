"""Which parts of a published table stay: rows cut by time, so that a night writes what is new.

A shard is a range of time whose rows lie in one part, and the part's name says range and digest.
A range whose rows have not changed keeps its part; new rows come after the last range, and small
neighbours are joined when there are many of them.
"""

from __future__ import annotations

import hashlib
import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

__all__ = ["MOST", "Row", "Shard", "cut", "grown", "total"]

Row = tuple[int, str, str, int, str]
"""What the row is cut by (microseconds), platform, host, time of reading, other columns as JSON."""

MOST = 2048
"""Rows of a shard: what is written anew when one of them changes."""

FEW = 256
DAY = 86_400_000_000
"""Posts that will come of age, all of a day in one night, lie in shards of a day each, where a
day has so many rows."""

SMALL = MOST // 4
MOST_SMALL = 8
"""Neighbours of fewer rows are joined when more of them follow one another."""

_BITS = 128
_ZERO = 1 << 63
"""Added to times, so that their hexadecimal digits sort as they do."""

_NAME = re.compile(r"([0-9a-f]{16})-([0-9a-f]{16})-([0-9a-f]{32})-[0-9a-f]{12}\.parquet")


@dataclass(slots=True)
class Shard:
    """Rows from ``low`` to ``high``, both included. ``digest`` is the sum of their hashes: that of
    two shards together is the sum of both."""

    low: int
    high: int
    rows: int = 0
    digest: int = 0
    parts: list[str] = field(default_factory=list)
    """The published part that holds exactly these rows."""

    @property
    def stem(self) -> str:
        """Begin of its part's name."""
        return f"{self.low + _ZERO:016x}-{self.high + _ZERO:016x}-{self.digest:032x}"

    @classmethod
    def of(cls, part: str) -> Shard | None:
        """The shard that a published part was named after; None when it was named otherwise."""
        found = _NAME.fullmatch(part)
        if found is None:
            return None
        low, high, digest = (int(group, 16) for group in found.groups())
        return cls(low - _ZERO, high - _ZERO, digest=digest, parts=[part])

    def add(self, row: Row, code: int) -> None:
        """One row more, not earlier than those before."""
        at, *rest = row
        text = f"{code}\n{at}\n" + "\n".join(map(str, rest))
        hashed = hashlib.blake2b(text.encode(), digest_size=_BITS // 8).digest()
        self.high = at
        self.rows += 1
        self.digest = (self.digest + int.from_bytes(hashed)) % (1 << _BITS)

    def join(self, other: Shard) -> Shard:
        """Both as one, which no part holds."""
        digest = (self.digest + other.digest) % (1 << _BITS)
        return Shard(self.low, other.high, self.rows + other.rows, digest)


def total(shards: Iterable[Shard]) -> str:
    """Digest of all rows, however they are cut."""
    return f"{sum(one.digest for one in shards) % (1 << _BITS):032x}"


def cut(
    rows: Iterable[Row], published: Sequence[str], code: int, young: int | None = None
) -> list[Shard]:
    """Shards of all ``rows``, which come in the order of their time.

    Args:
        rows: All rows of the table.
        published: Names of its parts; those whose range holds the same rows are found again.
        code: Number of the code that turns rows into columns; another one leaves no part.
        young: Moment from which on rows are going to change, a day of them in a night.
    """
    known = sorted(filter(None, map(Shard.of, published)), key=lambda one: one.low)
    zones = [one for n, one in enumerate(known) if not n or one.low > known[n - 1].high]
    found: list[Shard] = []
    for zone, members in groupby(_with_zone(rows, zones), key=lambda pair: pair[0]):
        whole = zones[zone // 2] if zone % 2 else None
        found += _zone((row for _, row in members), whole, code, young)
    return list(_joined(found, young))


def grown(
    published: Mapping[str, int],
    changed: Sequence[int],
    within: Callable[[int, int], Iterable[Row]],
    at: Callable[[Sequence[int]], Iterable[Row]],
    code: int,
    young: int | None = None,
) -> list[Shard]:
    """As ``cut``, where only the rows of some moments may differ from the published ones.

    Args:
        published: Names of the table's parts, with their rows; all rows of before are in them.
        changed: Moments in which rows came, went or changed, in order.
        within: Rows from one moment to another, both included, in the order of their time.
        at: Rows of given moments, in that order.
        code, young: As for ``cut``.
    """
    known = sorted(filter(None, map(Shard.of, published)), key=lambda one: one.low)
    found: list[Shard] = []
    start = 0
    for one in known:
        first, last = bisect_left(changed, one.low), bisect_right(changed, one.high)
        if first > start:
            found += _zone(iter(at(changed[start:first])), None, code, young)
        if last > first:
            found += _zone(iter(within(one.low, one.high)), one, code, young)
        else:
            found.append(replace(one, rows=published[one.parts[0]]))
        start = last
    if start < len(changed):
        found += _zone(iter(at(changed[start:])), None, code, young)
    return list(_joined(found, young))


def _with_zone(rows: Iterable[Row], zones: Sequence[Shard]) -> Iterator[tuple[int, Row]]:
    """Each row with its zone: 2k + 1 within the known shard k, 2k before it."""
    at = 0
    for row in rows:
        while at < len(zones) and row[0] > zones[at].high:
            at += 1
        within = at < len(zones) and row[0] >= zones[at].low
        yield 2 * at + within, row


def _zone(rows: Iterator[Row], known: Shard | None, code: int, young: int | None) -> list[Shard]:
    """The known shard, when its rows are the same; else shards of at most ``MOST`` rows."""
    pieces: list[Shard] = []
    for row in rows:
        # Rows of one moment stay together, since ranges must not overlap.
        if not pieces or (row[0] != pieces[-1].high and _full(pieces[-1], row[0], young)):
            pieces.append(Shard(row[0], row[0]))
        pieces[-1].add(row, code)
    if known is not None and total(pieces) == f"{known.digest:032x}":
        rows_in = sum(one.rows for one in pieces)
        return [Shard(known.low, known.high, rows_in, known.digest, known.parts)]
    return pieces


def _full(shard: Shard, at: int, young: int | None) -> bool:
    """Whether the next row goes into another shard."""
    days = young is not None and at >= young and at // DAY != shard.low // DAY
    return shard.rows >= (FEW if days else MOST)


def _joined(shards: Sequence[Shard], young: int | None) -> Iterator[Shard]:
    """Long runs of small neighbours as one shard each; those that will change wait for that."""

    def small(one: Shard) -> bool:
        return one.rows < SMALL and (young is None or one.high < young)

    for joins, run in groupby(shards, key=small):
        members = list(run)
        if not joins or len(members) <= MOST_SMALL:
            yield from members
            continue
        whole = members[0]
        for one in members[1:]:
            if whole.rows >= MOST:
                yield whole
                whole = one
            else:
                whole = whole.join(one)
        yield whole
