"""One real study, from platform to report: whoever is forgotten is in none of its bytes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from every_byte import found

import likewise
from collectors.forget import forget
from likewise.pictures import picture_bytes
from likewise.study import Study

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_best_pictures_author_is_forgotten_in_a_whole_study(tmp_path: Path) -> None:
    world = ["--authors", "120", "--posts", "300", "--seed", "3"]
    command = [sys.executable, "-m", "infra.demo", "--folder", str(tmp_path), *world]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    root = tmp_path / "study"
    study = Study.open(root)
    galleries = json.loads((root / "reports" / "galleries.json").read_text(encoding="utf-8"))
    pictures = study.read("fetches").to_pylist()
    files = dict(picture_bytes(study, [row["picture_id"] for row in pictures if row["picture_id"]]))
    best = galleries["top"][0]["picture_id"]
    author = next(row["author_id"] for row in pictures if row["picture_id"] == best)
    handles = {a["author_id"]: a["handle"] for a in study.read("authors").to_pylist()}
    shared = {row["picture_id"] for row in pictures if row["author_id"] != author}
    mine = [r for r in pictures if r["author_id"] == author and r["picture_id"] not in shared]
    words = {"id": author.encode(), "handle": handles[author].encode()}
    words |= {f"post {row['post_id']}": row["post_id"].encode() for row in mine}
    here = [row["picture_id"] for row in mine if row["picture_id"] in files]
    words |= {f"hash of {n}": one.encode() for n, one in enumerate(here)}
    words |= {f"bytes of {n}": files[one] for n, one in enumerate(here)}
    assert {what for what, _ in found(root, words)} == set(words)
    with study.lock():
        forget(study, handles[author])
        assert found(root, words) == []
        likewise.rank(study)
        likewise.report(study)
    assert found(root, words) == [], "what is made again is made without them"
