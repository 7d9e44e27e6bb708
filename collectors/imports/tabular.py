"""From a table's text columns to rows of ``posts`` and ``authors``, in DuckDB and under its limits.

One pass reads and judges every cell; rows that are not understood are named by file and line, and
numbers that can be read in two ways stop the import with the question. Memory does not depend on
the number of rows: DuckDB spills to the scratch folder.
"""

from __future__ import annotations

import datetime as dt
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from collectors.imports import meanings, sqltext
from collectors.imports.base import Options, Refusals
from collectors.imports.paths import Pictures
from collectors.imports.places import SCHEME
from collectors.imports.tables import ROW, Rows
from likewise.errors import DataError
from likewise.tables import AUTHORS, POSTS

if TYPE_CHECKING:
    import duckdb

    from likewise.config import CollectSection

__all__ = ["Place", "Table", "loaded", "prepare"]

SAMPLE = 200
"""Rows from which the meaning of a column ``url`` is guessed."""

MEMORY = "256MB"
THREADS = 4
"""Of DuckDB, at most: each holds buffers of its own."""

TEXTS = ("id", "author", "handle", "link", "text", "label", "picture")

FACTS = ("author", "handle", "link", "date", "collected_at", "label", *meanings.COUNTS)
"""What rows of one post must agree on; text and tags are those of the first."""

PEOPLE = ("followers", "following", "posts_count")
"""Counts of an author."""

SEVERAL = "(" + " OR ".join(f"several_{count}" for count in PEOPLE) + ")"

PERSON = "coalesce(ltrim(author, '@'), 'post:' || id)"
"""Without an author each post counts as one of its own."""

_PART = "[A-Za-z0-9_-]([A-Za-z0-9_. -]*[A-Za-z0-9_.-])?"
PLAIN = f"'https?://[A-Za-z0-9.-]+(:[0-9]+)?(/[!-~]*)?|{_PART}(/{_PART})*'"
"""Addresses and relative paths that need no look; others are taken to Python one by one."""

QUESTIONS = {
    sqltext.AMBIGUOUS: (
        "it can be read in two ways",
        "say what parts thousands: --thousands , (1,234 is 1234) or --thousands . (1.234 is 1234)",
    ),
    sqltext.ROUNDED: (
        "no exact count",
        "say that counts are rounded or averaged: --rounded reads 1.2k as 1200 and 12.6 as 13",
    ),
}
"""What a cell is that means two things, and what to say about it."""

BATCH = 20_000


@dataclass(frozen=True, slots=True)
class Table:
    """A table that was understood: its columns' meanings, its counts, and its rows as a stream."""

    meanings: Mapping[str, str]
    has: set[str]
    unused: Sequence[str]
    posts: Callable[[], Iterator[pa.Table]]
    authors: Callable[[], Iterator[pa.Table]]
    dropped: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Place:
    """Where the rows belong, and what holds for all of them; ``read_at`` is in microseconds."""

    platform: str
    host: str
    file: str
    read_at: int
    pictures: Pictures
    section: CollectSection
    gone: Callable[[set[str]], frozenset[str]] | None
    """Those of some authors whom the study has to forget; None when there is nobody."""


def prepare(db: duckdb.DuckDBPyConnection, options: Options, scratch: Path) -> None:
    """Limits of the connection, and the zone of times without one. Raises DataError."""
    import duckdb

    db.execute(f"SET memory_limit = '{MEMORY}'")
    db.execute(f"SET threads = {min(THREADS, os.cpu_count() or 1)}")
    # DuckDB would compute what several branches of a CASE share for every row, also for the many
    # that take none of them; _parse repeats nothing by itself.
    db.execute("SET disabled_optimizers = 'common_subexpressions'")
    db.execute(f"SET temp_directory = {sqltext.literal(str(scratch / 'spill'))}")
    try:
        db.execute(f"SET TimeZone = {sqltext.literal(options.zone)}")
    except duckdb.Error as error:
        raise DataError(
            f"--zone {options.zone}: there is no such zone",
            hint="names are those of the IANA time zone database, e.g. Europe/Zurich",
        ) from error


