"""Files and folders written whole: what is seen before, during, after, and after a fault."""

from __future__ import annotations

from pathlib import Path

import pytest

from likewise.whole import whole_file, whole_folder, write_bytes


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
