"""Where imported pictures lie: paths that lead outside, links, archives, bombs, and the bytes."""

from __future__ import annotations

import io
import os
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from import_files import outcomes

from collectors.collect import collect
from collectors.downloading.local import LocalFiles
from collectors.forget import forget
from collectors.import_ import import_
from collectors.imports import unpacking
from collectors.imports.base import Options
from collectors.imports.places import address, host_name, is_imported
from collectors.imports.trees import Folder, TarTree, ZipTree, open_tree
from collectors.refresh import refresh
from likewise.errors import DataError, UsageError
from likewise.study import Study

Pictures = Callable[..., list[str]]


def table(source: Path, *paths: str) -> Path:
    path = source / "posts.csv"
    lines = [f'{number},4,a,"{one}"' for number, one in enumerate(paths)]
    path.write_text("\n".join(["id,likes,author,picture", *lines]) + "\n", encoding="utf-8")
    return path


def test_pictures_are_read_where_they_lie(study: Study, source: Path, pictures: Pictures) -> None:
    pictures("a.jpg", "sub dir/ä b.jpg", "c.JPG")
    (source / "notes.txt").write_text("x", encoding="utf-8")
    done = import_(study, source)
    assert done.kind == "pictures"
    assert done.refused == (("source/notes.txt", "no picture by its name"),)
    assert collect(study).rows == 3
    assert outcomes(study) == {"a.jpg": "ok", "c.JPG": "ok", "sub dir/ä b.jpg": "ok"}


def test_paths_in_a_table(study: Study, source: Path, pictures: Pictures, tmp_path: Path) -> None:
    pictures("in/a.jpg", "in/b c.jpg", "in/d.jpg", "in/e.jpg")
    (tmp_path / "secret.jpg").write_bytes((source / "in/a.jpg").read_bytes())
    (source / "link.jpg").symlink_to(tmp_path / "secret.jpg")
    (source / "loop.jpg").symlink_to(source / "loop.jpg")
    os.mkfifo(source / "pipe.jpg")
    path = table(
        source, "in/a.jpg", "in\\b c.jpg", str(source / "in/d.jpg"), "in/../in/e.jpg",
        "../secret.jpg", str(tmp_path / "secret.jpg"), "link.jpg", "loop.jpg", "gone.jpg",
        "file:///etc/passwd", "ftp://x.example/a.jpg", "pipe.jpg", "in",
    )  # fmt: skip
    done = import_(study, path)
    refused = dict(done.refused)
    for line in (6, 7, 11):
        assert "outside of" in refused[f"posts.csv:{line}"]
    assert "not read" in refused["posts.csv:12"]
    found = outcomes(study)
    assert {found[str(k)] for k in range(4)} == {"ok"}
    assert found["6"] == "file_outside"
    assert {found[k] for k in ("7", "8")} == {"file_missing"}
    assert {found[k] for k in ("11", "12")} == {"file_unreadable"}


def test_the_wrong_folder_is_said(study: Study, source: Path, pictures: Pictures) -> None:
    pictures("photos/a.jpg")
    path = table(source, "a.jpg")
    with pytest.raises(DataError, match="none of the first 1 pictures is there") as caught:
        import_(study, path)
    assert "--pictures" in str(caught.value.hint)
    import_(study, path, options=Options(pictures=source / "photos"))
    assert outcomes(study) == {"0": "ok"}


def test_the_same_picture_twice(study: Study, source: Path, pictures: Pictures) -> None:
    pictures("a.jpg")
    (source / "copy.jpg").write_bytes((source / "a.jpg").read_bytes())
    path = source / "posts.csv"
    path.write_text("likes,author,picture\n1,a,a.jpg\n2,a,copy.jpg\n3,a,a.jpg\n", encoding="utf-8")
    done = import_(study, path)
    assert done.refused == (("posts.csv:4", "id given before with another likes"),)
    assert set(outcomes(study).values()) == {"ok"}  # label drops exact copies, as always


def test_a_strangers_post_reads_no_file(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"x")
    local = LocalFiles({"mine.import": str(tmp_path)}, 100)
    assert local.read("mine.import", address("a.jpg")).body == b"x"
    assert local.read("pixelfed.example", address("a.jpg")).error_class == "import_unknown"
    assert local.read("mine.import", address("../x")).error_class in {
        "file_missing",
        "file_outside",
    }
    (tmp_path / "big").write_bytes(b"x" * 101)
    assert local.read("mine.import", address("big")).error_class == "too_large"
    assert not is_imported("pixelfed.example")
    assert is_imported(host_name("../Evil Name!")) and "/" not in host_name("../Evil Name!")


def test_folders_that_are_links_are_not_entered(
    study: Study, source: Path, pictures: Pictures
) -> None:
    pictures("a.jpg")
    (source / "again").symlink_to(source)
    done = import_(study, source)
    assert (done.posts, done.refused) == (1, (("source/again", "link to a folder"),))


