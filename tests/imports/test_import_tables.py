# ruff: noqa: E501 - rows of tables are easier to read in one line; queries are this file's
"""Tables as people have them, read beside pandas and DuckDB, and with everything that is wrong."""

from __future__ import annotations

import datetime as dt
import json
import os
import random
import sqlite3
import tarfile
from pathlib import Path
from typing import Any

import duckdb
import openpyxl
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.import_ import import_
from collectors.imports import meanings, sqltext
from collectors.imports.base import Options
from likewise.errors import DataError, UsageError
from likewise.study import Study

ROWS = [
    {"Post ID": "a1", "User": "@ann", "Hearts": 12, "Followers": 100, "Posted": "2023-05-01T10:00:00Z",
     "Image": "https://x.example/1.jpg", "Caption": "Grüße, \"sea\" #Sun", "extra": "x"},
    {"Post ID": "b2", "User": "bob", "Hearts": 0, "Followers": 2500, "Posted": "2023-05-02T10:00:00+02:00",
     "Image": "https://x.example/2.jpg", "Caption": "two\nlines", "extra": "y"},
    {"Post ID": "c3", "User": "ann", "Hearts": 99999, "Followers": 100, "Posted": "2023-06-01 00:30:00Z",
     "Image": "https://x.example/3.jpg", "Caption": None, "extra": "z"},
]  # fmt: skip
FRAME = pd.DataFrame(ROWS)
DB = duckdb.connect()
MAP = Options(columns={"likes": "Hearts"})


def write(source: Path, how: str) -> Path:
    path = source / f"posts.{how}"
    if how == "csv":
        FRAME.to_csv(path, index=False)
    elif how == "tsv":
        FRAME.to_csv(path, index=False, sep="\t")
    elif how == "xlsx":
        FRAME.to_excel(path, index=False)
    elif how == "json":
        FRAME.to_json(path, orient="records", force_ascii=False)
    elif how == "jsonl":
        FRAME.to_json(path, orient="records", lines=True)
    elif how == "parquet":
        FRAME.to_parquet(path)
    elif how == "sqlite":
        with sqlite3.connect(path) as db:
            FRAME.to_sql("posts", db, index=False)
        db.close()
    else:
        with duckdb.connect(str(path)) as duck:
            duck.register("frame", FRAME)
            duck.execute("CREATE TABLE posts AS SELECT * FROM frame")
    return path


def posts(study: Study) -> dict[str, dict[str, Any]]:
    return {row["post_id"]: row for row in study.read("posts").to_pylist()}


def csv(source: Path, text: str, encoding: str = "utf-8", name: str = "posts.csv") -> Path:
    path = source / name
    path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize(
    "how", ["csv", "tsv", "xlsx", "json", "jsonl", "parquet", "sqlite", "duckdb"]
)
def test_every_format_gives_the_same_posts(study: Study, source: Path, how: str) -> None:
    done = import_(study, write(source, how), options=MAP)
    found = posts(study)
    expected = pd.to_datetime(FRAME["Posted"].str.replace(" ", "T"), utc=True, format="ISO8601")
    assert done.n_refused == 0
    assert {k: v["likes"] for k, v in found.items()} == dict(
        zip(FRAME["Post ID"], FRAME["Hearts"], strict=True)
    )
    assert [found[k]["created_at"] for k in FRAME["Post ID"]] == [
        moment.to_pydatetime() for moment in expected
    ]
    assert found["a1"]["text"] == 'Grüße, "sea" #Sun'
    assert found["a1"]["tags"] == ["sun"]
    assert found["c3"]["text"] is None
    authors = study.read("authors").to_pylist()
    assert {(a["author_id"], a["followers"]) for a in authors} == {("ann", 100), ("bob", 2500)}
    assert done.unused == ("extra",)


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252"]
)
@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_encodings_and_separators(
    study: Study, source: Path, encoding: str, separator: str
) -> None:
    line = separator.join(["7", "5", "Zoë", "ein Café – “gut”"])
    text = separator.join(["id", "likes", "author", "caption"]) + f"\r\n{line}\r\n"
    import_(study, csv(source, text, encoding))
    row = posts(study)["7"]
    assert (row["likes"], row["author_id"], row["text"]) == (5, "Zoë", "ein Café – “gut”")


GAPS = pd.DataFrame(
    {
        "id": ["a", "b", "c", "d", "e"],
        "picture": [f"https://x.example/{n}.jpg" for n in "abcde"],
        "word": ["cat", None, "NaN", "", "none"],  # "none" may well be a class
        "number": [1.0, float("nan"), 2.5, 1e16, -0.0],
    }
)


