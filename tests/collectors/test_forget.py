"""Forgetting a person and reading counts again, through every table of a study."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from driver import WideMastodon

from collectors.collect import collect_from
from collectors.forget import forget
from collectors.refresh import refresh_from
from infra.sandbox.server import Sandbox, running
from infra.sandbox.world import World, WorldSpec
from likewise.config import render
from likewise.errors import StudyError, UsageError
from likewise.funnel import Funnel
from likewise.nights import end_night
from likewise.study import Study
from likewise.tables import FETCHES, LABELS, PICTURES


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with running(World(WorldSpec(authors=40, posts=300))) as server:
        server.limiter.enabled = False
        yield server


@pytest.fixture
def study(sandbox: Sandbox, tmp_path: Path) -> Study:
    one = {"platform": "mastodon", "host": sandbox.url, "permission": "a test", "tags": ["photo"]}
    text = render({"collect": {"sources": [one], "keep_raw": True}})
    (tmp_path / "likewise.toml").write_text(text, encoding="utf-8")
    opened = Study.open(tmp_path)
    gather(opened)
    return opened


def adapters(study: Study) -> list[WideMastodon]:
    return [WideMastodon(source) for source in study.config.collect.sources]


def gather(study: Study) -> Any:
    return collect_from(study, adapters(study))


def publish(study: Study, name: str, rows: list[dict[str, Any]], schema: pa.Schema) -> None:
    """A later stage's table, as small as can be."""
    filled = []
    for row in rows:
        blank = {f.name: None if f.nullable else _zero(f.type) for f in schema}
        filled.append({**blank, **row})
    stage = study.begin(name, inputs=["posts"])
    stage.write(pa.Table.from_pylist(filled, schema=schema))
    stage.publish(funnel=Funnel(name, "rows", len(rows), len(rows)))


def _zero(kind: pa.DataType) -> Any:
    return "" if pa.types.is_string(kind) else 0


def later_tables(study: Study) -> None:
    posts = study.read("posts").to_pylist()
    keys = ("platform", "host", "post_id", "author_id")
    pictures = [
        {**{k: p[k] for k in keys}, "picture_id": f"pic-{i}", "status": "ok"}
        for i, p in enumerate(posts)
    ]
    shared = {"author_id": pictures[-1]["author_id"], "post_id": pictures[-1]["post_id"]}
    publish(
        study, "fetches", [*pictures, {**pictures[0], **shared, "media_index": 1}], FETCHES.schema
    )
    files = [{"picture_id": p["picture_id"], "bytes": b"x" * 10} for p in pictures]
    publish(study, "pictures", files, PICTURES.schema)
    publish(study, "labels", [{k: v for k, v in p.items() if k in LABELS.schema.names}
                              for p in pictures], LABELS.schema)  # fmt: skip
    only = pa.schema([pa.field("picture_id", pa.string()), pa.field("detector", pa.string())])
    publish(study, "faces", [{"picture_id": p["picture_id"]} for p in pictures], only)


def everything(study: Study) -> dict[str, bytes]:
    """All bytes of the study but its Parquet files, and its tables as text."""
    tables = sorted((study.root / "tables").iterdir())
    texts = {p.name: str(study.read(p.name).to_pylist()).encode() for p in tables}
    files = [p for p in study.root.rglob("*") if p.is_file() and p.suffix != ".parquet"]
    return texts | {str(p): p.read_bytes() for p in files}


