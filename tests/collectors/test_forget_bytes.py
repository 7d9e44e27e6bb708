"""Whoever is forgotten is not found again in any byte of the study."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from driver import WideMastodon
from every_byte import found

from collectors.collect import collect_from
from collectors.crawling.raw import without
from collectors.downloading.spool import Parts
from collectors.forget import forget
from collectors.refresh import refresh_from
from infra.sandbox.server import Sandbox, running
from infra.sandbox.world import World, WorldSpec
from likewise.config import render
from likewise.errors import PartialError
from likewise.funnel import Funnel
from likewise.logs import study_log
from likewise.study import Study
from likewise.tables import FETCHED, FETCHES, LABELS, PICTURES, SCORES, bucket_of

BUCKETS = 8
CHECKPOINT = b"\x80\x00\xff a network of days, and by chance \x00person\x00"


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with running(World(WorldSpec(authors=12, posts=60))) as server:
        server.limiter.enabled = False
        yield server


@dataclass
class Person:
    """Who is to be forgotten, and everything by which they could be found."""

    author_id: str
    handle: str
    posts: list[str]
    pictures: dict[str, bytes]

    @property
    def words(self) -> dict[str, bytes]:
        words = {"id": self.author_id.encode(), "handle": self.handle.encode()}
        words |= {f"post {one}": one.encode() for one in self.posts}
        words |= {f"hash {one[:8]}": one.encode() for one in self.pictures}
        return words | {f"bytes {one[:8]}": raw for one, raw in self.pictures.items()}


def adapters(study: Study) -> list[WideMastodon]:
    return [WideMastodon(source) for source in study.config.collect.sources]


def picture(post: dict[str, Any]) -> bytes:
    return b"\xff\xd8 the picture of " + hashlib.sha256(post["post_id"].encode()).digest() * 4


def collected(folder: Path, sandbox: Sandbox, **more: Any) -> tuple[Study, Person]:
    """A study of few posts, in which one author is followed by name too."""
    one = {"platform": "mastodon", "host": sandbox.url, "permission": "a test", "tags": ["photo"]}
    text = render({"collect": {"sources": [{**one, **more}], "keep_raw": True}})
    (folder / "likewise.toml").write_text(text, encoding="utf-8")
    study = Study.open(folder)
    collect_from(study, adapters(study))
    posts = study.read("posts").to_pylist()
    most = max({p["author_id"] for p in posts}, key=[p["author_id"] for p in posts].count)
    handles = {a["author_id"]: a["handle"] for a in study.read("authors").to_pylist()}
    mine = [p for p in posts if p["author_id"] == most]
    pictures = {hashlib.sha256(picture(p)).hexdigest(): picture(p) for p in mine}
    return study, Person(most, handles[most], [p["post_id"] for p in mine], pictures)


def bucketed(study: Study, name: str, schema: pa.Schema, rows: list[dict[str, Any]]) -> None:
    """Publish a table in buckets, most of which are empty, and leave an older version behind."""
    for part in (rows[: len(rows) // 2], rows):
        stage = study.begin(name, inputs=["posts"], params={"n": len(part)}, n_buckets=BUCKETS)
        for bucket in range(BUCKETS):
            mine = [row for row in part if row["bucket"] == bucket]
            with stage.bucket(bucket) as folder:
                table = pa.Table.from_pylist(mine, schema=schema)
                pa.parquet.write_table(table, folder / "part-0000.parquet")
        stage.publish(funnel=Funnel(name, "rows", len(part), len(part)))


def blank(schema: pa.Schema, **given: Any) -> dict[str, Any]:
    def usual(field: pa.Field) -> Any:
        return None if field.nullable else "" if pa.types.is_string(field.type) else 0

    filled = {field.name: usual(field) for field in schema}
    return filled | {name: value for name, value in given.items() if name in filled}


def later_stages(study: Study) -> None:
    """Tables and files as the later stages leave them, with everybody in them."""
    posts = study.read("posts").to_pylist()
    rows = []
    for post in posts:
        raw = picture(post)
        key = {k: post[k] for k in ("platform", "host", "post_id", "author_id")}
        place = bucket_of(post["post_id"], BUCKETS)
        rows.append(
            {**key, "picture_id": hashlib.sha256(raw).hexdigest(), "bytes": raw, "status": "ok",
             "bucket": place, "url": post["media"][0]["url"]}
        )  # fmt: skip
    tables = {"fetches": FETCHES, "pictures": PICTURES, "labels": LABELS, "scores": SCORES}
    for name, spec in tables.items():
        schema = spec.schema
        if "bucket" not in schema.names:
            schema = schema.append(pa.field("bucket", pa.int32()))
        bucketed(study, name, schema, [blank(schema, **row) for row in rows])
    text = json.dumps([{k: str(v) for k, v in row.items()} for row in rows])
    for name in (
        "reports/galleries.json", "reports/report.html", "reports/galleries/index.html",
        "reports/map-files/map.json", "cache/canvases/x/0000.json", "cache/finetune/y/rows.json",
        ".unfinished/labels/z/bucket=0000/notes.json", ".staging/half.json",
    ):  # fmt: skip
        study.folder(*name.split("/")[:-1])
        (study.root / name).write_text(text, encoding="utf-8")
    (study.root / "cache" / "finetune" / "y" / "checkpoint.pt").write_bytes(CHECKPOINT)
    (study.root / "reports" / "galleries" / "top.png").write_bytes(rows[0]["bytes"])
    np.save(study.folder("cache", "canvases", "x") / "0000.npy", np.zeros(4))
    spool = Parts(study.root / "spool" / "pictures", FETCHED)
    spool.write(pa.Table.from_pylist([blank(FETCHED, **r) for r in rows], FETCHED))
    card = {"name": "a model", "data": {"pictures": len(rows), "authors": 12}}
    (study.folder("models", "a-model") / "card.json").write_text(json.dumps(card))
    with study_log(study.root):
        import logging

        for row in rows:
            logging.getLogger("likewise").info("%s of %s failed", row["url"], row["author_id"])
            logging.getLogger("likewise").info("picture %s", row["picture_id"])


def handles_in_logs(study: Study, person: Person) -> None:
    with (study.root / "logs" / "likewise.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps({"message": f"no such page: @{person.handle}"}) + "\n")


def test_no_byte_of_the_study_names_the_forgotten(tmp_path: Path, sandbox: Sandbox) -> None:
    study, person = collected(tmp_path, sandbox)
    toml = tmp_path / "likewise.toml"
    named = f'accounts = ["other", "@{person.handle}"]'
    lines = toml.read_text(encoding="utf-8")
    assert 'tags = ["photo"]' in lines
    lines = re.sub(r"(?m)^accounts = .*\n", "", lines)
    lines = lines.replace('tags = ["photo"]', f'tags = ["photo"]\n{named}')
    toml.write_text(lines, encoding="utf-8")
    study = Study.open(tmp_path)
    with pytest.raises(PartialError):  # nobody is called "other"
        collect_from(study, adapters(study))
    later_stages(study)
    handles_in_logs(study, person)
    # Another process has the journal open: its log of changes is not emptied by closing.
    with sqlite3.connect(study.journal_path) as reader:
        reader.execute("SELECT count(*) FROM posts").fetchone()
    before = {what for what, _ in found(tmp_path, person.words)}
    assert before == set(person.words), "everything was there to be found"
    others = study.read("pictures").num_rows - len(person.posts)

    with study.lock():
        erased = forget(study, f"@{person.handle.upper()}")

    assert erased["pictures"] == len(person.posts)
    assert found(tmp_path, person.words) == []
    assert Study.open(tmp_path).config.collect.sources[0].accounts == ["other"]
    for table in ("fetches", "pictures", "labels", "scores"):
        assert study.read(table).num_rows == study.require(table).rows == others
    assert json.loads((tmp_path / "models" / "a-model" / "card.json").read_text())["name"]
    kept = tmp_path / "cache" / "finetune" / "y" / "checkpoint.pt"
    assert kept.read_bytes() == CHECKPOINT, "a training is not lost with a person"
    text = toml.read_text(encoding="utf-8")
    toml.write_text(text.replace('["photo"]', '["photo", "people"]'), encoding="utf-8")
    again = Study.open(tmp_path)
    with pytest.raises(PartialError):
        collect_from(again, adapters(again))
    manifest = again.require("posts")
    assert manifest.funnel["dropped"]["forgotten"] > 0, "they came again, and were left out"
    refresh_from(again, adapters(again))
    assert found(tmp_path, person.words) == [], (
        "later runs bring nothing back, in raw pages neither"
    )
    assert list((tmp_path / "raw").rglob("*.gz")), "raw pages are kept of the others"
    reader.close()


@pytest.mark.parametrize("posts", [1, 3])
def test_studies_of_hardly_any_posts(tmp_path: Path, posts: int) -> None:
    """Most buckets of their tables are empty, and after the last person all of them are."""
    with running(World(WorldSpec(authors=posts, posts=posts))) as server:
        server.limiter.enabled = False
        study, person = collected(tmp_path, server)
        later_stages(study)
        [gone, *left] = person.posts
        server.delete_posts([gone])
        refresh_from(study, adapters(study), confirm_deletions=True)
        where = {place for _, place in found(tmp_path, {"post": gone.encode()})}
        assert where <= {"journal.sqlite"}, "of a deleted post its key is kept, in the journal"
        for author in set(study.read("posts")["author_id"].to_pylist()):
            later_stages(study)
            forget(study, author)
            assert found(tmp_path, {"id": author.encode()}) == []
        assert found(tmp_path, {k: v for k, v in person.words.items() if k in left}) == []
        for table in ("posts", "fetches", "pictures", "labels", "scores"):
            assert study.read(table).num_rows == study.require(table).rows == 0
        refresh_from(study, adapters(study))


def test_a_file_of_somebody_elses_hand_is_told(tmp_path: Path, sandbox: Sandbox) -> None:
    study, person = collected(tmp_path, sandbox)
    (tmp_path / "notes.md").write_text(f"ask {person.handle} again", encoding="utf-8")
    with pytest.raises(PartialError, match="still name them") as caught:
        forget(study, person.handle)
    assert [item for item, _ in caught.value.failures] == ["notes.md"]
    assert person.handle not in str(caught.value)
    assert (tmp_path / "notes.md").read_text() == f"ask {person.handle} again"


def test_a_journal_that_somebody_reads_is_told(tmp_path: Path, sandbox: Sandbox) -> None:
    study, person = collected(tmp_path, sandbox)
    reader = sqlite3.connect(study.journal_path)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM posts").fetchone()
    with pytest.raises(PartialError) as caught:
        forget(study, person.handle)
    assert [item for item, _ in caught.value.failures] == ["journal.sqlite"]
    reader.close()
    assert found(tmp_path, person.words) == [], "it goes when that process ends"


@pytest.mark.parametrize("at", ["erase", "refresh_digests"])
def test_a_killed_run_is_taken_up_by_the_next(
    tmp_path: Path, sandbox: Sandbox, at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, person = collected(tmp_path, sandbox)
    later_stages(study)

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(f"collectors.forget.{at}", killed)
        with pytest.raises(KeyboardInterrupt):
            forget(study, person.handle)
    if at == "refresh_digests":
        collect_from(study, adapters(study))
    else:
        forget(study, person.handle)
    assert found(tmp_path, person.words) == []


def test_handles_with_their_server_and_studies_without_a_journal(
    tmp_path: Path, sandbox: Sandbox
) -> None:
    study, person = collected(tmp_path, sandbox)
    study.journal_path.unlink()
    for suffix in ("-wal", "-shm"):
        Path(f"{study.journal_path}{suffix}").unlink(missing_ok=True)
    host = sandbox.url.removeprefix("http://")
    erased = forget(study, f"{person.handle}@{host}")
    assert erased["posts"] == len(person.posts)
    assert found(tmp_path, person.words) == []


def test_raw_pages_leave_out_who_opted_out() -> None:
    page = {
        "feed": [
            {"post": {"uri": "at://a/1", "author": {"did": "a"}}, "reply": None},
            {"post": {"uri": "at://b/2", "author": {"did": "b"}}},
        ],
        "statuses": [{"id": "7", "account": {"id": "a"}}, {"id": 8, "account": {"id": "c"}}, None],
        "cursor": "a",
    }
    assert without(page, {"a", "8"}) == {
        "feed": [{"post": {"uri": "at://b/2", "author": {"did": "b"}}}],
        "statuses": [None],
        "cursor": "a",
    }
    assert without(page, set()) == page


def test_raw_pages_hold_nobody_who_opted_out(tmp_path: Path, sandbox: Sandbox) -> None:
    study, _ = collected(tmp_path, sandbox)
    with sqlite3.connect(study.journal_path) as db:
        out = db.execute("SELECT author_id FROM posts WHERE flags LIKE '%noindex%'").fetchall()
    db.close()
    pages = b"".join(gzip.decompress(p.read_bytes()) for p in (tmp_path / "raw").rglob("*.gz"))
    assert b'"id"' in pages
    assert not [one for (one,) in out if one.encode() in pages]
