"""What an import does not change is not written anew: the published parts keep their names."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pyarrow as pa
import pytest

from collectors.collect import collect
from collectors.forget import forget
from collectors.import_ import import_
from collectors.imports.publishing import MOST_PARTS
from infra.sandbox import World, WorldSpec, running
from likewise.config import render
from likewise.errors import StudyError
from likewise.study import Study

TABLES = ("posts", "authors", "post_counts")


@pytest.fixture(scope="module")
def collected(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study with posts of a server, made once."""
    folder = tmp_path_factory.mktemp("collected")
    with running(World(WorldSpec(authors=8, posts=40))) as server:
        server.limiter.enabled = False
        source = {
            "platform": "mastodon", "host": server.url, "permission": "a test", "tags": ["photo"],
        }  # fmt: skip
        text = render({"collect": {"sources": [source]}})
        (folder / "likewise.toml").write_text(text, encoding="utf-8")
        collect(folder)
    return folder


@pytest.fixture
def mixed(collected: Path, tmp_path: Path) -> Study:
    return Study.open(shutil.copytree(collected, tmp_path / "mixed"))


def table(folder: Path, name: str, likes: int, at: int = 1_700_000_000) -> Path:
    path = folder / f"{name}.csv"
    path.write_text(
        f"id,likes,author,followers,picture\n1,{likes},{name},10,https://x.example/1.jpg\n"
    )
    os.utime(path, (at, at))
    return path


def parts(study: Study) -> dict[str, set[str]]:
    return {name: set(study.store.facts(name)) for name in TABLES}


def rows(study: Study, name: str) -> list[str]:
    return sorted(map(str, study.read(name).to_pylist()))


def test_parts_of_a_collection_and_of_other_imports_stay(mixed: Study, tmp_path: Path) -> None:
    before, posts = parts(mixed), rows(mixed, "posts")
    assert all(before.values())
    import_(mixed, table(tmp_path, "one", 5))
    with_one = parts(mixed)
    import_(mixed, table(tmp_path, "two", 6))
    both = parts(mixed)
    import_(mixed, table(tmp_path, "one", 7, at=1_700_000_500))
    after = parts(mixed)
    for name in TABLES:
        assert before[name] < with_one[name] < both[name]
        assert len(with_one[name]) == len(before[name]) + 1
        # The second import's part stays when the first source is read again.
        assert both[name] - with_one[name] <= after[name]
        assert before[name] <= after[name]
    # Readings stay beside the newer ones; posts are replaced.
    assert with_one["authors"] < after["authors"] and with_one["post_counts"] < after["post_counts"]
    assert len(after["posts"]) == len(both["posts"])
    found = mixed.read("posts").filter(pa.compute.ends_with(mixed.read("posts")["host"], ".import"))
    assert sorted(found["likes"].to_pylist()) == [6, 7]
    counts = mixed.read("post_counts").to_pylist()
    assert sorted(r["likes"] for r in counts if r["source"] == "imported") == [5, 6, 7]
    assert set(posts) < set(rows(mixed, "posts"))


def test_a_collection_keeps_the_parts_of_imports(collected: Path, tmp_path: Path) -> None:
    folder = tmp_path / "study"
    with running(World(WorldSpec(authors=8, posts=40))) as server:
        server.limiter.enabled = False
        source = {
            "platform": "mastodon", "host": server.url, "permission": "a test", "tags": ["photo"],
        }  # fmt: skip
        folder.mkdir()
        text = render({"collect": {"sources": [source]}})
        (folder / "likewise.toml").write_text(text, encoding="utf-8")
        study = Study.open(folder)
        import_(study, table(tmp_path, "one", 5))
        import_(study, table(tmp_path, "two", 6))
        before, manifest = parts(study), study.require("posts")
        collect(study)
        after = parts(study)
        assert all(before[name] < after[name] for name in TABLES)
        assert study.require("posts").rows == 2 + len(Study.open(collected).read("posts"))
        named = study.require("posts").fingerprint
        assert named != manifest.fingerprint
        # An import brings the name that a collection would give the same rows: nothing below it
        # is made anew by a collection without news.
        import_(study, table(tmp_path, "two", 8))
        named = study.require("posts").fingerprint
        collect(study)
        assert study.require("posts").fingerprint == named


def test_a_part_of_an_older_version_is_parted(mixed: Study, tmp_path: Path) -> None:
    """Imports used to write all rows into two parts; those rows go on as they were."""
    import_(mixed, table(tmp_path, "one", 5))
    everything = {name: rows(mixed, name) for name in TABLES}
    for name in TABLES:
        manifest = mixed.require(name)
        stage = mixed.begin(name, params={"rows": "old"}, redo=True)
        stage.write(mixed.read(name))
        stage.publish(**manifest.extra)
        assert all(part.startswith("part-") for part in parts(mixed)[name])
    import_(mixed, table(tmp_path, "two", 6))
    assert sum(len(mixed.read(name)) for name in TABLES) == 3 + sum(map(len, everything.values()))
    for name in TABLES:
        assert set(everything[name]) < set(rows(mixed, name))


def test_readings_do_not_pile_up(mixed: Study, tmp_path: Path) -> None:
    times = MOST_PARTS + 4
    for n in range(times):
        import_(mixed, table(tmp_path, "one", n, at=1_700_000_000 + n))
    counts = mixed.read("post_counts").to_pylist()
    assert sorted(r["likes"] for r in counts if r["source"] == "imported") == list(range(times))
    assert len([p for p in parts(mixed)["post_counts"] if p.startswith("import-")]) < MOST_PARTS


def test_a_lost_part_is_brought_back_by_its_import(mixed: Study, tmp_path: Path) -> None:
    one = import_(mixed, table(tmp_path, "one", 5)).manifest
    import_(mixed, table(tmp_path, "two", 6))
    [part] = [p for p in mixed.store.facts("posts") if p.startswith("import-one-")]
    Path(mixed.store.place("posts"), part).unlink()
    import_(mixed, table(tmp_path, "two", 7))
    assert part in mixed.store.facts("posts"), "another import must not hide the loss"
    with pytest.raises(StudyError, match="import-one-") as caught:
        mixed.begin("kept_posts", inputs=["posts"])
    assert "likewise import" in str(caught.value.hint)
    import_(mixed, table(tmp_path, "one", 5))
    assert mixed.begin("kept_posts", inputs=["posts"])
    assert sorted(r["likes"] for r in mixed.read("posts").to_pylist() if r["post_id"] == "1") == [
        5,
        7,
    ]
    assert one.rows


def test_a_forgotten_person_leaves_the_parts_of_others(mixed: Study, tmp_path: Path) -> None:
    import_(mixed, table(tmp_path, "one", 5))
    import_(mixed, table(tmp_path, "two", 6))
    before = parts(mixed)
    forget(mixed, "@one")
    for name in TABLES:
        gone = before[name] - parts(mixed)[name]
        assert len(gone) == 1 and next(iter(gone)).startswith("import-one-")