def test_forget_deletes_a_person_everywhere(study: Study, sandbox: Sandbox) -> None:
    later_tables(study)
    gallery = study.folder("reports", "galleries") / "top.png"
    gallery.write_bytes(b"a face")
    prints = {n: study.manifest(n).fingerprint for n in ("posts", "authors", "pictures")}
    first = study.read("posts").to_pylist()[0]["author_id"]
    handle = next(a["handle"] for a in study.read("authors").to_pylist() if a["author_id"] == first)
    mine = [p["post_id"] for p in study.read("posts").to_pylist() if p["author_id"] == first]
    assert first.encode() in b"".join(everything(study).values())

    erased = forget(study, f"@{handle}")

    assert erased["posts"] == erased["labels"] == len(mine)
    left = everything(study)
    for name in (first, handle, *mine):
        assert not [where for where, text in left.items() if name.encode() in text]
    assert not gallery.exists()
    assert {n: study.manifest(n).fingerprint for n in prints} == prints
    for table in ("posts", "fetches", "pictures", "labels", "faces"):
        manifest = study.manifest(table)
        assert manifest.rows == study.read(table).num_rows
        Funnel.from_dict(manifest.funnel)
    # Their first picture is shown by somebody else too, so it stays for that one.
    for table in ("fetches", "pictures", "faces"):
        assert "pic-0" in study.read(table)["picture_id"].to_pylist()
    # With that one it goes.
    last = study.read("posts").to_pylist()[-1]["author_id"]
    forget(study, last)
    for table in ("fetches", "pictures", "faces"):
        assert "pic-0" not in study.read(table)["picture_id"].to_pylist()
    assert set(study.read("fetches")["picture_id"].to_pylist()) == set(
        study.read("pictures")["picture_id"].to_pylist()
    )
    assert gather(study).fingerprint == prints["posts"], "what is left counts as published"


def test_a_forgotten_person_is_not_collected_again(study: Study, sandbox: Sandbox) -> None:
    author = study.read("posts").to_pylist()[0]["author_id"]
    forget(study, author)
    toml = study.root / "likewise.toml"
    toml.write_text(toml.read_text().replace('tags = ["photo"]', 'tags = ["photo", "people"]'))
    again = Study.open(study.root)
    manifest = gather(again)
    assert manifest.funnel["dropped"]["forgotten"] > 0
    assert author not in again.read("posts")["author_id"].to_pylist()
    assert author.encode() not in (study.root / "journal.sqlite").read_bytes()


def test_nobody_is_left_in_an_earlier_version_or_an_orphan(study: Study, sandbox: Sandbox) -> None:
    later_tables(study)
    end_night(study)
    first = study.read("posts").to_pylist()[0]["author_id"]
    stage = study.begin("posts", params={"night": 2}, redo=True)
    stage.write(study.read("posts").filter(pc.not_equal(study.read("posts")["author_id"], first)))
    stage.publish()
    end_night(study)
    pq.write_table(
        Study.open(study, at=1).read("posts"), study.root / "tables/posts/orphan.parquet"
    )
    assert first in Study.open(study, at=1).read("posts")["author_id"].to_pylist()
    forget(study, first)
    files = [path for path in (study.root / "tables").rglob("*") if path.is_file()]
    parts = [path for path in files if path.suffix == ".parquet"]
    assert parts and len(files) > len(parts)
    for path in parts:
        assert first not in str(pq.ParquetFile(path).read().to_pylist())
    assert not [path for path in files if first.encode() in path.read_bytes()]
    with pytest.raises(StudyError, match="no run had ended"):
        Study.open(study, at=1)


def test_a_lost_journal_does_not_bring_a_forgotten_person_back(
    study: Study, sandbox: Sandbox
) -> None:
    author = study.read("posts").to_pylist()[0]["author_id"]
    forget(study, author)
    for path in study.root.glob("journal.sqlite*"):
        path.unlink()
    manifest = gather(study)
    assert manifest.funnel["dropped"]["forgotten"] > 0
    assert author not in study.read("posts")["author_id"].to_pylist()


def test_nobody_of_that_name(study: Study) -> None:
    with pytest.raises(UsageError, match="no author"):
        forget(study, "nobody-at-all")


def test_refresh_reads_counts_again_and_drops_what_was_deleted(
    study: Study, sandbox: Sandbox
) -> None:
    later_tables(study)
    before = study.manifest("posts")
    ids = study.read("posts")["post_id"].to_pylist()
    sandbox.delete_posts(ids[:3])
    sandbox.set_likes(ids[5], 4321)
    manifest = refresh_from(study, adapters(study))
    assert manifest.fingerprint != before.fingerprint
    assert manifest.funnel["dropped"]["deleted_upstream"] == 3
    rows = {row["post_id"]: row for row in study.read("posts").to_pylist()}
    assert set(rows) == set(ids[3:])
    assert rows[ids[5]]["likes"] == 4321
    assert not set(ids[:3]) & set(study.read("fetches")["post_id"].to_pylist())
    assert not set(ids[:3]) & set(study.read("labels")["post_id"].to_pylist())
    assert gather(study).fingerprint == manifest.fingerprint