def loaded(
    db: duckdb.DuckDBPyConnection, rows: Rows, place: Place, options: Options, refusals: Refusals
) -> Table:
    """Read and judge the table.

    Raises:
        DataError: counts or dates can be read in two ways, no column is understood, or none of
            the first pictures is there.
        UsageError: an option names a column or meaning that there is not.
    """
    import duckdb

    try:
        sample = _table(db, f"SELECT * FROM {rows.source} LIMIT {SAMPLE}")
    except duckdb.InvalidInputException as error:
        raise DataError(
            f"{place.file} cannot be read as a table: {str(error).splitlines()[0]}",
            hint="another sign between columns? say it: --delimiter",
        ) from error
    known = {c: [v for v in sample[c].to_pylist() if v] for c in rows.columns}
    found = meanings.guess(rows.columns, options.columns, known)
    has = set(found) | set(options.constants)
    if not has - {"text", "tags", "id", "label", "date"}:
        raise DataError(
            f"{place.file}: no column is understood; there are {', '.join(rows.columns)}",
            hint="say what they mean: --map likes=COLUMN --map picture=COLUMN ...",
        )
    _read(db, rows, found, options)
    unread = rows.unread(db)
    for line, message in unread:
        refusals.add(f"{place.file}:{line}", "line not understood", message)
    _ask(db, rows, place, found, options)
    _take_out(db, rows, place, refusals, "problem IS NOT NULL", "replace(problem, '|', ' ')", found)
    _labels(db, refusals)
    _place_pictures(db, rows, place, refusals)
    _join_copies(db, rows, place, refusals)
    place = _dated(db, place)
    dropped = _mannered(db, place, with_picture="picture" in has)
    _note_times(db, refusals, options, has, place)
    accounts = not has & {"likes", "picture", "id", "date", "views"}
    unused = [c for c in rows.columns if c not in found.values()]
    return Table(
        found,
        has,
        unused,
        lambda: iter(()) if accounts else _posts(db, place),
        lambda: _authors(db, place, refusals),
        {} if accounts else dropped,
    )


