"""From what people have to a report, in at most five commands; each report opens in a browser."""

from __future__ import annotations

import datetime as dt
import io
import json
import lzma
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from import_files import picture

from likewise.cli import run
from likewise.study import Study

pytestmark = pytest.mark.slow

SETTINGS = [
    "label.require_faces=false", "label.folds=3", "compare.bootstrap=100",
    "compare.permutations=100", 'compare.classifiers=["linear-svc"]', "faces.detector=none",
]  # fmt: skip
AUTHORS, EACH = 12, 5


def world() -> list[dict[str, Any]]:
    """Posts of ordinary authors; likes follow nothing, since the walk is what is tested."""
    random = np.random.default_rng(4)
    followers = random.integers(200, 900, AUTHORS)
    return [
        {
            "id": f"{a:02d}{k}", "user": f"user{a}", "followers": int(followers[a]),
            "likes": int(random.integers(1, 200)), "seed": a * 100 + k,
            "date": f"2023-0{1 + k}-1{a % 10}T08:00:00Z",
        }
        for a in range(AUTHORS)
        for k in range(EACH)
    ]  # fmt: skip


def init(study: Path, *more: str) -> None:
    given = [word for one in (*SETTINGS, *more) for word in ("--set", one)]
    assert run(["init", str(study), *given]) == 0


def opened_in_a_browser(page: Path, folder: Path) -> str:
    """The page's text after a browser has run it."""
    chromium = shutil.which("chromium")
    if chromium is None:
        return page.read_text(encoding="utf-8")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
             f"--user-data-dir={folder / 'browser'}"]  # fmt: skip
    done = subprocess.run(
        [chromium, *flags, "--dump-dom", page.as_uri()],
        check=True, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    return done.stdout


def reported(study: Path, tmp_path: Path) -> str:
    text = opened_in_a_browser(study / "reports" / "report.html", tmp_path)
    assert "Traceback" not in text
    return text


def test_a_csv_and_a_folder(tmp_path: Path) -> None:
    source = tmp_path / "mine"
    (source / "photos").mkdir(parents=True)
    lines = ["id,user,hearts,followers,date,file"]
    for one in world():
        (source / "photos" / f"{one['id']}.jpg").write_bytes(picture(one["seed"]))
        row = [one["id"], one["user"], one["likes"], one["followers"], one["date"]]
        lines.append(",".join(map(str, [*row, f"photos/{one['id']}.jpg"])))
    (source / "posts.csv").write_text("\n".join(lines), encoding="utf-8")
    study = tmp_path / "study"
    init(study)
    assert run(["import", str(study), str(source / "posts.csv")]) == 0
    assert run(["run", str(study)]) == 0
    assert "held-out" in reported(study, tmp_path) or Study.open(study).require("scores").rows
    assert run(["score", str(study), str(source / "photos" / "000.jpg")]) == 0


def test_an_instaloader_folder(tmp_path: Path) -> None:
    source = tmp_path / "insta"
    for one in world():
        folder = source / one["user"]
        folder.mkdir(parents=True, exist_ok=True)
        stem = f"2023-01-01_{one['id']}_UTC"
        (folder / f"{stem}.jpg").write_bytes(picture(one["seed"]))
        node = {
            "shortcode": f"c{one['id']}", "taken_at_timestamp": 1_680_000_000,
            "owner": {"id": one["user"][4:], "username": one["user"]},
            "edge_media_preview_like": {"count": one["likes"]},
        }  # fmt: skip
        record = {"node": node, "instaloader": {"node_type": "Post", "version": "4.14"}}
        (folder / f"{stem}.json.xz").write_bytes(lzma.compress(json.dumps(record).encode()))
        profile = {
            "id": one["user"][4:], "username": one["user"],
            "edge_followed_by": {"count": one["followers"]},
        }  # fmt: skip
        about = {"node": profile, "instaloader": {"node_type": "Profile", "version": "4.14"}}
        (folder / f"{one['user']}.json.xz").write_bytes(lzma.compress(json.dumps(about).encode()))
    study = tmp_path / "study"
    init(study)
    assert run(["import", str(study), str(source)]) == 0
    assert run(["run", str(study)]) == 0
    assert Study.open(study).require("scores").rows
    reported(study, tmp_path)


def test_img2dataset_shards(tmp_path: Path) -> None:
    source = tmp_path / "shards"
    source.mkdir()
    rows = world()
    keys = [f"{n:09d}" for n in range(len(rows))]
    with tarfile.open(source / "00000.tar", "w") as tar:
        for key, one in zip(keys, rows, strict=True):
            data = picture(one["seed"])
            info = tarfile.TarInfo(f"{key}.jpg")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    table = {"key": keys, "status": ["success"] * len(keys)}
    table |= {n: [one[n] for one in rows] for n in ("user", "likes", "followers", "date")}
    pq.write_table(pa.table(table), source / "00000.parquet")
    study = tmp_path / "study"
    init(study)
    assert run(["import", str(study), str(source)]) == 0
    assert run(["run", str(study)]) == 0
    assert Study.open(study).require("scores").rows
    reported(study, tmp_path)


def test_class_folders(tmp_path: Path, shared: Path) -> None:
    source = tmp_path / "classes"
    for name in sorted(p.name for p in (shared / "images" / "caltech101").iterdir())[:3]:
        (source / name).mkdir(parents=True)
        for path in sorted((shared / "images" / "caltech101" / name).glob("*.jpg"))[:20]:
            shutil.copy(path, source / name)
    study = tmp_path / "study"
    init(study, "question.kind=classes", "download.min_side=100", "label.target=likes")
    assert run(["import", str(study), str(source), "--set", "date=2020-01-01"]) == 0
    assert run(["run", str(study)]) == 0
    labels = Study.open(study).read("labels", ["class"])["class"].to_pylist()
    assert set(labels) == {path.name for path in source.iterdir()}
    text = reported(study, tmp_path)
    assert all(path.name in text for path in source.iterdir())


def test_a_mastodon_archive(tmp_path: Path) -> None:
    source = tmp_path / "archive"
    (source / "media_attachments").mkdir(parents=True)
    actor = {"id": "https://m.example/users/ann", "preferredUsername": "ann", "type": "Person"}
    (source / "actor.json").write_text(json.dumps(actor), encoding="utf-8")
    items, random = [], np.random.default_rng(6)
    for number in range(150):
        name = f"media_attachments/{number}.jpg"
        (source / name).write_bytes(picture(number))
        day = dt.date(2021, 3, 1) + dt.timedelta(days=4 * number)
        note = {
            "id": f"{actor['id']}/statuses/{number}", "type": "Note",
            "published": f"{day}T08:00:00Z",
            "likes": {"type": "Collection", "totalItems": int(random.integers(1, 90))},
            "to": ["https://www.w3.org/ns/activitystreams#Public"],
            "attachment": [{"mediaType": "image/jpeg", "url": f"/{name}"}],
        }  # fmt: skip
        items.append({"type": "Create", "object": note})
    (source / "outbox.json").write_text(json.dumps({"orderedItems": items}), encoding="utf-8")
    study = tmp_path / "study"
    init(study, "label.target=likes")
    assert run(["import", str(study), str(source)]) == 0
    assert run(["run", str(study)]) == 0
    # One author: blocks of time are held out, and the page says whom it speaks about.
    assert Study.open(study).require("labels").extra["group"] == "time"
    assert "this one account only" in reported(study, tmp_path)
