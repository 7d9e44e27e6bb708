"""The book of reviews: lines are added, never changed. Every write names the version it saw.

Only ``collectors.crawling.reviews`` deletes: a person's right goes before the record.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, RowMapping, delete, func, insert, select, text
from sqlalchemy.exc import IntegrityError

from likewise.errors import LikewiseError, UsageError
from web.reviews.database import open_database, reading, writing
from web.reviews.opinions import ACTIONS, OPINIONS, Action, Review, by_picture, live
from web.reviews.schema import LEASES, REVIEWS

__all__ = ["LEASE_S", "Book", "Bulk", "Said", "StaleReviewError", "open_book"]

LEASE_S = 300.0
"""How long a picture that was handed to a reviewer is kept from others, unless it is renewed."""

LEASE_LOCK = 0x6C656173
"""Key of the advisory lock under which PostgreSQL hands out pictures."""

AT_ONCE = 500
"""Names in one query: below the variables that every SQLite takes."""

TRIES = 5
"""Writes that lose the race for the next version begin again this often."""

LONGEST = {"reviewer": 100, "key": 100, "reason": 2000, "new_label": 500, "mode": 20}
"""Characters of what comes from outside."""

T = TypeVar("T")

_COLUMNS = [REVIEWS.c[field.name] for field in fields(Review)]


class StaleReviewError(LikewiseError):
    """The picture has got other lines than the writer saw; ``history`` are all of them."""

    def __init__(self, picture_id: str, seen: int, history: Sequence[Review]) -> None:
        newest = history[-1].version if history else 0
        super().__init__(
            f"picture {picture_id[:12]} stands at version {newest}, the review saw {seen}",
            hint="look at what was said meanwhile, then review it again",
        )
        self.picture_id = picture_id
        self.version = newest
        self.history = tuple(history)


@dataclass(frozen=True, slots=True)
class Said:
    """What a reviewer says of one picture; fields as in ``Review``.

    ``independent`` marks a review whose author was shown nobody else's: it then counts beside
    theirs. ``key`` is made by the sender: a line that is sent twice is stored once.
    """

    picture_id: str
    action: Action
    seen: int = 0
    old_label: str | None = None
    new_label: str | None = None
    model: str | None = None
    score: float | None = None
    reason: str | None = None
    mode: str = ""
    independent: bool = False
    key: str | None = None

    def check(self) -> None:
        """Raises UsageError for what cannot be meant."""
        if self.action not in ACTIONS or self.action == "undo":
            raise UsageError(f"{self.action!r} is no review: accept, correct, reject or skip")
        if self.action == "correct" and not self.new_label:
            raise UsageError("a correction needs the right label (new_label)")
        if self.action == "accept" and self.new_label not in (None, self.old_label):
            raise UsageError("accepting keeps the label: new_label must be left out")
        if self.action in {"reject", "skip"} and self.new_label is not None:
            raise UsageError(f"{self.action} gives no label: new_label must be left out")
        for name in ("key", "reason", "new_label", "mode"):
            value = getattr(self, name)
            if value is not None and len(value) > LONGEST[name]:
                raise UsageError(f"{name} has {len(value)} characters, at most {LONGEST[name]}")

    def values(self) -> dict[str, Any]:
        """Columns of the line. An accepted label is written out as the new one."""
        label = self.old_label if self.action == "accept" else self.new_label
        return {
            "picture_id": self.picture_id,
            "action": self.action,
            "old_label": self.old_label,
            "new_label": label,
            "model": self.model,
            "score": self.score,
            "reason": self.reason,
            "mode": self.mode,
            "key": self.key,
        }


@dataclass(frozen=True, slots=True)
class Bulk:
    """What a bulk review did: its name for undoing, and how many pictures it left alone."""

    batch: str
    written: int
    reviewed_meanwhile: int


def open_book(where: str | Path) -> Book:
    """The book in a SQLite file or a PostgreSQL database, on the newest revision.

    Raises:
        ConfigError, ReviewsUnavailableError: as ``open_database``.
    """
    return Book(open_database(where))


class Book:
    """Reads and writes reviews. Every method is one transaction; threads may share the object.

    All methods raise ReviewsUnavailableError where the database cannot be used.
    """

    def __init__(self, engine: Engine, *, now: Callable[[], float] = time.time) -> None:
        self.engine = engine
        self._now = now

    def close(self) -> None:
        """Free the connections."""
        self.engine.dispose()

    # -- writing --------------------------------------------------------------------------

    def review(self, reviewer: str, said: Said) -> Review:
        """Add one line.

        Raises:
            UsageError: the review makes no sense.
            StaleReviewError: the picture has lines that the reviewer has not seen.
        """
        said.check()
        who = _reviewer(reviewer)

        def write(connection: Connection) -> Review:
            if said.key is not None and (line := _by_key(connection, said.key)) is not None:
                return line
            history = _history(connection, said.picture_id)
            newest = history[-1].version if history else 0
            unseen = [line for line in history if line.version > said.seen]
            others = said.independent and all(line.reviewer != who for line in unseen)
            if said.seen > newest or (unseen and not others):
                raise StaleReviewError(said.picture_id, said.seen, history)
            seen = 0 if said.independent else newest
            row = said.values() | {"version": newest + 1, "seen": seen, "reviewer": who}
            [line] = self._add(connection, [row])
            connection.execute(
                delete(LEASES).where(
                    LEASES.c.picture_id == said.picture_id, LEASES.c.reviewer == who
                )
            )
            return line

        return self._won(write)

    def bulk(self, reviewer: str, many: Sequence[Said], *, as_of: int) -> Bulk:
        """Add one line a picture, as one act that one undo takes back.

        Args:
            reviewer: who says it.
            many: one for each picture; their ``seen`` is not looked at.
            as_of: number of the newest line when the pictures were chosen (``newest``): those that
                somebody else has reviewed since are left alone and counted.
        """
        for said in many:
            said.check()
        who, batch = _reviewer(reviewer), str(uuid.uuid4())

        def write(connection: Connection) -> Bulk:
            ids = [said.picture_id for said in many]
            newest, touched = _newest(connection, ids, who, as_of)
            rows = []
            for said in many:
                version = newest.get(said.picture_id, 0)
                if said.picture_id in touched:
                    continue
                newest[said.picture_id] = version + 1  # named twice: the second follows the first
                rows.append(
                    said.values()
                    | {"version": version + 1, "seen": version, "reviewer": who, "batch": batch}
                )
            self._add(connection, rows)
            return Bulk(batch, len(rows), len(set(ids) & touched))

        return self._won(write)

    def undo(self, reviewer: str, batch: str | None = None) -> list[Review]:
        """Take back the reviewer's last act, a whole bulk at once; returns the lines taken back.

        It can be repeated until nothing is left, and nothing is then returned. ``batch`` takes that
        bulk back, whatever came after it.
        """
        who = _reviewer(reviewer)

        def write(connection: Connection) -> list[Review]:
            lines = _last_act(connection, who, batch)
            ids = [line.picture_id for line in lines]
            newest, _ = _newest(connection, ids, who, 0)
            rows = []
            for line in lines:
                version = newest[line.picture_id]
                newest[line.picture_id] = version + 1
                rows.append(
                    {
                        "picture_id": line.picture_id,
                        "action": "undo",
                        "undoes": line.id,
                        "version": version + 1,
                        "seen": version,
                        "reviewer": who,
                        "mode": line.mode,
                    }
                )
            self._add(connection, rows)
            return lines

        return self._won(write)

    def _add(self, connection: Connection, rows: Sequence[Mapping[str, Any]]) -> list[Review]:
        if not rows:
            return []
        at = int(self._now() * 1e6)
        names = [column.name for column in REVIEWS.c if column.name != "id"]
        full = [{**dict.fromkeys(names), "at_us": at, "mode": "", **row} for row in rows]
        if len(full) > 1:
            connection.execute(insert(REVIEWS), full)
            return []
        added = connection.execute(insert(REVIEWS).returning(*_COLUMNS), full[0])
        return [_line(row) for row in added.mappings()]

    def _won(self, write: Callable[[Connection], T]) -> T:
        """``write`` until it does not lose the race for a version (PostgreSQL)."""
        for left in reversed(range(TRIES)):
            try:
                with writing(self.engine) as connection:
                    return write(connection)
            except IntegrityError:
                if not left:
                    raise
        raise AssertionError("unreachable")

    # -- leases ---------------------------------------------------------------------------

    def lease(
        self,
        reviewer: str,
        wanted: Iterable[str],
        n: int,
        *,
        reviews: int = 1,
        seconds: float = LEASE_S,
    ) -> list[str]:
        """The next ``n`` pictures of ``wanted`` for this reviewer, kept from others for a while.

        A picture is passed over when the reviewer has judged or skipped it, or when ``reviews``
        others have judged it or look at it now.
        """
        who = _reviewer(reviewer)
        now = int(self._now() * 1e6)

        def write(connection: Connection) -> list[str]:
            if connection.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LEASE_LOCK})
            connection.execute(delete(LEASES).where(LEASES.c.until_us < now))
            mine, others = _occupied(connection, who)
            free = (p for p in wanted if p not in mine and len(others.get(p, ())) < reviews)
            chosen = [picture for picture, _ in zip(free, range(n), strict=False)]
            connection.execute(delete(LEASES).where(LEASES.c.reviewer == who))
            until = now + int(seconds * 1e6)
            if chosen:
                rows = [{"picture_id": p, "reviewer": who, "until_us": until} for p in chosen]
                connection.execute(insert(LEASES), rows)
            return chosen

        return self._won(write)

    # -- reading --------------------------------------------------------------------------

    def newest(self) -> int:
        """Number of the newest line; 0 of an empty book."""
        with reading(self.engine) as connection:
            return int(connection.execute(select(func.max(REVIEWS.c.id))).scalar() or 0)

    def state(self) -> tuple[int, int]:
        """Number of the newest line, and how many there are: forgetting leaves the first alone."""
        with reading(self.engine) as connection:
            query = select(func.coalesce(func.max(REVIEWS.c.id), 0), func.count())
            newest, lines = connection.execute(query.select_from(REVIEWS)).one()
            return int(newest), int(lines)

    def history(self, picture_id: str) -> list[Review]:
        """Every line of a picture, oldest first."""
        with reading(self.engine) as connection:
            return _history(connection, picture_id)

    def histories(self, picture_ids: Sequence[str]) -> dict[str, list[Review]]:
        """Lines of several pictures; those without any are not there."""
        found: list[Review] = []
        with reading(self.engine) as connection:
            for ids in _chunks(picture_ids):
                query = select(*_COLUMNS).where(REVIEWS.c.picture_id.in_(ids))
                found += map(_line, connection.execute(query).mappings())
        return dict(by_picture(found))

    def lines(self, *, after: int = 0, reviewer: str | None = None, most: int = 0) -> list[Review]:
        """Lines above the number ``after``, oldest first; ``most`` of them, 0 for all."""
        query = select(*_COLUMNS).where(REVIEWS.c.id > after).order_by(REVIEWS.c.id)
        if reviewer is not None:
            query = query.where(REVIEWS.c.reviewer == reviewer)
        if most:
            query = query.limit(most)
        with reading(self.engine) as connection:
            return [_line(row) for row in connection.execute(query).mappings()]


def _reviewer(name: str) -> str:
    cleaned = " ".join(name.split())
    if not cleaned or len(cleaned) > LONGEST["reviewer"] or not cleaned.isprintable():
        raise UsageError(
            f"{name[:40]!r} names no reviewer, expected 1 to {LONGEST['reviewer']} characters"
        )
    return cleaned


def _line(row: RowMapping) -> Review:
    return Review(**row)


def _chunks(names: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(names), AT_ONCE):
        yield names[start : start + AT_ONCE]


def _history(connection: Connection, picture_id: str) -> list[Review]:
    query = select(*_COLUMNS).where(REVIEWS.c.picture_id == picture_id).order_by(REVIEWS.c.version)
    return [_line(row) for row in connection.execute(query).mappings()]


def _by_key(connection: Connection, key: str) -> Review | None:
    row = connection.execute(select(*_COLUMNS).where(REVIEWS.c.key == key)).mappings().first()
    return None if row is None else _line(row)


def _newest(
    connection: Connection, picture_ids: Sequence[str], reviewer: str, as_of: int
) -> tuple[dict[str, int], set[str]]:
    """Newest version of each picture that has lines; those that others touched since ``as_of``."""
    versions: dict[str, int] = {}
    touched: set[str] = set()
    for ids in _chunks(picture_ids):
        inside = REVIEWS.c.picture_id.in_(ids)
        query = select(REVIEWS.c.picture_id, func.max(REVIEWS.c.version)).where(inside)
        versions |= {p: int(v) for p, v in connection.execute(query.group_by(REVIEWS.c.picture_id))}
        since = select(REVIEWS.c.picture_id).where(
            inside, REVIEWS.c.id > as_of, REVIEWS.c.reviewer != reviewer
        )
        touched |= set(connection.execute(since).scalars())
    return versions, touched


def _last_act(connection: Connection, reviewer: str, batch: str | None) -> list[Review]:
    """Live lines of the reviewer's last act, or of a named bulk."""
    undo = REVIEWS.alias("undo")
    taken_back = select(undo.c.id).where(undo.c.undoes == REVIEWS.c.id).exists()
    theirs = (
        select(*_COLUMNS)
        .where(REVIEWS.c.reviewer == reviewer, REVIEWS.c.action != "undo", ~taken_back)
        .order_by(REVIEWS.c.id.desc())
    )
    if batch is None:
        row = connection.execute(theirs.limit(1)).mappings().first()
        if row is None:
            return []
        if row["batch"] is None:
            return [_line(row)]
        batch = row["batch"]
    found = connection.execute(theirs.where(REVIEWS.c.batch == batch)).mappings()
    return [_line(row) for row in found]


def _occupied(connection: Connection, reviewer: str) -> tuple[set[str], dict[str, set[str]]]:
    """Pictures that the reviewer has dealt with; who else has judged, or looks at, each one."""
    mine: set[str] = set()
    others: dict[str, set[str]] = {}
    query = select(*_COLUMNS).order_by(REVIEWS.c.picture_id, REVIEWS.c.version)
    for picture_id, history in by_picture(map(_line, connection.execute(query).mappings())):
        for line in live(history):
            if line.reviewer == reviewer:
                mine.add(picture_id)
            elif line.action in OPINIONS:
                others.setdefault(picture_id, set()).add(line.reviewer)
    leased = select(LEASES.c.picture_id, LEASES.c.reviewer).where(LEASES.c.reviewer != reviewer)
    for picture_id, name in connection.execute(leased):
        others.setdefault(picture_id, set()).add(name)
    return mine, others