def _dated(db: duckdb.DuckDBPyConnection, place: Place) -> Place:
    """A file that is older than a post in it was given a wrong time: then it is read now."""
    late = _one(db, f"SELECT count(*) FROM parsed WHERE date > make_timestamptz({place.read_at})")
    return replace(place, read_at=time.time_ns() // 1000) if late else place


def _table(db: duckdb.DuckDBPyConnection, query: str) -> pa.Table:
    return db.sql(query).to_arrow_table()


def _one(db: duckdb.DuckDBPyConnection, query: str) -> int:
    # All rows are fetched: a result that is left open bars the connection.
    return int(db.execute(query).fetchall()[0][0])


# -- reading cells ------------------------------------------------------------------------------


def _read(
    db: duckdb.DuckDBPyConnection, rows: Rows, found: Mapping[str, str], options: Options
) -> None:
    """Make ``parsed``: one typed column a meaning, and ``problem``: what is wrong with the row."""
    cells = {meaning: sqltext.name(column) for meaning, column in found.items()}
    cells |= {m: f"{sqltext.literal(v)}::VARCHAR" for m, v in options.constants.items()}
    db.execute(f"CREATE TEMP TABLE parsed AS {_parse(rows, cells, options)}")


def _parse(rows: Rows, cells: Mapping[str, str], options: Options) -> str:
    """The query of ``parsed``, in three steps, so that nothing is computed twice.

    Nearly all cells are plain: digits, ISO dates, text without control characters. The first step
    reads them by casts and one look; only where a cast says no does the second one try patterns,
    which would cost three times as much for all of them. The third names what neither could read.
    """
    texts = [meaning for meaning in TEXTS if meaning in cells and meaning != "picture"]
    counts = [meaning for meaning in meanings.COUNTS if meaning in cells]
    times = [meaning for meaning in meanings.TIMES if meaning in cells]
    first = [ROW, *(f"{cell} AS cell_{meaning}" for meaning, cell in cells.items())]
    first += [f"try_cast({cells[m]} AS BIGINT) AS number_{m}" for m in counts]
    first += [f"{sqltext.moment(cells[m], options.date_format)} AS moment_{m}" for m in times]
    first.append(f"{sqltext.plain_texts([cells[m] for m in texts])} AS plain")
    first.append(f"regexp_full_match({cells.get('picture', 'NULL')}, {PLAIN}) AS plain_picture")

    second = [ROW, f"{_tags(cells)} AS tags", *_flags(cells), "plain_picture"]
    for m in meanings.COUNTS:
        read = "NULL::BIGINT"
        if m in cells:
            read = sqltext.count(
                f"cell_{m}", f"number_{m}", options.thousands, rounded=options.rounded
            )
        second.append(f"{read} AS {m}")
    for m in meanings.TIMES:
        read = "NULL::TIMESTAMPTZ"
        if m in cells:
            read = f"moment_{m}"
            if not options.date_format:
                read = sqltext.coalesce([read, sqltext.epoch(f"cell_{m}")])
        second.append(f"{read} AS {m}")
    for m in TEXTS:
        plain = "plain_picture" if m == "picture" else "plain"
        read = f"CASE WHEN {plain} THEN cell_{m} ELSE {sqltext.text(f'cell_{m}')} END"
        second.append(f"{read if m in cells else 'NULL::VARCHAR'} AS {m}")
    second += [f"cell_{m}" for m in (*counts, *times)]

    known = [ROW, *meanings.COUNTS, *meanings.TIMES, *TEXTS, "tags", "sensitive", "naive"]
    problems = [
        f"CASE WHEN {m} IS NULL AND cell_{m} IS NOT NULL THEN {sqltext.literal(m + '|')} || "
        f"{sqltext.count_problem(f'cell_{m}', options.thousands, rounded=options.rounded)} END"
        for m in counts
    ] + [
        f"CASE WHEN {m} IS NULL AND nullif(trim(cell_{m}), '') IS NOT NULL "
        f"THEN '{m}|{sqltext.NOT_A_TIME}' END"
        for m in times
    ]
    return (
        f"SELECT {', '.join(known)}, {sqltext.coalesce(problems)} AS problem, "
        f"plain_picture OR regexp_full_match(picture, {PLAIN}) AS placed "
        f"FROM (SELECT {', '.join(second)} FROM (SELECT {', '.join(first)} FROM {rows.source}))"
    )


def _flags(cells: Mapping[str, str]) -> list[str]:
    """``sensitive``, and ``naive``: that the date names no zone."""
    sensitive, naive = "NULL", "false"
    if "sensitive" in cells:
        sensitive = "regexp_full_match(trim(cell_sensitive), '(?i)1|true|t|yes|y')"
    if "date" in cells:
        zoned = "'([zZ]|[+-][0-9]{2}:?([0-9]{2})?|UTC|GMT)\\s*$|^[0-9.]{9,}$'"
        # Most dates with a zone end in Z: the pattern is for the others.
        naive = f"right(cell_date, 1) != 'Z' AND NOT regexp_matches(cell_date, {zoned})"
    return [f"({sensitive})::BOOLEAN AS sensitive", f"({naive}) AS naive"]


def _tags(cells: Mapping[str, str]) -> str:
    if "tags" in cells:
        return f"CASE WHEN cell_tags IS NULL THEN [] ELSE {sqltext.words('cell_tags')} END"
    if "text" in cells:
        found = "regexp_extract_all(lower(cell_text), '#([\\p{L}\\p{N}_]+)', 1)"
        return f"CASE WHEN contains(cell_text, '#') THEN list_distinct({found}) ELSE [] END"
    return "[]::VARCHAR[]"


# -- what is not understood ---------------------------------------------------------------------


def _ask(
    db: duckdb.DuckDBPyConnection,
    rows: Rows,
    place: Place,
    found: Mapping[str, str],
    options: Options,
) -> None:
    """Stop where a number means two things, with the cell and what to say about it."""
    problems = db.execute(
        f"SELECT problem, count(*), min({ROW}) FROM parsed WHERE problem IS NOT NULL GROUP BY 1"
    ).fetchall()
    for problem, times, first in sorted(problems):
        meaning, _, reason = problem.partition("|")
        if reason not in QUESTIONS:
            continue
        words, hint = QUESTIONS[reason]
        line = rows.lines([first]).get(first, first)
        cells = _cells(db, rows, [first], found)
        cell = cells.get((first, meaning), options.constants.get(meaning))
        raise DataError(
            f"{place.file}:{line}: {meaning} is {cell!r}: {words} "
            f"({times:,} such {'cell' if times == 1 else 'cells'})",
            hint=hint,
        )


def _cells(
    db: duckdb.DuckDBPyConnection, rows: Rows, numbers: Sequence[int], found: Mapping[str, str]
) -> dict[tuple[int, str], str]:
    """(row, meaning) -> the text of its cell, for messages: the source is read once more."""
    wanted = ", ".join(map(str, numbers))
    columns = ", ".join(sqltext.name(column) for column in found.values())
    query = f"SELECT {ROW}, {columns} FROM {rows.source} WHERE {ROW} IN ({wanted})"
    return {
        (row, meaning): str(cell)
        for row, *cells in db.execute(query).fetchall()
        for meaning, cell in zip(found, cells, strict=True)
    }


def _take_out(
    db: duckdb.DuckDBPyConnection,
    rows: Rows,
    place: Place,
    refusals: Refusals,
    condition: str,
    reason: str,
    shown: Mapping[str, str] | None = None,
) -> None:
    """Refuse the rows of a condition; with ``shown``, meaning -> column, each with its cell."""
    counts = db.execute(
        f"SELECT {reason}, count(*) FROM parsed WHERE {condition} GROUP BY 1"
    ).fetchall()
    if not counts:
        return
    listed = db.execute(
        f"SELECT {ROW}, {reason} FROM parsed WHERE {condition} ORDER BY {ROW} LIMIT {Refusals.MOST}"
    ).fetchall()
    numbers = [row for row, _ in listed]
    lines = rows.lines(numbers)
    cells = _cells(db, rows, numbers, shown) if shown else {}
    for row, text in listed:
        cell = cells.get((row, text.partition(" ")[0]))
        refusals.add(
            f"{place.file}:{lines.get(row, row)}", text, "" if cell is None else repr(cell)
        )
    for text, times in counts:
        named = sum(one == text for _, one in listed)
        refusals.count(text, times - named)
    db.execute(f"DELETE FROM parsed WHERE {condition}")


def _labels(db: duckdb.DuckDBPyConnection, refusals: Refusals) -> None:
    """Take labels that are written gaps for none, and say so: they may be somebody's class."""
    # pandas writes 1 as 1.0 beside a gap; the same column in Parquet would say 1.
    db.execute(
        "UPDATE parsed SET label = split_part(label, '.', 1) "
        "WHERE regexp_full_match(label, '-?[0-9]+[.]0')"
    )
    gap = sqltext.no_label("label")
    found = db.execute(
        f"SELECT label, count(*) FROM parsed WHERE {gap} GROUP BY 1 ORDER BY 2 DESC, 1"
    ).fetchall()
    if found:
        n, words = sum(times for _, times in found), ", ".join(word for word, _ in found)
        refusals.notes.append(
            f"{n:,} label{' is' if n == 1 else 's are'} read as none: {words}; if that is a class, "
            "write it otherwise"
        )
        db.execute(f"UPDATE parsed SET label = NULL WHERE {gap}")


def _place_pictures(
    db: duckdb.DuckDBPyConnection, rows: Rows, place: Place, refusals: Refusals
) -> None:
    """Turn paths into addresses inside the pictures' folder; refuse those that lead outside."""
    strange = db.execute("SELECT DISTINCT picture FROM parsed WHERE NOT placed").fetchall()
    if strange:
        judged = [(text, *place.pictures.placed(text)) for (text,) in strange]
        table = pa.table(
            {
                "picture": pa.array([row[0] for row in judged], pa.string()),
                "placed": pa.array([row[1] for row in judged], pa.string()),
                "reason": pa.array([row[2] for row in judged], pa.string()),
            }
        )
        db.register("strange_pictures", table)
        db.execute("CREATE TEMP TABLE strange AS SELECT * FROM strange_pictures")
        inside = "picture IN (SELECT picture FROM strange WHERE reason IS NOT NULL)"
        why = (
            "'picture ' || (SELECT any_value(s.reason) FROM strange s "
            "WHERE s.picture = parsed.picture)"
        )
        _take_out(db, rows, place, refusals, inside, why)
        db.execute(
            "UPDATE parsed SET picture = strange.placed FROM strange "
            "WHERE parsed.picture = strange.picture"
        )
    first = [
        row[0]
        for row in db.execute(
            "SELECT picture FROM parsed WHERE picture IS NOT NULL LIMIT 200"
        ).fetchall()
    ]
    place.pictures.check(first)


def _join_copies(
    db: duckdb.DuckDBPyConnection, rows: Rows, place: Place, refusals: Refusals
) -> None:
    """Give rows without id one; rows of one id are one post with several pictures.

    A row that says something else of the post than the first to say it is refused by what differs,
    and one that brings no other picture as given before. ``more`` holds the later rows' pictures.
    """
    if _one(db, "SELECT count(*) FROM parsed WHERE id IS NULL"):
        named = f"coalesce(picture, link, 'row ' || {ROW})"
        db.execute(f"UPDATE parsed SET id = {named} WHERE id IS NULL")
    db.execute("ALTER TABLE parsed ADD COLUMN more VARCHAR[]")
    db.execute("CREATE TEMP TABLE twice AS SELECT id FROM parsed GROUP BY id HAVING count(*) > 1")
    if not _one(db, "SELECT count(*) FROM twice"):
        return
    first = ", ".join(f"arg_min({f}, {ROW}) FILTER ({f} IS NOT NULL) AS {f}" for f in FACTS)
    db.execute(
        f"CREATE TEMP TABLE said AS SELECT id, min({ROW}) AS first, {first}, "
        "bool_or(sensitive) AS sensitive FROM parsed SEMI JOIN twice USING (id) GROUP BY id"
    )
    other = ", ".join(f"CASE WHEN p.{f} != s.{f} THEN '{f}' END" for f in FACTS)
    db.execute(
        f"CREATE TEMP TABLE other AS SELECT p.{ROW}, concat_ws(', ', {other}) AS facts "
        "FROM parsed p JOIN said s USING (id)"
    )
    differs = f"{ROW} IN (SELECT {ROW} FROM other WHERE facts != '')"
    which = f"(SELECT o.facts FROM other o WHERE o.{ROW} = parsed.{ROW})"
    why = f"'id given before with another ' || {which}"
    _take_out(db, rows, place, refusals, differs, why)
    db.execute(
        f"CREATE TEMP TABLE again AS SELECT {ROW} FROM (SELECT {ROW}, row_number() OVER "
        f"(PARTITION BY id, picture ORDER BY {ROW}) AS turn, picture, first FROM parsed "
        f"JOIN said USING (id)) WHERE turn > 1 OR (picture IS NULL AND {ROW} > first)"
    )
    again = f"{ROW} IN (SELECT {ROW} FROM again)"
    _take_out(db, rows, place, refusals, again, "'id given before'")
    given = ", ".join(f"{f} = s.{f}" for f in (*FACTS, "sensitive"))
    db.execute(
        f"UPDATE parsed SET {given}, picture = m.pictures[1], more = m.pictures[2:] FROM said s "
        f"JOIN (SELECT id, list(picture ORDER BY {ROW}) FILTER (picture IS NOT NULL) AS pictures "
        "FROM parsed SEMI JOIN twice USING (id) GROUP BY id) m USING (id) WHERE parsed.id = s.id"
    )
    db.execute(
        f"DELETE FROM parsed WHERE id IN (SELECT id FROM twice) AND {ROW} NOT IN "
        f"(SELECT min({ROW}) FROM parsed GROUP BY id)"
    )


# -- rows that go on ----------------------------------------------------------------------------


def _mannered(db: duckdb.DuckDBPyConnection, place: Place, *, with_picture: bool) -> dict[str, int]:
    """Drop what the rules of manners drop, by the reasons that collected posts have."""
    dropped: dict[str, int] = {}
    gone: frozenset[str] = frozenset()
    if place.gone is not None:
        people = "SELECT DISTINCT ltrim(author, '@') FROM parsed WHERE author IS NOT NULL"
        gone = place.gone({row[0] for row in db.execute(people).fetchall()})
    conditions = []
    if gone:
        db.register("gone_people", pa.table({"author": pa.array(sorted(gone), pa.string())}))
        conditions.append(("forgotten", "ltrim(author, '@') IN (SELECT author FROM gone_people)"))
    if with_picture:
        conditions.append(("no_media", "picture IS NULL"))
    if not place.section.include_sensitive:
        conditions.append(("sensitive", "sensitive"))
    for reason, condition in conditions:
        times = _one(db, f"SELECT count(*) FROM parsed WHERE {condition}")
        if times:
            dropped[reason] = times
            db.execute(f"DELETE FROM parsed WHERE {condition}")
    return dropped


def _note_times(
    db: duckdb.DuckDBPyConnection,
    refusals: Refusals,
    options: Options,
    has: set[str],
    place: Place,
) -> None:
    naive = _one(db, "SELECT count(*) FROM parsed WHERE naive AND date IS NOT NULL")
    if naive and "date" in has:
        refusals.notes.append(
            f"{naive:,} {'date has' if naive == 1 else 'dates have'} no zone: read as "
            f"{options.zone}; another with --zone"
        )
    if "collected_at" not in has:
        refusals.notes.append(
            f"counts are taken as read on {_day(place.read_at)}, when {place.file} was last "
            "changed; another day with --set collected_at=YYYY-MM-DD"
        )


def _day(moment: int) -> str:
    return f"{dt.datetime.fromtimestamp(moment / 1e6, dt.UTC):%Y-%m-%d}"


def _medium(picture: str, index: str) -> str:
    """SQL of an attachment: a picture's address, and its place in the post."""
    return (
        f"{{'index': ({index})::INTEGER, 'kind': 'image', 'url': CASE WHEN "
        f"starts_with({picture}, 'http') OR starts_with({picture}, '{SCHEME}') THEN {picture} "
        f"ELSE '{SCHEME}' || replace({picture}, ' ', '%20') END, 'preview_url': NULL::VARCHAR, "
        "'width': NULL::INTEGER, 'height': NULL::INTEGER, 'alt': NULL::VARCHAR}"
    )


def _posts(db: duckdb.DuckDBPyConnection, place: Place) -> Iterator[pa.Table]:
    read_at = f"coalesce(collected_at, make_timestamptz({place.read_at}))"
    one = "CASE WHEN picture IS NULL THEN [] ELSE [" + _medium("picture", "0") + "] END"
    several = f"list_transform(list_prepend(picture, more), lambda p, i: {_medium('p', 'i - 1')})"
    media = f"CASE WHEN more IS NULL OR len(more) = 0 THEN {one} ELSE {several} END"
    given = {
        "platform": sqltext.literal(place.platform),
        "host": sqltext.literal(place.host),
        "post_id": "id",
        "author_id": PERSON,
        "url": "CASE WHEN regexp_matches(link, '^https?://') THEN link END",
        "created_at": "date",
        "collected_at": read_at,
        "labels": "CASE WHEN label IS NULL THEN [] ELSE ['class:' || label] END",
        "media": media,
        **{n: n for n in ("likes", "comments", "shares", "views", "tags", "text", "sensitive")},
    }
    columns = [f"{given.get(f.name, 'NULL')} AS {sqltext.name(f.name)}" for f in POSTS.schema]
    yield from _stream(db, f"SELECT {', '.join(columns)} FROM parsed", POSTS.schema)


def _authors(db: duckdb.DuckDBPyConnection, place: Place, refusals: Refusals) -> Iterator[pa.Table]:
    """One reading of each author a moment; of several counts at one moment the newest post's."""
    read_at = f"coalesce(collected_at, make_timestamptz({place.read_at}))"
    key = "author_id, fetched_at"
    db.execute(
        f"CREATE OR REPLACE TEMP VIEW people AS SELECT *, {PERSON} AS author_id, "
        f"{read_at} AS fetched_at FROM parsed"
    )
    db.execute(
        f"CREATE OR REPLACE TEMP TABLE readings AS SELECT {key}, "
        f"min(ltrim(coalesce(handle, author), '@')) AS handle, "
        f"{', '.join(f'max({n}) AS {n}, min({n}) != max({n}) AS several_{n}' for n in PEOPLE)} "
        "FROM people GROUP BY ALL"
    )
    if _one(db, f"SELECT count(*) FROM readings WHERE {SEVERAL}"):
        newest = f"(coalesce(date, make_timestamptz(0)), {ROW})"
        taken = ", ".join(f"arg_max({n}, {newest}) FILTER ({n} IS NOT NULL) AS {n}" for n in PEOPLE)
        db.execute(
            f"UPDATE readings SET {', '.join(f'{n} = newest.{n}' for n in PEOPLE)} FROM "
            f"(SELECT {key}, {taken} FROM people SEMI JOIN (FROM readings WHERE {SEVERAL}) "
            f"USING ({key}) GROUP BY ALL) newest WHERE readings.author_id = newest.author_id "
            "AND readings.fetched_at = newest.fetched_at"
        )
    several = _one(db, "SELECT count(*) FROM readings WHERE several_followers")
    if several:
        refusals.notes.append(
            f"{several:,} authors have several follower counts: that of their newest post is "
            "taken; say when each was read with --map collected_at=COLUMN"
        )
    given = {
        "platform": sqltext.literal(place.platform),
        "host": sqltext.literal(place.host),
        "source": "'import'",
        **{n: n for n in ("author_id", "handle", *PEOPLE, "fetched_at")},
    }
    columns = [f"{given.get(f.name, 'NULL')} AS {sqltext.name(f.name)}" for f in AUTHORS.schema]
    # Groups come in any order; the same source has to give the same file.
    ordered = f"SELECT {', '.join(columns)} FROM readings ORDER BY author_id, fetched_at"
    yield from _stream(db, ordered, AUTHORS.schema)


def _stream(db: duckdb.DuckDBPyConnection, query: str, schema: pa.Schema) -> Iterator[pa.Table]:
    reader: pa.RecordBatchReader = db.sql(query).to_arrow_reader(BATCH)
    for batch in reader:
        columns = [c.cast(f.type) for c, f in zip(batch.columns, schema, strict=True)]
        yield pa.Table.from_arrays(columns, schema=schema)
