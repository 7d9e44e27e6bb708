"""likewise doctor: every part is looked at, and what is missing comes with its mend."""

from __future__ import annotations

from pathlib import Path

import pytest

import likewise
from likewise.checkup import Check
from likewise.cli import run


def by_name(checks: list[Check]) -> dict[str, Check]:
    return {check.name: check for check in checks}


def test_this_machine_can_run_everything() -> None:
    checks = by_name(likewise.doctor())
    needed = {
        "java",
        "spark",
        "torch",
        "onnxruntime",
        "dlib",
        "opencv",
        "weights",
        "tokens",
        "disk",
    }
    assert needed <= set(checks)
    assert [check for check in checks.values() if check.state == "broken"] == []
    assert all(check.mend for check in checks.values() if check.state == "warning")


def test_a_library_that_an_extra_brings_may_be_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "dlib", None)
    check = by_name(likewise.doctor())["dlib"]
    assert check.state == "warning"
    assert check.mend == "pip install 'likewise[faces]'"
    assert run(["doctor"]) == 0
    assert "warning  dlib " in capsys.readouterr().out


def test_a_library_that_is_here_and_does_not_load_is_broken(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import importlib

    whole = importlib.import_module

    def load(name: str) -> object:
        if name == "dlib":
            raise ImportError("libcrypt.so.1: cannot open shared object file")
        return whole(name)

    monkeypatch.setattr(importlib, "import_module", load)
    assert by_name(likewise.doctor())["dlib"].state == "broken"
    assert run(["doctor"]) == 2
    assert "BROKEN   dlib " in capsys.readouterr().out


def test_a_study_without_sources_is_told(study_folder: Path) -> None:
    check = by_name(likewise.doctor(study_folder))["study"]
    assert check.state == "warning"
    assert "[[collect.sources]]" in check.mend


def test_a_folder_that_is_no_study_is_broken_not_a_crash(tmp_path: Path) -> None:
    assert by_name(likewise.doctor(tmp_path))["study"].state == "broken"
