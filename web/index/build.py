"""Makes the index of one state of the tables: joins by DuckDB, rows into SQLite."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from likewise.store import parquet_file
from likewise.study import Study
from likewise.tables import TABLES
from likewise.whole import whole_file
from web.index import CODE, NAMED, SORTS
from web.index.vectors import Vectors, vectors

__all__ = ["build"]

AT_ONCE = 20_000
"""Rows that go from DuckDB to SQLite together."""

SCHEMA = """
PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA page_size = 8192;
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE pictures (
    row INTEGER PRIMARY KEY, picture_id TEXT NOT NULL, card TEXT NOT NULL, detail TEXT NOT NULL,
    part INTEGER, row_group INTEGER, place INTEGER
);
CREATE TABLE columns (name TEXT PRIMARY KEY, dtype TEXT NOT NULL, data BLOB NOT NULL);
CREATE TABLE tags (tag TEXT PRIMARY KEY, n INTEGER NOT NULL, rows BLOB NOT NULL);
CREATE TABLE authors (
    author INTEGER PRIMARY KEY, platform TEXT, host TEXT, author_id TEXT, handle TEXT, n INTEGER
);
CREATE TABLE parts (part INTEGER PRIMARY KEY, path TEXT NOT NULL);
"""

JOINED = """
WITH place AS (
    SELECT p.*, x.format, row_number() OVER (
        PARTITION BY p.picture_id
        ORDER BY l.picture_id IS NULL, p.platform, p.host, p.post_id, p.media_index
    ) AS turn
    FROM fetches p JOIN pictures x ON x.picture_id = p.picture_id
    LEFT JOIN labels l ON l.picture_id = p.picture_id AND l.platform = p.platform
        AND l.host = p.host AND l.post_id = p.post_id AND l.media_index = p.media_index
    WHERE p.status = 'ok'
), person AS (
    SELECT platform, host, author_id, arg_max(handle, fetched_at) AS handle,
        arg_max(followers, fetched_at) AS followers
    FROM authors GROUP BY ALL
), face AS (
    SELECT picture_id, max(n_faces) AS n_faces, arg_max(boxes, coalesce(n_faces, -1)) AS boxes,
        arg_max(confidences, coalesce(n_faces, -1)) AS confidences, any_value(detector) AS detector
    FROM faces WHERE status = 'ok' GROUP BY picture_id
), opinion AS (
    SELECT picture_id, any_value(score) AS score, any_value(probability) AS probability,
        any_value(rank) AS rank, any_value(rank_in_author) AS rank_in_author,
        any_value(said) AS said, any_value(certainty) AS certainty
    FROM scores GROUP BY picture_id
)
SELECT
    p.picture_id, p.platform, p.host, p.post_id, p.media_index, p.author_id, person.handle,
    coalesce(l.likes, kept.likes, post.likes) AS likes,
    coalesce(l.audience, kept.audience, person.followers) AS audience,
    l.ratio, l.label, l.class, l.fold, l.split, l.age_days,
    coalesce(l.created_at, post.created_at) AS created_at,
    coalesce(l.n_faces, face.n_faces) AS n_faces, face.boxes, face.confidences, face.detector,
    CASE WHEN isfinite(o.score) THEN o.score END AS score,
    CASE WHEN isfinite(o.probability) THEN o.probability END AS probability,
    o.rank, o.rank_in_author, o.said,
    CASE WHEN isfinite(o.certainty) THEN o.certainty END AS certainty,
    p.width, p.height, p.format, p.n_bytes, p.fetched_at,
    CASE WHEN regexp_matches(post.url, '^https?://[^/\\s]+') THEN post.url END AS post,
    post.text, post.tags, post.comments, post.shares, post.views,
    list_extract(list_filter(post.media, lambda m: m.index = p.media_index), 1).alt AS alt
FROM place p
LEFT JOIN labels l ON l.picture_id = p.picture_id
LEFT JOIN kept_posts kept ON kept.platform = p.platform AND kept.host = p.host
    AND kept.post_id = p.post_id
