"""The study's tables in DuckDB, and ``everything``: one row a picture, all that is known joined."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from likewise.errors import MissingTableError, UsageError
from likewise.study import Study

if TYPE_CHECKING:
    import duckdb

TABLES = (
    "posts", "authors", "kept_posts", "fetches", "pictures", "faces", "labels", "scores", "reviews",
)  # fmt: skip

__all__ = ["WHAT", "Filters", "count", "described", "opened", "select"]

WHAT = ("everything", "posts", "authors", "pictures", "labels", "scores", "reviews")

_PICTURES = (
    "SELECT f.*, p.format, p.orientation, p.phash FROM fetches f LEFT JOIN raw_pictures p "
    "ON f.status = 'ok' AND p.picture_id = f.picture_id"
)
"""A row for each picture of each post, with what its bytes are; folders take the bytes."""

_KEYS = {
    "posts": "(platform, host, post_id)",
    "pictures": "(platform, host, post_id)",
    "labels": "(platform, host, post_id)",
    "authors": "(platform, host, author_id)",
    "scores": "picture_id",
    "reviews": "picture_id",
}
"""What of a row says whether the filters hold for it."""


@dataclass(frozen=True, slots=True)
class Filters:
    """Which rows: of a tag, an author (id or handle), made from ``since`` and before ``until``.

    ``where`` is a condition in SQL over the columns of what is exported.
    """

    tag: str | None = None
    author: str | None = None
    since: str | None = None
    until: str | None = None
    where: str | None = None

    def condition(self) -> str:
        """The condition over ``everything``, without ``where``."""
        parts = []
        if self.tag is not None:
            parts.append(f"list_contains(tags, {_text(self.tag.lstrip('#').lower())})")
        if self.author is not None:
            name = _text(self.author.strip().lstrip("@"))
            parts.append(f"(author_id = {name} OR lower(handle) = lower({name}))")
        if self.since is not None:
            parts.append(f"created_at >= {_day(self.since)}")
        if self.until is not None:
            parts.append(f"created_at < {_day(self.until)}")
        return " AND ".join(parts) or "true"


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _name(column: str) -> str:
    return '"' + column.replace('"', '""') + '"'


def _day(text: str) -> str:
    try:
        day = dt.date.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{text!r} is no day, expected YYYY-MM-DD") from None
    return f"TIMESTAMPTZ '{day:%Y-%m-%d} 00:00:00+00'"


def opened(study: Study, db: duckdb.DuckDBPyConnection) -> list[str]:
    """Register the study's tables and make the view ``everything``; returns their names.

    Raises:
        MissingTableError: nothing has been collected or imported.
        StudyError: pictures are of an older layout.
    """
    study.require("posts")
    if study.manifest("pictures") is not None:
        study.require("fetches")
    db.execute("SET TimeZone = 'UTC'")
    names = []
    for name in TABLES:
        if study.manifest(name) is not None:
            dataset = study.dataset(name)
            db.register(f"raw_{name}", dataset)
            rows = _PICTURES if name == "pictures" else f"SELECT * FROM raw_{name}"
            db.execute(f"CREATE VIEW {name} AS {rows}")
            names.append(name)
    models = []
    if "scores" in names:
        found = db.execute("SELECT DISTINCT model FROM scores ORDER BY 1").fetchall()
        models = [str(row[0]) for row in found]
    db.execute(f"CREATE VIEW everything AS {_everything(set(names), models)}")
    return names


def _everything(names: set[str], models: Sequence[str]) -> str:
    """SQL of the joined view. What no stage has made yet is left out of it."""
    columns = [
        "p.platform", "p.host", "p.post_id", "p.author_id", "p.url AS post_link", "p.tags",
        "p.text", "p.created_at", "p.collected_at", "p.likes", "p.comments", "p.shares", "p.views",
    ]  # fmt: skip
    if "labels" in names:
        base = "labels l JOIN posts p USING (platform, host, post_id)"
        # A film's still is a picture, too, where [collect] stills asks for it.
        columns = [
            "l.picture_id",
            "l.media_index",
            "p.media[l.media_index + 1].kind != 'image' AS still",
            *columns,
        ]
        columns += [
            "l.audience", "l.ratio", "l.label", 'l."class"', "l.fold", "l.split", "l.age_days",
            "l.n_faces",
        ]  # fmt: skip
    elif "pictures" in names:
        base = "pictures x JOIN posts p USING (platform, host, post_id)"
        columns = ["x.picture_id", "x.media_index", "x.status", *columns]
    else:
        base = "posts p"
    if "authors" in names:
        # An author has a row for each reading: the latest says what people are called.
        base += (
            " LEFT JOIN (SELECT platform, host, author_id, arg_max(handle, fetched_at) AS handle, "
            "arg_max(followers, fetched_at) AS followers FROM authors GROUP BY ALL) a "
            "ON a.platform = p.platform AND a.host = p.host AND a.author_id = p.author_id"
        )
        columns += ["a.handle", "a.followers"]
    else:
        columns += ["NULL::VARCHAR AS handle"]
    if "labels" in names:
        for number, model in enumerate(models):
            base += (
                f" LEFT JOIN (SELECT picture_id, score, probability, rank FROM scores WHERE model "
                f"= {_text(model)}) s{number} ON s{number}.picture_id = l.picture_id"
            )
            columns += [
                f"s{number}.{what} AS {_name(f'{what} {model}')}"
                for what in ("score", "probability", "rank")
            ]
        if "faces" in names:
            base += (
                " LEFT JOIN (SELECT picture_id, max(best_confidence) AS face_confidence FROM faces "
                "GROUP BY 1) f ON f.picture_id = l.picture_id"
            )
            columns.append("f.face_confidence")
    return f"SELECT {', '.join(columns)} FROM {base}"


def select(what: str, names: Sequence[str], filters: Filters) -> str:
    """The query of what is exported.

    Raises:
        UsageError: there is no such thing to export.
        MissingTableError: no stage has made it yet.
    """
    if what not in WHAT:
        raise UsageError(f"there is no {what!r} to export; there are {', '.join(WHAT)}")
    if what != "everything" and what not in names:
        raise MissingTableError(f"there is no table {what!r} yet", hint="likewise status tells why")
    condition, where = filters.condition(), f"({filters.where or 'true'})"
    if what == "everything":
        return f"SELECT * FROM everything WHERE {condition} AND {where}"
    if condition == "true":
        return f"SELECT * FROM {what} WHERE {where}"
    chosen = _posts_where(what, names, condition)
    return f"SELECT * FROM {what} WHERE {_KEYS[what]} IN ({chosen}) AND {where}"


def _posts_where(what: str, names: Sequence[str], condition: str) -> str:
    """Keys of the rows of ``what`` whose posts are wanted."""
    if what in {"scores", "reviews"}:
        return f"SELECT picture_id FROM everything WHERE {condition}"
    named = (
        "LEFT JOIN (SELECT platform, host, author_id, arg_max(handle, fetched_at) AS handle FROM "
        "authors GROUP BY ALL) USING (platform, host, author_id)"
        if "authors" in names
        else ""
    )
    handle = "*" if named else "*, NULL::VARCHAR AS handle"
    key = _KEYS[what].strip("()")
    return f"SELECT {key} FROM (SELECT {handle} FROM posts {named}) WHERE {condition}"


def count(db: duckdb.DuckDBPyConnection, query: str) -> int:
    """Rows of a query. Raises UsageError when DuckDB does not understand the user's condition."""
    import duckdb

    try:
        return int(db.execute(f"SELECT count(*) FROM ({query})").fetchall()[0][0])
    except duckdb.Error as error:
        raise UsageError(f"--where is not understood: {str(error).splitlines()[0]}") from error


def described(db: duckdb.DuckDBPyConnection, query: str) -> Mapping[str, str]:
    """Column -> DuckDB's type."""
    rows: list[Any] = db.execute(f"DESCRIBE {query}").fetchall()
    return {str(row[0]): str(row[1]) for row in rows}
