"""Files and folders written whole: what is seen before, during, after, and after a fault."""

from __future__ import annotations

from pathlib import Path

import pytest

from likewise.whole import sweep, whole_file, whole_folder, write_bytes


def test_a_file_takes_its_name_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "below" / "a.bin"
    write_bytes(path, b"old")
    with whole_file(path) as staged:
        staged.write_bytes(b"new")
        assert path.read_bytes() == b"old" and staged.parent == path.parent
    assert path.read_bytes() == b"new" and list(path.parent.iterdir()) == [path]


def test_after_a_fault_the_old_file_stays_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    write_bytes(path, b"old")
    with pytest.raises(ZeroDivisionError), whole_file(path) as staged:
        staged.write_bytes(b"half" * (1 // 0))
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(("replace", "expected"), [(False, "first"), (True, "second")])
def test_the_first_folder_stays_but_for_replace(
    tmp_path: Path, replace: bool, expected: str
) -> None:
    for text in ("first", "second"):
        with whole_folder(tmp_path / "model", replace=replace) as staged:
            (staged / "a.txt").write_text(text, encoding="utf-8")
    assert (tmp_path / "model" / "a.txt").read_text(encoding="utf-8") == expected
    assert list(tmp_path.iterdir()) == [tmp_path / "model"]


def test_a_folder_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="planted"), whole_folder(tmp_path / "model"):
        raise RuntimeError("planted")
    assert list(tmp_path.iterdir()) == []


def test_what_killed_writers_left_is_swept_and_nothing_else(tmp_path: Path) -> None:
    for name in (".card.json.0123abcd", "a/.model.89abcdef/card.json", ".network/x", "a/.b.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    sweep(tmp_path)
    left = sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file())
    assert left == [".network/x", "a/.b.json"]
    sweep(tmp_path / "not there")
