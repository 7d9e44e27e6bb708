"""Exports read back by pandas, DuckDB, openpyxl and csv; filters; cells that would be formulas."""

from __future__ import annotations

import csv
import datetime as dt
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import duckdb
import openpyxl
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fake_study import make
from hypothesis import given
from hypothesis import strategies as st

from collectors.import_ import import_
from likewise import cli
from likewise.errors import MissingTableError, StudyError, UsageError
from likewise.study import Study
from likewise.tables import REVIEWS
from training.export import export
from training.exporting import files
from training.exporting.view import Filters
from training.rank import rank


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    made = make(tmp_path_factory.mktemp("export") / "study")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.rank._wants_spark", lambda *_: False)
        rank(made)
    return made


def test_every_format_holds_the_same_rows(study: Study, tmp_path: Path) -> None:
    labels = {row["picture_id"]: row for row in study.read("labels").to_pylist()}
    scores = {row["picture_id"]: row["score"] for row in study.read("scores").to_pylist()}
    for ending in ("csv", "xlsx", "jsonl", "parquet", "duckdb"):
        done = export(study, "everything", tmp_path / f"all.{ending}")
        assert done.rows == len(labels)
    with duckdb.connect(str(tmp_path / "all.duckdb"), read_only=True) as db:
        duck = db.execute("SELECT * FROM everything").df()
        assert {"posts", "labels", "scores", "everything", "chosen"} <= {
            row[0] for row in db.execute("SHOW TABLES").fetchall()
        }
    frames = [
        pd.read_csv(tmp_path / "all.csv"),
        pd.read_excel(tmp_path / "all.xlsx"),
        pd.read_json(tmp_path / "all.jsonl", lines=True),
        pd.read_parquet(tmp_path / "all.parquet"),
        duck,
    ]
    for frame in frames:
        assert set(frame["picture_id"]) == set(labels)
        for row in frame.to_dict("records"):
            truth = labels[row["picture_id"]]
            assert (row["likes"], row["label"], row["fold"]) == (
                truth["likes"], truth["label"], truth["fold"],
            )  # fmt: skip
            assert row["ratio"] == pytest.approx(truth["ratio"])
            assert row["score linear-svc"] == pytest.approx(scores[row["picture_id"]])


def test_filters(study: Study, tmp_path: Path) -> None:
    posts = study.read("posts").to_pylist()
    some = posts[0]
    day = some["created_at"].date()
    tag = some["tags"][0]
    wanted = {
        "author": {p["post_id"] for p in posts if p["author_id"] == some["author_id"]},
        "since": {p["post_id"] for p in posts if p["created_at"].date() >= day},
        "until": {p["post_id"] for p in posts if p["created_at"].date() < day},
        "tag": {p["post_id"] for p in posts if tag in p["tags"]},
        "where": {p["post_id"] for p in posts if (p["likes"] or 0) > 5},
    }
    given_ = {
        "author": "@" + some["author_id"], "since": str(day), "until": str(day), "tag": f"#{tag}",
        "where": "likes > 5",
    }  # fmt: skip
    for name, value in given_.items():
        export(study, "posts", tmp_path / "x.parquet", filters=Filters(**{name: value}))
        found = pq.read_table(tmp_path / "x.parquet")["post_id"].to_pylist()
        assert set(found) == wanted[name], name
    export(study, "scores", tmp_path / "s.csv", filters=Filters(author=some["author_id"]))
    ids = pd.read_csv(tmp_path / "s.csv")["author_id"].unique().tolist()
    assert ids == [some["author_id"]]


def test_reviews_are_exported_for_the_pictures_asked(study: Study, tmp_path: Path) -> None:
    [one, other] = study.read("labels").slice(0, 2).to_pylist()
    when = dt.datetime(2024, 5, 6, 7, 8, tzinfo=dt.UTC)
    said = {"reviewer": "ann", "reviewed_at": when, "new_label": "cat", "reason": "=1+1"}
    rows = [{"picture_id": row["picture_id"], **said} for row in (one, other)]
    stage = study.begin("reviews", params={"what": "published"})
    with stage.staging() as folder:
        pq.write_table(pa.Table.from_pylist(rows, REVIEWS.schema), folder / "part-0000.parquet")
    stage.publish(rows=2)
    try:
        assert export(study, "reviews", tmp_path / "all.csv").rows == 2
        wanted = Filters(where=f"picture_id = '{one['picture_id']}'")
        assert export(study, "reviews", tmp_path / "one.csv", filters=wanted).rows == 1
        with (tmp_path / "one.csv").open(encoding="utf-8-sig", newline="") as file:
            [row] = csv.DictReader(file)
        assert row["picture_id"] == one["picture_id"] and row["reviewer"] == "ann"
        assert row["reason"] == "'=1+1" and row["reviewed_at"].startswith("2024-05-06")
    finally:
        shutil.rmtree(study.folder("tables") / "reviews")


