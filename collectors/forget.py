"""``forget``: delete one person's rows and pictures everywhere, and never collect them again."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from dataclasses import dataclass

import pyarrow.compute as pc

from collectors.crawling.erase import Doomed, erase, pictures_of
from collectors.crawling.journal import Journal
from collectors.crawling.journal.handover import fold_all
from collectors.crawling.publish import refresh_digests
from collectors.crawling.reviews import erase_reviews
from collectors.crawling.traces import blot_out, delete_derived, leave_out, still_named
from collectors.imports.places import is_imported
from likewise.errors import PartialError, UsageError
from likewise.study import Study
from likewise.tables import AUTHOR_KEY
from likewise.working import changes_study

__all__ = ["Person", "find", "forget"]


@dataclass(frozen=True, slots=True)
class Person:
    """An author on one host, and the handles that the study knows."""

    platform: str
    host: str
    author_id: str
    handles: frozenset[str] = frozenset()


def find(study: Study, journal: Journal, author: str, host: str | None = None) -> list[Person]:
    """The author of that id or handle (``ada``, ``@ada``, ``ada@example.social``).

    A person whom several servers of the study know is found on all of them.

    Raises:
        UsageError: nobody in the study goes by that name, or several do.
    """
    name = author.strip().removeprefix("@")
    user, _, server = name.rpartition("@")
    found: dict[tuple[str, str, str], set[str]] = {}
    for platform, its_host, author_id, handle in [*_in_journal(journal), *_in_tables(study)]:
        known = str(handle or "").casefold()
        at_home = user.casefold() == known and server.casefold() == its_host
        if name == author_id or (known and (name.casefold() == known or at_home)):
            found.setdefault((platform, its_host, author_id), set())
    wanted = {key for key in found if host is None or key[1] == host}
    if not wanted:
        raise UsageError(
            f"there is no author {author!r} in this study", hint="give the handle or the id"
        )
    everywhere = journal.authors.identities(*min(wanted))
    if not wanted.issubset(everywhere):
        several = ", ".join(f"{key[2]} on {key[1]}" for key in sorted(wanted))
        raise UsageError(
            f"{author!r} is the name of several people: {several}",
            hint="give the id of the one, with --host where servers differ",
        )
    rows = [*_in_journal(journal), *_in_tables(study)]
    return [
        Person(*key, frozenset(str(h) for *of, h in rows if tuple(of) == key and h))
        for key in everywhere
    ]


Row = tuple[str, str, str, str | None]
"""Platform, host, author's id and handle."""


def _in_journal(journal: Journal) -> list[Row]:
    return journal.db.execute(
        "SELECT DISTINCT platform, host, author_id, "
        "CASE WHEN record != '' THEN json_extract(record, '$.handle') END FROM authors "
        "UNION SELECT DISTINCT platform, host, author_id, NULL FROM posts WHERE author_id != '' "
        "UNION SELECT platform, host, author_id, value FROM accounts"
    ).fetchall()


def _in_tables(study: Study) -> list[Row]:
    """Authors of tables that came from elsewhere, or whose journal is gone."""
    rows: list[Row] = []
    for table in ("authors", "posts"):
        if study.manifest(table) is None:
            continue
        columns = [*AUTHOR_KEY] + ["handle"] * (table == "authors")
        distinct = study.read(table, columns).group_by(columns).aggregate([])
        rows += [
            (row["platform"], row["host"], row["author_id"], row.get("handle"))
            for row in distinct.to_pylist()
        ]
    return rows


@changes_study("forget")
def forget(
    study: Study | str | os.PathLike[str], author: str, *, host: str | None = None
) -> dict[str, int]:
    """Delete an author from the journal, from every table and its earlier versions, and from files.

    The author's id is kept as a digest only, so that a later crawl leaves the person out; the
    accounts of ``likewise.toml`` lose the name. What is made again on demand (galleries, report,
    raw pages, unfinished work) is deleted whole; logs lose the names. Returns the rows deleted.

    Raises:
        UsageError: nobody goes by that name, or several do.
        StorageError: a database of reviews cannot be reached: nothing was deleted.
        PartialError: everything was erased, but other files in the study still name the person.
    """
    opened = Study.open(study)
    with Journal(opened.journal_path) as journal:
        fold_all(journal)
        people = find(opened, journal, author, host)
        doomed = [Doomed(p.platform, p.host, author_ids=[p.author_id]) for p in people]
        pictures = pictures_of(opened, *doomed)
        # First, since another server may be away: then nothing is half done.
        erased = Counter({"lines of reviews": erase_reviews(opened, pictures)})
        names = {author.strip().removeprefix("@"), *(p.author_id for p in people)}
        for person in people:
            names |= {*person.handles, *(f"{handle}@{person.host}" for handle in person.handles)}
            if is_imported(person.host):
                # An archive that was unpacked for its import; what the user keeps is not touched.
                shutil.rmtree(opened.root / "imports" / person.host, ignore_errors=True)
        marks = names | pictures
        marks |= {post for person in people for post in _posts_of(opened, journal, person)}
        # The journal comes last: until then a run that was killed finds the person again.
        delete_derived(opened)
        blot_out(opened, marks)
        leave_out(opened, names)
        for one in doomed:
            erased.update(erase(opened, one))
        settled = journal.settled
        with journal.transaction():
            for person in people:
                where = (person.platform, person.host, person.author_id)
                erased["journal"] += journal.forgotten.forget(*where, names)
        scrubbed = journal.scrub()
        if settled:  # else the next publication has more to write than the person's absence
            refresh_digests(opened, journal)
    left = [
        (path, "look through it: delete it, or the name") for path in still_named(opened, marks)
    ]
    if not scrubbed:
        left.append((journal.path.name, "another process reads it: its log goes when that ends"))
    if left:
        raise PartialError(
            "the person is erased from all tables, but these files still name them",
            left,
            hint="files that likewise does not make are not changed by it",
        )
    return {name: count for name, count in erased.items() if count}


def _posts_of(study: Study, journal: Journal, person: Person) -> set[str]:
    where = (person.platform, person.host, person.author_id)
    known = journal.db.execute(
        "SELECT post_id FROM posts WHERE platform = ? AND host = ? AND author_id = ?", where
    )
    found = {str(row[0]) for row in known}
    if study.manifest("posts") is not None:
        fields = zip(AUTHOR_KEY, where, strict=True)
        conditions = [pc.field(name) == value for name, value in fields]
        theirs = conditions[0] & conditions[1] & conditions[2]
        found |= set(study.read("posts", ["post_id"], filter=theirs)["post_id"].to_pylist())
    return found
