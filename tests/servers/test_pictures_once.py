"""Bytes that several posts share stand once; what is stored is compared with what was fetched."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from kept_posts import keep, rows_of
from misbehaving import Misbehaving, picture

from collectors.download import download
from likewise.cli import run
from likewise.errors import StudyError
from likewise.nights import end_night, nights
from likewise.pictures import picture_bytes
from likewise.stage import Stage
from likewise.study import Study
from likewise.tables import FETCHED, FETCHES, PICTURES, check_schema
from likewise.upgrading import upgrade

Make = Callable[..., Study]


def files_of(study: Study) -> dict[str, bytes]:
    """picture_id -> bytes; no picture is there twice."""
    rows = study.read("pictures", ["picture_id", "bytes"]).to_pylist()
    found = {row["picture_id"]: row["bytes"] for row in rows}
    assert len(found) == len(rows) == study.require("pictures").rows
    return found


def test_bytes_that_ten_posts_share_stand_once(server: Misbehaving, make_study: Make) -> None:
    urls = [server.url(f"/ok/{number % 3}") for number in range(30)]
    study = make_study([*urls, server.url("/html")], max_attempts=1)
    assert run(["download", str(study.root)]) == 3
    files = files_of(study)
    assert files == {hashlib.sha256(p).hexdigest(): p for p in map(picture, range(3))}
    fetches = study.read("fetches").to_pylist()
    assert len(fetches) == 31
    shown = {row["picture_id"] for row in fetches if row["status"] == "ok"}
    assert shown == set(files)
    before, parts = study.require("pictures"), study.parts("pictures")
    keep(study, [server.url(f"/ok/{number % 3}") for number in range(40)])
    download(study)
    assert study.read("fetches").num_rows == 40
    assert study.parts("pictures") == parts, "no picture is new, nor is anything of the table"
    assert study.require("pictures").fingerprint == before.fingerprint


@pytest.mark.slow
def test_nights_of_few_pictures_leave_few_parts(server: Misbehaving, make_study: Make) -> None:
    urls: list[str] = []
    study = make_study([])
    for night in range(12):
        urls += [server.url(f"/ok/{2 * night}"), server.url(f"/ok/{2 * night + 1}")]
        keep(study, urls)
        download(study)
        assert len(study.parts("pictures")) <= 9
        assert len(files_of(study)) == len(urls) == len(server.seen)


def test_stricter_rules_take_a_picture_out_and_leave_the_others(
    server: Misbehaving, make_study: Make
) -> None:
    urls = [server.url("/ok/1"), server.url("/ok/1"), server.url("/square")]
    study = make_study(urls)
    download(study)
    small = hashlib.sha256(picture(1)).hexdigest()
    large = next(one for one in files_of(study) if one != small)
    sizes = study.read("pictures", ["picture_id", "width"]).to_pylist()
    assert {row["picture_id"]: row["width"] for row in sizes} == {small: 320, large: 400}
    strict = make_study(urls, min_side=300)
    download(strict)
    assert set(files_of(strict)) == {large}
    states = [rows_of(strict)[f"{number:05d}"]["error_class"] for number in range(3)]
    assert states == ["too_small", "too_small", None]
    assert len(server.seen) == 3


@pytest.mark.parametrize("flip", ["in the file", "on the disk"])
def test_a_changed_picture_is_named_and_fetched_again(
    server: Misbehaving, make_study: Make, flip: str
) -> None:
    study = make_study([server.url(f"/ok/{number % 6}") for number in range(12)])
    download(study)
    good = files_of(study)
    part = Path(study.parts("pictures")[0])
    data = bytearray(part.read_bytes())
    place = data.index(picture(2)[100:140])
    if flip == "on the disk":
        data[place] ^= 1
        part.write_bytes(data)
        bad = 6  # a page's checksum is wrong: its whole row group is in doubt
    else:  # by whoever wrote the part, under a checksum that is right
        rows = pq.read_table(part).to_pylist()
        for row in rows:
            if row["bytes"] == picture(2):
                row["bytes"] = row["bytes"][:-3] + b"xxx"
        table = pa.Table.from_pylist(rows, PICTURES.schema)
        # Not smaller than it was: a part that is would count as cut off.
        pq.write_table(table, part, compression="none", use_dictionary=False)
        bad = 1
    with pytest.raises(StudyError) as told:
        dict(picture_bytes(study, good))
    assert "--retry damaged" in str(told.value.hint)
    asked = len(server.seen)
    assert run(["download", "--retry", "damaged", str(study.root)]) == 0
    assert files_of(study) == good
    assert len(server.seen) - asked == 2 * bad, "of each post that shows it"
    download(study, retry="damaged")
    assert len(server.seen) - asked == 2 * bad


def test_killed_between_the_two_tables(
    server: Misbehaving, make_study: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = make_study([server.url(f"/ok/{number % 4}") for number in range(8)])
    exchange = Stage.exchange

    def killed(self: Stage, *arguments: Any, **options: Any) -> Any:
        if self.table == "fetches":
            raise KeyboardInterrupt
        return exchange(self, *arguments, **options)

    for number in (1, 2):
        monkeypatch.setattr(Stage, "exchange", killed)
        with pytest.raises(KeyboardInterrupt):
            download(study)
        monkeypatch.setattr(Stage, "exchange", exchange)
        manifest = download(study)
        assert manifest.rows == 8 * number and len(files_of(study)) == 4 * number
        assert len(server.seen) == 8 * number
        keep(study, [server.url(f"/ok/{one % 8}") for one in range(16)])


# -- studies of the layout before -----------------------------------------------------------


def wide(study: Study) -> pa.Table:
    """The rows of both tables in one, as ``pictures`` once was."""
    facts = {row["picture_id"]: row for row in study.read("pictures").to_pylist()}
    rows = []
    for row in study.read("fetches").to_pylist():
        there = facts.get(row["picture_id"], {}) if row["status"] == "ok" else {}
        names = ("bytes", "format", "orientation", "phash")
        rows.append({**row, **{name: there.get(name) for name in names}})
    return pa.Table.from_pylist(rows, FETCHED)


def set_back(study: Study, layout: str) -> None:
    """Make the study one of an earlier likewise, with bucketed parts of wide rows."""
    table, said = wide(study), study.require("fetches")
    tables = study.root / "tables"
    for name in ("fetches", "pictures"):
        shutil.rmtree(tables / name)
    buckets = study.config.download.buckets
    of = table["bucket"].to_pylist()
    parts = [table.filter(pa.array([b == n for b in of], pa.bool_())) for n in range(buckets)]
    if layout == "delta":
        stage = Stage(study, "pictures", dict(said.made_from), buckets)
        for number, part in enumerate(parts):
            with stage.bucket(number) as folder:
                pq.write_table(part, folder / "part-0000.parquet", row_group_size=3)
        kept = {name: said.extra[name] for name in ("kept_posts", "content")}
        stage.publish(**kept)
        return
    for number, part in enumerate(parts):
        folder = tables / "pictures" / said.fingerprint / f"bucket={number:04d}"
        folder.mkdir(parents=True)
        pq.write_table(part, folder / "part-0000.parquet", row_group_size=3)
    old = {**said.to_dict(), "table": "pictures"}
    (tables / "pictures" / "_table.json").write_text(json.dumps(old), encoding="utf-8")


def sorted_rows(study: Study, table: str) -> list[dict[str, Any]]:
    return sorted(study.read(table).to_pylist(), key=str)


@pytest.mark.parametrize("layout", ["delta", "folders"])
def test_an_older_study_is_refused_and_converted(
    server: Misbehaving, make_study: Make, layout: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    urls = [server.url(f"/ok/{number % 5}") for number in range(20)]
    study = make_study([*urls, server.url("/robots?noai")], buckets=4)
    download(study)
    before = {table: sorted_rows(study, table) for table in ("fetches", "pictures")}
    asked = len(server.seen)
    set_back(study, layout)
    with pytest.raises(StudyError) as refused:
        download(study)
    assert "likewise upgrade" in str(refused.value.hint)
    if layout == "delta":
        with pytest.raises(StudyError) as refused:
            study.grow("faces", {}, ["pictures"])
        assert "likewise upgrade" in str(refused.value.hint)
        end_night(study)
    # Killed between the two tables: what there is cannot be taken for a study.
    with monkeypatch.context() as killed:
        killed.setattr("likewise.upgrading._fetches_apart", lambda _: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            upgrade(study)
    with pytest.raises(StudyError) as refused:
        download(study)
    assert "likewise upgrade" in str(refused.value.hint)
    assert upgrade(study) == ["fetches", "pictures"]
    assert {table: sorted_rows(study, table) for table in before} == before
    check_schema(study.dataset("fetches").schema, FETCHES.schema, "fetches")
    check_schema(study.dataset("pictures").schema, PICTURES.schema, "pictures")
    assert nights(study) == [], "they held pictures in the older way"
    assert upgrade(study) == []
    download(study)
    assert len(server.seen) == asked
    keep(study, [*urls, *(server.url(f"/ok/{number}") for number in range(4, 8))])
    download(study)
    assert len(files_of(study)) == 8 and study.read("fetches").num_rows == 24