@pytest.mark.parametrize(
    ("filters", "words"),
    [(Filters(where="likes >"), "--where"), (Filters(where="no_such = 1"), "--where"),
     (Filters(since="soon"), "expected YYYY-MM-DD")],
)  # fmt: skip
def test_filters_that_are_none(study: Study, tmp_path: Path, filters: Filters, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        export(study, "posts", tmp_path / "x.csv", filters=filters)
    assert not (tmp_path / "x.csv").exists()


def test_what_cannot_be_exported(study: Study, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there are everything, posts"):
        export(study, "nonsense", tmp_path / "x.csv")
    with pytest.raises(MissingTableError, match="reviews"):
        export(study, "reviews", tmp_path / "x.csv")
    with pytest.raises(UsageError, match="the ending says no format"):
        export(study, "posts", tmp_path / "x.doc")
    with pytest.raises(UsageError, match="there is no shape"):
        export(study, "posts", tmp_path / "x", shape="coco")


def test_pictures_of_an_older_layout_are_told(tmp_path: Path) -> None:
    older = make(tmp_path / "study", n_authors=4)
    shutil.rmtree(older.store.place("fetches"))
    with pytest.raises(StudyError, match=r"layout before 'fetches'"):
        export(older, "everything", tmp_path / "all.csv")


def test_cells_that_would_be_formulas(study: Study, tmp_path: Path) -> None:
    """Author a000 of the test study is called <script>...; here is one who writes formulas."""
    evil = ["=HYPERLINK(1)", "+1", "-1+2", "@SUM(A1)", "\tx", "plain"]
    frame = pd.DataFrame({"id": range(6), "likes": 1, "author": "a", "caption": evil})
    folder = tmp_path / "study"
    folder.mkdir()
    (folder / "likewise.toml").write_text("", encoding="utf-8")
    frame.to_csv(tmp_path / "in.csv", index=False)
    import_(folder, tmp_path / "in.csv")
    export(folder, "posts", tmp_path / "out.csv")
    export(folder, "posts", tmp_path / "out.xlsx")
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as file:
        texts = [row["text"] for row in csv.DictReader(file)]
    assert sorted(texts) == sorted(["'=HYPERLINK(1)", "'+1", "'-1+2", "'@SUM(A1)", "x", "plain"])
    sheet = openpyxl.load_workbook(tmp_path / "out.xlsx").active
    assert not any(cell.data_type == "f" for row in sheet.iter_rows() for cell in row)


@given(st.text())
def test_neutral_text_starts_no_formula(text: str) -> None:
    safe = files.neutral(text)
    assert not safe.startswith(("=", "+", "-", "@", "\t", "\r"))
    assert safe.removeprefix("'") == text.removeprefix("'")


def test_excel_says_what_it_cannot_hold(study: Study, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(files, "EXCEL_ROWS", 10)
    with pytest.raises(UsageError, match="holds 10"):
        export(study, "posts", tmp_path / "x.xlsx")
    monkeypatch.undo()
    monkeypatch.setattr(files, "EXCEL_CELL", 5)
    done = export(study, "posts", tmp_path / "x.xlsx")
    assert "are cut to Excel's" in done.notes[0]


@pytest.mark.parametrize("shape", ["imagefolder", "img2dataset", "fiftyone", "cleanvision"])
def test_folders_for_other_tools(study: Study, tmp_path: Path, shape: str) -> None:
    target = tmp_path / shape
    done = export(study, "pictures", target, shape=shape, filters=Filters(where="label = 1"))
    liked = {r["picture_id"] for r in study.read("labels").to_pylist() if r["label"] == 1}
    assert done.rows == len(liked)
    with (target / "manifest.csv").open(encoding="utf-8", newline="") as file:
        assert {row["picture_id"] for row in csv.DictReader(file)} == liked
    assert "## Licence" in (target / "README.md").read_text(encoding="utf-8")
    if shape == "img2dataset":
        rows = pq.read_table(target / "00000.parquet").to_pylist()
        assert {hashlib.sha256(row["jpg"]).hexdigest() for row in rows} == liked
        again = tmp_path / "again"
        again.mkdir()
        (again / "likewise.toml").write_text("", encoding="utf-8")
        assert import_(again, target).kind == "img2dataset"
    else:
        files_ = list(target.rglob("*.jpg"))
        assert {hashlib.sha256(p.read_bytes()).hexdigest() for p in files_} == liked
    if shape == "imagefolder":
        assert {p.parent.name for p in files_} == {"liked"}
        assert (target / "train" / "metadata.csv").is_file()
    if shape == "fiftyone":
        content = json.loads((target / "labels.json").read_text(encoding="utf-8"))
        assert set(content["labels"]) == liked
        assert content["classes"] == ["liked"]
    with pytest.raises(UsageError, match="holds something already"):
        export(study, "pictures", target, shape=shape)


def test_the_command_and_the_card(study: Study, tmp_path: Path, capsys: Any) -> None:
    path = tmp_path / "labels.csv"
    assert cli.run(["export", str(study.root), "labels", "-o", str(path), "--json"]) == 0
    about = json.loads(capsys.readouterr().out)
    assert about["rows"] == study.require("labels").rows
    text = Path(about["card"]).read_text(encoding="utf-8")
    assert study.require("labels").fingerprint in text
    assert "Licence" in text
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "likewise.toml").write_text("", encoding="utf-8")
    assert cli.run(["export", str(empty), "-o", str(path)]) != 0