LEFT JOIN (SELECT DISTINCT ON (platform, host, post_id) * FROM posts) post
    ON post.platform = p.platform AND post.host = p.host AND post.post_id = p.post_id
LEFT JOIN person ON person.platform = p.platform AND person.host = p.host
    AND person.author_id = p.author_id
LEFT JOIN face ON face.picture_id = p.picture_id
LEFT JOIN opinion o ON o.picture_id = p.picture_id
WHERE p.turn = 1
ORDER BY score DESC NULLS LAST, p.picture_id
"""

SHOWN = (
    "fetches", "pictures", "labels", "authors", "kept_posts", "posts", "faces", "scores",
)  # fmt: skip

CARD = """
SELECT picture_id, to_json({
    'id': picture_id, 'platform': platform, 'author': coalesce(handle, author_id), 'post': post,
    'likes': likes, 'audience': audience, 'ratio': ratio, 'label': label, 'class': class,
    'faces': n_faces, 'score': score, 'probability': probability, 'rank': rank, 'said': said,
    'certainty': certainty, 'split': split,
    'fold': fold, 'width': width, 'height': height, 'alt': alt,
    'created_at': strftime(created_at, '%Y-%m-%dT%H:%M:%SZ')
})::VARCHAR, to_json({
    'host': host, 'post_id': post_id, 'media_index': media_index, 'author_id': author_id,
    'rank_in_author': rank_in_author, 'age_days': age_days, 'text': text, 'tags': tags,
    'comments': comments, 'shares': shares, 'views': views, 'format': format, 'n_bytes': n_bytes,
    'fetched_at': strftime(fetched_at, '%Y-%m-%dT%H:%M:%SZ'), 'detector': detector,
    'boxes': boxes, 'confidences': confidences
})::VARCHAR
FROM joined
"""


def build(study: Study, path: Path, vectors_folder: Path) -> None:
    """Write the index of the state that ``study`` shows to ``path``, whole or not at all.

    Raises:
        StudyError: a table is damaged.
    """
    started = time.perf_counter()
    with duckdb.connect() as db, whole_file(path) as staged:
        db.execute("SET TimeZone = 'UTC'")
        db.execute("SET preserve_insertion_order = true")
        for name in SHOWN:
            _view(db, study, name)
        db.execute(f"CREATE TEMP TABLE joined AS {JOINED}")
        lite = sqlite3.connect(staged)
        try:
            lite.executescript(SCHEMA)
            ids = _pictures(db, lite, study)
            known = vectors(study, ids, vectors_folder)
            facts = _columns(db, lite, known)
            facts["models_out_of_fold"] = _out_of_fold(study, lite, ids, facts["models"])
            facts |= _said(study, known, len(ids))
            facts["seconds"] = round(time.perf_counter() - started, 2)
            lite.executemany(
                "INSERT INTO facts VALUES (?, ?)", [(k, json.dumps(v)) for k, v in facts.items()]
            )
            lite.execute("CREATE UNIQUE INDEX by_id ON pictures (picture_id)")
            lite.execute("CREATE INDEX by_handle ON authors (handle COLLATE NOCASE)")
            lite.execute("CREATE INDEX by_author_id ON authors (author_id)")
            lite.commit()
        finally:
            lite.close()


def _view(db: duckdb.DuckDBPyConnection, study: Study, name: str) -> None:
    """The table under its name; columns that it lacks, or the whole of it, are null."""
    db.register(f"{name}_schema", TABLES[name].schema.empty_table())
    union = ""
    if study.manifest(name) is not None:
        db.register(f"{name}_rows", study.dataset(name))
        union = f" UNION ALL BY NAME SELECT * FROM {name}_rows"
    db.execute(f"CREATE VIEW {name} AS SELECT * FROM {name}_schema{union}")


def _pictures(db: duckdb.DuckDBPyConnection, lite: sqlite3.Connection, study: Study) -> list[str]:
    """Write the rows; returns their ids in their order."""
    places = _places(study, lite)
    ids: list[str] = []
    result = db.execute(CARD)
    while rows := result.fetchmany(AT_ONCE):
        lite.executemany(
            "INSERT INTO pictures VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                (number, row[0], row[1], row[2], *places.get(row[0], (None, None, None)))
                for number, row in enumerate(rows, len(ids))
            ),
        )
        ids += [row[0] for row in rows]
    return ids


def _places(study: Study, lite: sqlite3.Connection) -> dict[str, tuple[int, int, int]]:
    """Where the bytes of each picture lie: part, row group, and row in it."""
    found: dict[str, tuple[int, int, int]] = {}
    if study.manifest("pictures") is None:
        return found
    for part, path in enumerate(study.parts("pictures")):
        lite.execute("INSERT INTO parts VALUES (?, ?)", (part, path))
        with parquet_file(path) as file:
            for group in range(file.num_row_groups):
                ids = file.read_row_group(group, columns=["picture_id"])["picture_id"].to_pylist()
                found |= {picture: (part, group, place) for place, picture in enumerate(ids)}
    return found


def _columns(
    db: duckdb.DuckDBPyConnection, lite: sqlite3.Connection, known: Vectors
) -> dict[str, Any]:
    """Write the arrays; returns what they mean."""
    table = db.sql(
        "SELECT platform, host, author_id, handle, likes, audience, ratio, label, class, fold, "
        "split, n_faces, score, probability, said, certainty, tags, epoch(created_at) AS date "
        "FROM joined"
    ).to_arrow_table()
    facts: dict[str, Any] = {"known": {}}
    put = partial(_put, lite)

    def coded(name: str) -> list[str]:
        codes, names = _codes(table[name])
        put(name, codes)
        return names

    for name in NAMED:
        facts[NAMED[name]] = coded(name)
    put("author", _authors(table, lite))
    numbers = {
        name: _floats(table[name])
        for name in ("likes", "audience", "ratio", "label", "fold", "n_faces", "date")
    }
    for name in ("audience", "label", "fold", "n_faces", "date"):
        put(name, numbers[name])
    scores = dict(known.scores)
    published = _floats(table["score"])
    if known.published is not None:
        scores = {known.published: published, **scores}
    chance = _floats(table["probability"])
    put("probability", chance)
    for name, values in known.chances.items():
        put(f"probability:{name}", values)
    if known.published is not None:
        put(f"probability:{known.published}", chance)
    by = {name: numbers[name] for name in ("ratio", "likes", "date")}
    if facts["classes"]:
        by["disagreement"] = 1 - chance  # of the model with the label
        by["uncertainty"] = 1 - _floats(table["certainty"])
    else:
        by["disagreement"] = _disagreement(list(scores.values()))
        by["uncertainty"] = 1 - np.abs(2 * chance - 1)
    by |= {f"score:{name}": values for name, values in scores.items()}
    by["score"] = published
    for name, values in by.items():
        order, facts["known"][name] = _order(values)
        put(f"order:{name}", order)
        put(f"by:{name}", values.astype(np.float64))
    put("vector", known.row)
    facts["models"] = list(scores)
    _tags(table["tags"], lite)
    return facts


def _put(lite: sqlite3.Connection, name: str, values: NDArray[Any]) -> None:
    row = (name, values.dtype.str, np.ascontiguousarray(values).tobytes())
    lite.execute("INSERT INTO columns VALUES (?, ?, ?)", row)


def _out_of_fold(
    study: Study, lite: sqlite3.Connection, ids: Sequence[str], models: Sequence[str]
) -> list[str]:
    """Write what each model's fits say of pictures whose fold they had left out; whose there are.

    Columns are ``fold score:MODEL`` and ``fold chance:MODEL``, NaN for held-out pictures.
    """
    if study.manifest("fold_scores") is None:
        return []
    rows, found = pa.array(ids, pa.string()), []
    for model in models:
        table = study.read(
            "fold_scores", ["picture_id", "score", "probability"], filter=pc.field("model") == model
        )
        at = pc.index_in(table["picture_id"], value_set=rows)
        table = table.filter(at.is_valid())
        if not table.num_rows:
            continue
        places = at.drop_null().to_numpy()
        for name, column in (("score", "score"), ("chance", "probability")):
            values = np.full(len(ids), np.nan)
            values[places] = _floats(table[column])
            _put(lite, f"fold {name}:{model}", values)
        found.append(model)
    return found


def _order(values: NDArray[np.float64]) -> tuple[NDArray[np.int32], int]:
    """Rows by value, largest first, ties by row, those without a value last; and how many have."""
    bad = ~np.isfinite(values)
    order = np.lexsort((np.where(bad, 0, -values), bad)).astype(np.int32)
    return order, int((~bad).sum())


def _floats(column: pa.ChunkedArray) -> NDArray[np.float64]:
    values: NDArray[np.float64] = column.cast(pa.float64()).to_numpy()
    return np.where(np.isfinite(values), values, np.nan)


def _codes(column: pa.ChunkedArray) -> tuple[NDArray[np.int16], list[str]]:
    """Number of each value, -1 for null, and the values in their order."""
    names = sorted(set(column.drop_null().to_pylist()))
    codes = pc.index_in(column, value_set=pa.array(names, pa.string()))
    return codes.fill_null(-1).to_numpy().astype(np.int16), names


def _authors(table: pa.Table, lite: sqlite3.Connection) -> NDArray[np.int32]:
    """Number of each row's author; the authors go into their table."""
    keys = zip(*(table[c].to_pylist() for c in ("platform", "host", "author_id")), strict=True)
    number: dict[tuple[str, ...], int] = {}
    handles = table["handle"].to_pylist()
    row: list[int] = []
    shown: list[str | None] = []
    for key, handle in zip(keys, handles, strict=True):
        at = number.setdefault(key, len(number))
        if at == len(shown):
            shown.append(handle)
        row.append(at)
    codes = np.array(row, np.int32)
    counts = np.bincount(codes, minlength=len(number)).tolist()
    lite.executemany(
        "INSERT INTO authors VALUES (?, ?, ?, ?, ?, ?)",
        ((at, *key, shown[at], counts[at]) for key, at in number.items()),
    )
    return codes