def packed(source: Path, target: Path, mode: str) -> Path:
    if mode == "zip":
        with zipfile.ZipFile(target, "w") as file:
            for path in sorted(source.rglob("*")):
                file.write(path, path.relative_to(source))
    else:
        with tarfile.open(target, mode) as tar:  # type: ignore[call-overload]
            tar.add(source, ".")
    return target


@pytest.mark.parametrize(("name", "mode"), [("a.zip", "zip"), ("a.tar", "w"), ("a.tar.gz", "w:gz")])
def test_archives(
    study: Study, source: Path, pictures: Pictures, tmp_path: Path, name: str, mode: str
) -> None:
    pictures("a.jpg", "deep/b.jpg")
    done = import_(study, packed(source, tmp_path / name, mode))
    assert done.posts == 2
    assert set(outcomes(study).values()) == {"ok"}


def test_names_in_archives_are_no_paths(study: Study, tmp_path: Path) -> None:
    data = b"not a picture"
    evil = tmp_path / "evil.tar"
    with tarfile.open(evil, "w") as tar:
        for name in ("../../out.jpg", "/etc/out.jpg"):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        link = tarfile.TarInfo("link.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    tree = TarTree(evil)
    assert [str(e.path) for e in tree.files()] == ["etc/out.jpg", "out.jpg"]
    assert tree.refused == [("evil.tar/link.jpg", "no plain file in the archive")]
    assert tree.read("out.jpg") == data
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as file:
        file.writestr("../../out.jpg", data)
    assert ZipTree(tmp_path / "evil.zip").read("out.jpg") == data
    assert not (tmp_path.parent / "out.jpg").exists()


def test_a_bomb_is_not_unpacked(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unpacking, "FREE_RATIO", 1_000_000)
    bomb = tmp_path / "bomb.tar.gz"
    with tarfile.open(bomb, "w:gz") as tar:
        info = tarfile.TarInfo("a.jpg")
        info.size = 30_000_000
        tar.addfile(info, io.BytesIO(bytes(30_000_000)))
    with pytest.raises(DataError, match="unpacks to more than"):
        import_(study, bomb)
    assert not any((study.root / "imports").iterdir())
    cut = tmp_path / "cut.tar.gz"
    whole = packed(study.root, tmp_path / "whole.tar.gz", "w:gz").read_bytes()
    cut.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="cannot be unpacked"):
        import_(study, cut)
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a.json", bytes(3_000_000))
    with pytest.raises(DataError, match="at most 1,000 are read"):
        ZipTree(tmp_path / "bomb.zip").read("a.json", 1000)


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.png", "a.xyz"])
def test_sources_that_are_nothing(study: Study, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"PK\x03\x04 not much")
    with pytest.raises(DataError):
        import_(study, tmp_path / name)
    with pytest.raises(UsageError, match="does not exist"):
        import_(study, tmp_path / "nowhere")


def test_an_empty_folder(study: Study, source: Path) -> None:
    with pytest.raises(DataError, match="holds no file"):
        import_(study, source)


def test_imported_again_replaces_and_keeps_readings(study: Study, source: Path) -> None:
    path = source / "posts.csv"
    path.write_text("id,likes,author,followers\n1,2,a,10\n2,3,b,20\n", encoding="utf-8")
    os.utime(path, (1_700_000_000, 1_700_000_000))
    first = import_(study, path)
    assert import_(study, path).manifest == first.manifest  # nothing new: no new version
    path.write_text("id,likes,author,followers\n1,9,a,15\n", encoding="utf-8")
    import_(study, path)
    assert study.read("posts")["likes"].to_pylist() == [9]
    readings = sorted(study.read("authors").select(["author_id", "followers"]).to_pylist(), key=str)
    assert [tuple(r.values()) for r in readings] == [("a", 10), ("a", 15), ("b", 20)]
    other = source / "other.csv"
    other.write_text("id,likes,author\n1,7,c\n", encoding="utf-8")
    import_(study, other)
    assert sorted(study.read("posts")["likes"].to_pylist()) == [7, 9]
    assert refresh(study).rows == 2


def test_forgotten_people_do_not_come_back(study: Study, source: Path, pictures: Pictures) -> None:
    pictures("a.jpg", "b.jpg")
    path = source / "posts.csv"
    path.write_text("id,likes,user,picture\n1,2,@ann,a.jpg\n2,3,bob,b.jpg\n", encoding="utf-8")
    import_(study, path)
    outcomes(study)
    assert forget(study, "@ann")["posts"] == 1
    for name in ("posts", "authors", "kept_posts", "fetches"):
        if "author_id" in study.dataset(name).schema.names:
            assert set(study.read(name)["author_id"].to_pylist()) == {"bob"}
    assert study.read("pictures").num_rows == 1
    done = import_(study, path)
    assert done.dropped == {"forgotten": 1}
    assert study.read("posts")["author_id"].to_pylist() == ["bob"]


def test_a_folder_is_seen_once_for_each_file(source: Path, pictures: Pictures) -> None:
    pictures("a.jpg", "b/c.jpg")
    tree = open_tree(source)
    assert isinstance(tree, Folder)
    assert [str(e.path) for e in tree.files()] == ["a.jpg", "b/c.jpg"]
