"""``forget``: delete one person's rows and pictures everywhere, and never collect them again."""

from __future__ import annotations

import os
from dataclasses import dataclass

from collectors.crawling.erase import Doomed, erase
from collectors.crawling.journal import Journal
from collectors.crawling.publish import refresh_digests
from likewise.errors import UsageError
from likewise.study import Study

__all__ = ["Person", "find", "forget"]


@dataclass(frozen=True, slots=True)
class Person:
    """An author on one host."""

    platform: str
    host: str
    author_id: str


def find(journal: Journal, author: str, host: str | None = None) -> Person:
    """The author of that id or handle.

    Raises:
        UsageError: nobody in the study goes by that name, or several do.
    """
    name = author.strip().removeprefix("@")
    rows = journal.db.execute(
        "SELECT DISTINCT platform, host, author_id FROM authors WHERE author_id = ?1 "
        "OR (record != '' AND json_extract(record, '$.handle') = ?1) "
        "UNION SELECT DISTINCT platform, host, author_id FROM posts WHERE author_id = ?1",
        (name,),
    )
    found = [Person(*row) for row in rows if host is None or row[1] == host]
    if not found:
        raise UsageError(
            f"there is no author {author!r} in this study", hint="give the handle or the id"
        )
    if len(found) > 1:
        raise UsageError(
            f"{author!r} is on several servers: {', '.join(p.host for p in found)}",
            hint="say which one with --host",
        )
    return found[0]


def forget(
    study: Study | str | os.PathLike[str], author: str, *, host: str | None = None
) -> dict[str, int]:
    """Delete an author from the journal and from every table; returns the rows deleted.

    The author's id is kept as a digest only, so that a later crawl leaves the person out.

    Raises:
        UsageError: nobody goes by that name, or several do.
    """
    opened = Study.open(study)
    with Journal(opened.journal_path) as journal:
        person = find(journal, author, host)
        erased = erase(opened, Doomed(person.platform, person.host, author_ids=[person.author_id]))
        with journal.transaction():
            erased["journal"] = journal.forgotten.forget(
                person.platform, person.host, person.author_id
            )
        journal.scrub()
        refresh_digests(opened, journal)
    return erased