def _tags(column: pa.ChunkedArray, lite: sqlite3.Connection) -> None:
    """Rows of each tag, ascending."""
    lists = column.combine_chunks()
    rows = np.asarray(pc.list_parent_indices(lists))
    tags = pc.list_flatten(lists).dictionary_encode()
    codes = tags.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    order = np.argsort(codes, kind="stable")
    ends = np.searchsorted(codes[order], np.arange(len(tags.dictionary) + 1))
    for at, tag in enumerate(tags.dictionary.to_pylist()):
        mine = np.unique(rows[order[ends[at] : ends[at + 1]]]).astype(np.int32)
        lite.execute(
            "INSERT OR IGNORE INTO tags VALUES (?, ?, ?)", (tag, len(mine), mine.tobytes())
        )


def _disagreement(scores: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Standard deviation of the models' percentile ranks, 0 ... 0.5; NaN with less than two."""
    if len(scores) < 2:
        return np.full(len(scores[0]) if scores else 0, np.nan)
    ranks = []
    for values in scores:
        rank = np.full(len(values), np.nan)
        good = np.flatnonzero(np.isfinite(values))
        rank[good[np.argsort(values[good], kind="stable")]] = (np.arange(len(good)) + 0.5) / max(
            len(good), 1
        )
        ranks.append(rank)
    spread: NDArray[np.float64] = np.std(np.stack(ranks), axis=0)
    return spread


def _said(study: Study, known: Vectors, n: int) -> Mapping[str, Any]:
    """What is known of the whole."""
    labels = study.manifest("labels")
    return {
        "code": CODE,
        "pictures": n,
        "published": known.published,
        "sorts": list(SORTS),
        "median_ratio": None if labels is None else labels.extra.get("median_ratio"),
        "vectors": known.file,
        "layer": known.layer,
        "backbone": known.backbone,
    }
