"""The verbs as Python functions: all of them there, typed, and visible to an editor."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import likewise
from likewise.cli import COMMANDS

STUB = Path(likewise.__file__).with_suffix(".pyi")

PROGRAMS = {"auth", "classify", "sandbox", "search", "serve", "weights"}
"""Verbs that are groups of commands, or servers that run until they are stopped."""


def test_every_verb_that_does_work_is_a_function() -> None:
    assert set(COMMANDS) - PROGRAMS == {verb.rstrip("_") for verb in likewise.VERBS}
    assert set(likewise.VERBS) <= set(dir(likewise))
    with pytest.raises(AttributeError, match="colect"):
        likewise.colect  # type: ignore[attr-defined]  # noqa: B018 - this is the point


@pytest.mark.parametrize("verb", likewise.VERBS)
def test_a_verb_has_types_and_words(verb: str) -> None:
    signature = inspect.signature(getattr(likewise, verb))
    assert all(p.annotation is not p.empty for p in signature.parameters.values())
    assert signature.return_annotation is not signature.empty
    assert len(inspect.getdoc(getattr(likewise, verb)) or "") > 40


def test_the_stub_names_the_functions_that_are_found() -> None:
    text = STUB.read_text(encoding="utf-8")
    imports = re.findall(r"^from (\S+) import (\w+) as (\w+)$", text, re.MULTILINE)
    shown = {verb: (module, name) for module, name, verb in imports}
    found = {
        verb: (place.partition(":")[0], place.partition(":")[2] or verb)
        for verb, place in likewise.VERBS.items()
    }
    assert shown == found


@pytest.mark.slow
def test_a_type_checker_sees_the_signatures(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    lines = [f"reveal_type(likewise.{verb})" for verb in likewise.VERBS]
    script.write_text("import likewise\n" + "\n".join(lines), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--no-incremental", str(script)],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).resolve().parents[2],
    )
    said = re.findall(r'Revealed type is "(.*)"', done.stdout)
    assert len(said) == len(likewise.VERBS), done.stdout
    assert all(one.startswith("def (") for one in said)
