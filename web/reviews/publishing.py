"""The book of reviews as the Delta table ``reviews``, which training reads."""

from __future__ import annotations

import datetime as dt
import os
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from collectors.crawling.reviews import REVIEWS_FILE, address_of, addresses
from likewise.errors import MissingTableError, UsageError
from likewise.study import Study, fingerprint
from likewise.tables import REVIEWS
from likewise.working import changes_study
from training.data.reviews import reviews_table
from web.reviews.book import Book, open_book
from web.reviews.opinions import Review, outcomes, tally

__all__ = ["Published", "publish", "reviews"]

CODE = 1


@dataclass(frozen=True, slots=True)
class Published:
    """What was published: pictures by what was said of them, and what waits.

    ``conflicts`` are pictures about which independent reviewers disagree: they are not in the
    table until somebody settles them. ``kept`` are rows of other origin (``clean-labels``).
    """

    accepted: int
    corrected: int
    rejected: int
    conflicts: int
    kept: int
    unchanged: bool

    @property
    def sentence(self) -> str:
        """The counts in words; nothing is left out silently."""
        text = (
            f"reviews: {self.accepted:,} labels accepted, {self.corrected:,} corrected, "
            f"{self.rejected:,} rejected"
        )
        if self.conflicts:
            text += f"; {self.conflicts:,} conflicts wait to be settled and are not published"
        if self.kept:
            text += f"; {self.kept:,} rows of other origin stay"
        return text + ("; nothing has changed since the last time" if self.unchanged else "")


@changes_study("reviews")
def reviews(study: Study | str | os.PathLike[str], *, database: str | None = None) -> Published:
    """Publish what stands in the study's book of reviews as the table ``reviews``.

    Args:
        study: the study or its folder.
        database: PostgreSQL address of the book, without a password; None takes the book beside
            the study, or the one database that ``serve`` has noted there.

    Raises:
        MissingTableError: nobody has reviewed anything yet.
        UsageError: there are several books, and none was named.
        ConfigError: ``database`` is no PostgreSQL address, or holds a password.
        ReviewsUnavailableError, StorageError: as ``publish``.
    """
    opened = Study.open(study)
    with closing(open_book(_place(opened, database))) as book:
        return publish(opened, book)


def _place(study: Study, database: str | None) -> str | Path:
    if database is not None:
        return address_of(database)
    beside = study.root / REVIEWS_FILE
    found: list[str | Path] = [*([beside] if beside.is_file() else []), *addresses(study.root)]
    if not found:
        raise MissingTableError(
            f"nobody has reviewed pictures of {study.root} yet",
            hint=f"run: likewise serve {study.root}, and open the page Review",
        )
    if len(found) > 1:
        raise UsageError(
            f"reviews of {study.root} lie in {', '.join(map(str, found))}",
            hint=f"name one with --database, or move {beside} away",
        )
    return found[0]


def publish(study: Study, book: Book) -> Published:
    """Publish what stands in the book; the caller holds the study's lock.

    Of each picture all standing reviews are rows, and they agree. The next ``likewise label``
    (``[question] kind = "reviewed"``), ``compare``, ``finetune`` and ``classify train --reviews``
    read them.

    Raises:
        ReviewsUnavailableError, StorageError: the book cannot be read, or the table be written.
    """
    found = outcomes(book.lines()).values()
    rows = [row for one in found if one.decided for row in map(_row, one.reviews)]
    there = reviews_table(study)
    others = there.filter(pc.is_null(there["review_id"]))
    # Numbers of lines say it all: a line never changes.
    lines = sorted(row["review_id"] for row in rows)
    made_from = fingerprint({"lines": lines, "others": _named(others)})
    stage = study.begin("reviews", params={"what": "published", "rows": made_from}, code=CODE)
    unchanged = stage.done
    if not unchanged:
        stage.write(pa.concat_tables([others, pa.Table.from_pylist(rows, schema=REVIEWS.schema)]))
        stage.publish(rows=others.num_rows + len(rows))
    accepted, corrected, rejected = tally(found)
    conflicts = sum(one.conflict for one in found)
    return Published(accepted, corrected, rejected, conflicts, others.num_rows, unchanged)


def _row(review: Review) -> dict[str, Any]:
    return {
        "picture_id": review.picture_id,
        "reviewer": review.reviewer,
        "reviewed_at": dt.datetime.fromtimestamp(review.at_us / 1e6, dt.UTC),
        "old_label": review.old_label,
        "new_label": review.new_label,
        "score": review.score,
        "reason": review.reason,
        "model": review.model,
        "version": review.version,
        "seen": review.seen,
        "review_id": review.id,
    }


def _named(others: pa.Table) -> list[str]:
    return sorted(
        f"{row['picture_id']} {row['reviewer']} {row['reviewed_at'].isoformat()}"
        for row in others.select(["picture_id", "reviewer", "reviewed_at"]).to_pylist()
    )