@pytest.mark.parametrize("how", ["csv", "xlsx", "jsonl", "parquet", "sqlite", "duckdb"])
@pytest.mark.parametrize("column", ["word", "number"])
def test_a_gap_in_a_label_column_is_no_class(
    study: Study, source: Path, how: str, column: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(globals(), "FRAME", GAPS)
    done = import_(study, write(source, how), options=Options(columns={"label": column}))
    assert done.n_refused == 0
    found = [row["labels"] for row in sorted(posts(study).values(), key=lambda r: r["post_id"])]
    if column == "word":
        assert found == [["class:cat"], [], [], [], ["class:none"]]
    else:
        assert [labels == [] for labels in found] == [False, True, False, False, False]
        assert found[0] == ["class:1"]
    # What reads like a gap and is text is said: it may be somebody's class.
    assert any("1 label is read as none: NaN" in note for note in done.notes) == (column == "word")


def test_a_number_that_is_none_is_no_class(study: Study, source: Path) -> None:
    """pandas makes a null of a NaN in Parquet; NumPy and Spark write it as the number it is."""
    columns = {"id": ["a", "b"], "label": pa.array([float("nan"), 2.0], pa.float32())}
    columns["likes"] = pa.array([3.0, float("nan")])
    columns["picture"] = ["https://x.example/a.jpg", "https://x.example/b.jpg"]
    pq.write_table(pa.table(columns), source / "t.parquet")
    done = import_(study, source / "t.parquet")
    found = {name: row["labels"] for name, row in posts(study).items()}
    assert found == {"a": [], "b": ["class:2"]}
    assert {name: row["likes"] for name, row in posts(study).items()} == {"a": 3, "b": None}
    assert done.n_refused == 0


def test_wrong_bytes_are_named_with_their_line(study: Study, source: Path) -> None:
    path = source / "posts.csv"
    path.write_bytes(b"id,likes,author\n1,2,a\n2,3,\xe9\x81\n")
    with pytest.raises(DataError, match=r"posts\.csv: after line \d.*cp1252"):
        import_(study, path)


@pytest.mark.parametrize(
    ("cell", "options", "likes"),
    [
        ("12", {}, 12), ("0012", {}, 12), ("+7", {}, 7), ("12.0", {}, 12), (" 12 ", {}, 12),
        ("1 234", {}, 1234), ("1\u00a0234", {}, 1234), ("1'234'567", {}, 1234567),
        ("", {}, None), ("NaN", {}, None), ("n/a", {}, None), ("-1", {}, None), ("None", {}, None),
        ("1,234", {"thousands": ","}, 1234), ("1.234", {"thousands": "."}, 1234),
        ("1.234.567,0", {"thousands": "."}, 1234567), ("1,234,567.00", {"thousands": ","}, 1234567),
        ("1.2k", {"rounded": True}, 1200), ("1,2k", {"rounded": True}, 1200),
        ("3M", {"rounded": True}, 3_000_000), ("29.0b", {"rounded": True}, 29_000_000_000), ("12.6", {"rounded": True}, 13),
        ("9223372036854775807", {}, 2**63 - 1),
    ],
)  # fmt: skip
def test_counts(study: Study, source: Path, cell: str, options: Any, likes: int | None) -> None:
    path = csv(source, f'id,likes,author\nx,"{cell}",a\n')
    done = import_(study, path, options=Options(**options))
    assert posts(study)["x"]["likes"] == likes
    assert done.n_refused == 0


@pytest.mark.parametrize(
    ("cell", "option"),
    [("1,234", "--thousands"), ("1.234", "--thousands"), ("1,234.5", "--thousands"),
     ("1.2k", "--rounded"), ("3M", "--rounded"), ("12.5", "--rounded"), ("1.000", "--thousands")],
)  # fmt: skip
def test_numbers_of_two_kinds_are_asked_for(
    study: Study, source: Path, cell: str, option: str
) -> None:
    path = csv(source, f'id,likes,author\na,"4\n",x\nb,"{cell}",x\n')
    with pytest.raises(DataError, match=r"posts\.csv:4: likes is ") as caught:
        import_(study, path)
    assert option in str(caught.value.hint)
    assert study.manifest("posts") is None


@pytest.mark.parametrize("cell", ["many", "-7", "1e400", "0x10", "99999999999999999999", "½"])
def test_other_words_refuse_the_row(study: Study, source: Path, cell: str) -> None:
    done = import_(study, csv(source, f"id,likes,author\na,{cell},x\nb,4,x\n"))
    assert set(posts(study)) == {"b"}
    assert done.refused == (("posts.csv:2", f"likes not a count: {cell!r}"),)


@settings(deadline=None)
@given(st.integers(0, 2**63 - 1))
def test_any_count_is_read_back(number: int) -> None:
    read = sqltext.count("x", "try_cast(x AS BIGINT)", ",", rounded=False)
    query = f"SELECT {read} FROM (SELECT ? AS x)"
    for text in (str(number), f"{number:,}", f" {number}"):
        assert DB.execute(query, [text]).fetchall() == [(number,)]


@settings(deadline=None)
@given(st.text(max_size=12))
def test_a_cell_is_a_count_or_has_a_problem(text: str) -> None:
    read = sqltext.count("x", "try_cast(x AS BIGINT)", None, rounded=False)
    why = sqltext.count_problem("x", None, rounded=False)
    query = f"SELECT {read}, {why} FROM (SELECT ? AS x)"
    [(number, problem)] = DB.execute(query, [text]).fetchall()
    if number is None:
        assert (problem is None) == (text.strip(" \t\r\n\u00a0").lower() in {"", *sqltext._NOTHING})
    else:
        assert (
            int("".join(c for c in text.split(".", maxsplit=1)[0] if c in "0123456789")) == number
        )


@pytest.mark.parametrize(
    ("cell", "moment"),
    [
        ("2024-03-01T12:30:00Z", "2024-03-01T12:30"), ("2024-03-01 12:30:00+02:00", "2024-03-01T10:30"),
        ("1709296200", "2024-03-01T12:30"), ("1709296200000", "2024-03-01T12:30"),
        ("2024-03-01", "2024-03-01T00:00"),
    ],
)  # fmt: skip
def test_dates(study: Study, source: Path, cell: str, moment: str) -> None:
    import_(study, csv(source, f"id,likes,author,date\na,4,x,{cell}\n"))
    expected = dt.datetime.fromisoformat(moment).replace(tzinfo=dt.UTC)
    assert posts(study)["a"]["created_at"] == expected


def test_dates_without_zone_are_said_and_may_have_one(study: Study, source: Path) -> None:
    path = csv(source, "id,likes,author,date\na,4,x,2024-07-01 12:00\n")
    done = import_(study, path)
    assert any("1 date has no zone" in note and "UTC" in note for note in done.notes)
    import_(study, path, options=Options(zone="Europe/Zurich"))
    assert posts(study)["a"]["created_at"] == dt.datetime(2024, 7, 1, 10, tzinfo=dt.UTC)
    with pytest.raises(DataError, match="--zone Mars"):
        import_(study, path, options=Options(zone="Mars"))


def test_a_date_of_two_kinds_needs_a_format(study: Study, source: Path) -> None:
    path = csv(source, "id,likes,author,date\na,4,x,03/04/2024\nb,4,x,2024-01-01\n")
    assert import_(study, path).refused == (("posts.csv:2", "date not understood: '03/04/2024'"),)
    path = csv(source, "id,likes,author,date\na,4,x,03/04/2024\n")
    import_(study, path, options=Options(date_format="%d/%m/%Y"))
    assert posts(study)["a"]["created_at"] == dt.datetime(2024, 4, 3, tzinfo=dt.UTC)


def test_faulty_lines_are_listed_and_the_others_stay(study: Study, source: Path) -> None:
    text = 'id,likes,author\n1,"2\n",a\n2,3\n3,4,b,c\n1,9,a\n4,x,a\n5,6,a\n'
    done = import_(study, csv(source, text))
    assert set(posts(study)) == {"1", "5"}
    found = dict(done.refused)
    assert set(found) == {"posts.csv:4", "posts.csv:5", "posts.csv:6", "posts.csv:7"}
    assert found["posts.csv:6"] == "id given before with another likes"
    assert found["posts.csv:7"] == "likes not a count: 'x'"
    manifest = study.require("posts")
    funnel = manifest.funnel or {}
    assert (funnel["rows_in"], funnel["rows_out"]) == (6, 2)


@pytest.mark.parametrize(
    ("text", "words"),
    [("", "empty"), ("id,likes,author\n", "no row"), ("a,b\n1,2\n", "no column is understood"),
     ("id,id,likes\n1,2,3\n", "several columns"), ("id,likes,author\n1,x,a\n", "not a count")],
)  # fmt: skip
def test_nothing_understood(study: Study, source: Path, text: str, words: str) -> None:
    with pytest.raises(DataError, match=words):
        import_(study, csv(source, text))
    assert study.manifest("posts") is None


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_quote_that_stays_open_is_named_with_its_line(
    study: Study, source: Path, end: str
) -> None:
    lines = ["id,likes,author,caption", '0,1,z,"two', 'lines"', "5,5", '1,2,a,"open', "2,3,b,c", ""]
    done = import_(study, csv(source, end.join(lines)))
    assert set(posts(study)) == {"0"}
    places = dict(done.refused)
    assert set(places) == {"posts.csv:4", "posts.csv:5"}
    assert "unterminated quote" in places["posts.csv:5"]


@pytest.mark.parametrize(
    ("data", "name", "words"),
    [
        (bytes(range(256)) * 20, "posts.csv", "no text"),
        (b"\xff\xd8\xff\xe0" + bytes(range(1, 256)) * 9, "posts.tsv", "no text"),
        (bytes.fromhex("D0CF11E0A1B11AE1") + bytes(4096), "posts.xlsx", "password"),
        (b"id,likes\n1,2\n", "posts.xlsx", "no whole Excel workbook"),
    ],
)
def test_another_kind_of_file_is_said(
    study: Study, source: Path, data: bytes, name: str, words: str
) -> None:
    (source / name).write_bytes(data)
    with pytest.raises(DataError, match=words) as caught:
        import_(study, source / name)
    assert name in str(caught.value) and caught.value.hint


def test_an_unknown_encoding_and_an_empty_archive_are_said(study: Study, source: Path) -> None:
    with pytest.raises(UsageError, match="no such encoding"):
        import_(study, csv(source, "id,likes\n1,2\n"), options=Options(encoding="klingon"))
    with tarfile.open(source / "a.tar.gz", "w:gz"):
        pass
    with pytest.raises(DataError, match=r"source/a\.tar\.gz holds no file"):
        import_(study, source / "a.tar.gz")
    assert not any((study.root / "imports").iterdir())


def test_half_a_json_is_named_with_its_line(study: Study, source: Path) -> None:
    path = source / "posts.json"
    path.write_text('[\n{"id": "1", "likes": 3},\n{"id": "2", "li', encoding="utf-8")
    with pytest.raises(DataError, match=r"posts\.json:3: not JSON"):
        import_(study, path)
    lines = source / "posts.jsonl"
    lines.write_text(
        '{"id": "1", "likes": 3, "author": "a"}\n{"id": "2", "li\n[1]\n', encoding="utf-8"
    )
    done = import_(study, lines)
    assert [place for place, _ in done.refused] == ["posts.jsonl:2", "posts.jsonl:3"]


def test_nested_json_gets_dots(study: Study, source: Path) -> None:
    path = source / "posts.json"
    rows = [{"shortcode": "x", "owner": {"username": "ann", "followers": 5}, "like_count": 3}]
    path.write_text(json.dumps({"data": rows}), encoding="utf-8")
    import_(study, path)
    assert posts(study)["x"]["author_id"] == "ann"
    assert study.read("authors")["followers"].to_pylist() == [5]


def test_a_broken_excel_and_parquet_file(study: Study, source: Path) -> None:
    for name in ("a.xlsx", "a.parquet", "a.duckdb"):
        (source / name).write_bytes(b"PK\x03\x04 half of something")
        with pytest.raises(DataError, match=name):
            import_(study, source / name)


def test_sheets_and_queries_are_chosen(study: Study, source: Path) -> None:
    book = openpyxl.Workbook()
    book.active.title = "notes"
    sheet = book.create_sheet("posts")
    for row in (["id", "likes", "author", "date"], ["1", 5, "a", dt.datetime(2024, 1, 2, 3, 4)]):
        sheet.append(row)
    book.save(source / "book.xlsx")
    import_(study, source / "book.xlsx", options=Options(sheet="posts"))
    assert posts(study)["1"]["created_at"] == dt.datetime(2024, 1, 2, 3, 4, tzinfo=dt.UTC)
    with pytest.raises(UsageError, match="there are notes, posts"):
        import_(study, source / "book.xlsx", options=Options(sheet="x"))
    with sqlite3.connect(source / "x.db") as db:
        db.execute("CREATE TABLE a (id, likes, author)")
        db.execute("CREATE TABLE b (id, likes, author)")
        db.execute("INSERT INTO b VALUES (9, 8, 'z')")
    db.close()
    with pytest.raises(UsageError, match="holds 2 tables: a, b"):
        import_(study, source / "x.db")
    import_(study, source / "x.db", options=Options(query="SELECT * FROM b WHERE likes > 1"))
    assert posts(study)["9"]["likes"] == 8


def test_a_query_reaches_no_other_file(study: Study, source: Path) -> None:
    path = write(source, "duckdb")
    write(source, "csv")
    query = f"SELECT * FROM read_csv('{source}/posts.csv')"
    with pytest.raises(DataError, match=r"posts\.duckdb"):
        import_(study, path, options=Options(query=query))


def test_what_is_missing_is_said(study: Study, source: Path) -> None:
    done = import_(study, csv(source, "id,likes\n1,2\n"))
    said = "\n".join(done.forbids)
    for word in ('target = "likes"', "no author", "no date", "no picture"):
        assert word in said
    assert posts(study)["1"]["author_id"] == "post:1"
    assert meanings.missing({"picture", "author", "label"}, classes=True) == []
    assert "--map label=COLUMN" in meanings.missing({"picture", "author"}, classes=True)[0]
    done = import_(
        study,
        csv(source, "id,likes\n1,2\n"),
        options=Options(constants={"author": "me", "date": "2020-01-01"}),
    )
    assert posts(study)["1"]["author_id"] == "me"
    assert posts(study)["1"]["created_at"] == dt.datetime(2020, 1, 1, tzinfo=dt.UTC)


def test_maps_must_name_what_is_there(study: Study, source: Path) -> None:
    path = csv(source, "id,likes\n1,2\n")
    with pytest.raises(UsageError, match="no column 'heart'"):
        import_(study, path, options=Options(columns={"likes": "heart"}))
    with pytest.raises(UsageError, match="the meanings are"):
        import_(study, path, options=Options(columns={"love": "likes"}))


def test_several_follower_counts_take_the_newest_posts(study: Study, source: Path) -> None:
    text = "id,likes,author,followers,date\n1,2,a,10,2023-01-01\n2,2,a,30,2023-03-01\n3,2,a,20,2023-02-01\n"
    done = import_(study, csv(source, text))
    assert study.read("authors")["followers"].to_pylist() == [30]
    assert any("several follower counts" in note for note in done.notes)


def test_counts_were_read_when_the_file_was_written(study: Study, source: Path) -> None:
    path = csv(source, "id,likes,author,date\n1,2,a,2023-01-01\n")
    os.utime(path, (1_690_000_000, 1_690_000_000))
    import_(study, path)
    assert posts(study)["1"]["collected_at"].timestamp() == 1_690_000_000
    os.utime(path, (1_000_000_000, 1_000_000_000))  # older than its own posts: not believed
    import_(study, path)
    assert posts(study)["1"]["collected_at"].timestamp() > 1_700_000_000


def test_real_accounts(study: Study, shared: Path) -> None:
    done = import_(study, shared / "engagement" / "swiss_accounts.csv", kind="csv")
    raw = pd.read_csv(shared / "engagement" / "swiss_accounts.csv")
    rows = study.read("authors").to_pandas().set_index("author_id")
    assert done.authors == raw["user"].nunique() == len(rows)
    expected = raw.drop_duplicates("user").set_index("user")["followers"]
    assert (rows["followers"].sort_index() == expected.sort_index()).all()


def test_a_column_url_is_what_its_values_are() -> None:
    assert meanings.guess(["url", "likes"], {}, {"url": ["https://a.example/p/1"]})["link"] == "url"
    pictures = {"url": ["https://a.example/1.jpg", "https://a.example/2.png?x=1"]}
    assert meanings.guess(["url", "likes"], {}, pictures)["picture"] == "url"


@pytest.mark.parametrize(
    ("cell", "tags"),
    [
        ("#Sun, sea;SAND sun", ["sand", "sea", "sun"]), ("['a', 'B']", ["a", "b"]), ("", []),
        ("été|Grün", ["grün", "été"]),
    ],
)  # fmt: skip
def test_tags(study: Study, source: Path, cell: str, tags: list[str]) -> None:
    import_(study, csv(source, f'id,likes,author,tags\n1,2,a,"{cell}"\n'))
    assert sorted(posts(study)["1"]["tags"]) == tags


CELLS = [
    None, "", " ", "0", "007", "12", "-1", "+5", "1e3", "1.5", "12.0", " 7", "1,234", "1.2k", "nan",
    "2023-05-01", "2023-05-01T08:00:00Z", "2023-05-01 08:00", "1682928000", "01/02/2023", "a b a",
    "#me,you", "Ünïcode", "tab\tbed", " padded ", "x" * 30, "9" * 19, "yes", "http://x.example/ä b",
]  # fmt: skip


def odd_cells() -> pa.Table:
    chance = random.Random(5)
    odd = [
        "".join(chance.choices("09-+.,eEkTZ: aé#_/\t\x1f\u202e", k=chance.randrange(9)))
        for _ in range(3000)
    ]
    return pa.table({"x": pa.array([*CELLS, *odd], pa.string())})


def test_cells_that_are_called_plain_are_what_the_patterns_read() -> None:
    """The short way and the long way give the same, wherever the short way is taken."""
    source = odd_cells()
    assert source.num_rows
    number = "try_cast(x AS BIGINT)"
    short = {
        "text": (sqltext.plain_texts(["x"]), "x", sqltext.text("x")),
        # Of several cells at once; one sign in one of them takes the long way for all.
        "texts": (sqltext.plain_texts(["x", "y", "z"]), "x || y", f"{sqltext.text('x')} || y"),
        "count": (
            f"{number}::VARCHAR = x AND {number} >= 0",
            sqltext.count("x", number, None, rounded=False),
            sqltext.count("x", "NULL::BIGINT", None, rounded=False),
        ),
        "words": (
            "regexp_full_match(x, '[a-z0-9_]+( [a-z0-9_]+)*')",
            sqltext.words("x"),
            f"list_distinct(string_split(trim(regexp_replace({sqltext.text('x')}, ' +', ' ', 'g')), ' '))",
        ),
        "moment": (
            f"{sqltext.moment('x', None)} IS NOT NULL",
            sqltext.moment("x", None),
            sqltext.epoch("x"),
        ),
    }
    for name, (plain, quick, slow) in short.items():
        found = DB.sql(
            f"SELECT x, {quick}, {slow} FROM (SELECT x, 'b c' AS y, NULL AS z FROM source) "
            f"WHERE {plain}"
        ).fetchall()
        assert found, name
        assert [row for row in found if row[1] != row[2]] == [], name


def test_plain_texts_judge_every_cell_by_itself() -> None:
    """The sign between joined cells cannot make of a faulty cell two good ones."""
    for x, y in (
        ("a\x1fb", "c"),
        ("a", "b\x1fc"),
        ("a ", "b"),
        ("a", ""),
        ("", "b"),
        ("a\x00", "b"),
    ):
        query = f"SELECT {sqltext.plain_texts(['x', 'y'])} FROM (SELECT ? AS x, ? AS y)"
        assert DB.execute(query, [x, y]).fetchall() == [(False,)], (x, y)
    query = f"SELECT {sqltext.plain_texts(['x', 'y'])} FROM (SELECT ? AS x, ? AS y)"
    assert DB.execute(query, ["Grüße\n😀", None]).fetchall() == [(True,)]


def test_rows_of_one_id_are_one_post_with_several_pictures(study: Study, source: Path) -> None:
    path = source / "posts.csv"
    path.write_text(
        "id,author,likes,date,picture\n"
        "a,ann,5,2023-05-01,https://x.example/1.jpg\n"
        "b,bob,7,2023-05-02,https://x.example/9.jpg\n"
        "a,ann,,2023-05-01,https://x.example/2.jpg\n"
        "a,ann,5,,https://x.example/3.jpg\n"
        "a,ann,5,2023-05-01,https://x.example/2.jpg\n"
        "a,ann,6,2023-06-01,https://x.example/4.jpg\n"
        "b,bob,7,2023-05-02,\n"
    )
    found = import_(study, path)
    posts = {row["post_id"]: row for row in study.read("posts").to_pylist()}
    media = [(m["index"], m["url"][-5]) for m in posts["a"]["media"]]
    assert media == [(0, "1"), (1, "2"), (2, "3")]
    assert [m["url"][-5] for m in posts["b"]["media"]] == ["9"]
    assert posts["a"]["likes"] == 5 and found.posts == 2
    assert sorted(found.refused) == [
        ("posts.csv:6", "id given before"),
        ("posts.csv:7", "id given before with another date, likes"),
        ("posts.csv:8", "id given before"),
    ]
