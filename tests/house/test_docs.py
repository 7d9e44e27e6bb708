"""The documentation: links lead somewhere, verbs exist, decisions are where they should be."""

from __future__ import annotations

import contextlib
import json
import re
import shlex
from pathlib import Path
from typing import Any

import click
import pytest

from likewise.cli import COMMANDS, cli
from likewise.config import parse
from likewise.errors import ExitCode
from likewise.runner import STAGES
from likewise.tables import TABLES

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_to_a_file(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8"))
    missing = [t for t in targets if "://" not in t and not (page.parent / t).exists()]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_verb_that_a_page_names_exists(page: Path) -> None:
    named = re.findall(r"`(?:\$ )?likewise ([a-z]+)\b", page.read_text(encoding="utf-8"))
    assert set(named) <= set(COMMANDS)


def test_the_readme_names_every_stage() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert all(f"| `{stage}` |" in text for stage in STAGES)
    assert set(TABLES) <= set(re.findall(r"\w+", text)) | {"comparison"}


def blocks(*languages: str) -> list[Any]:
    """Code blocks of all pages, with a name for each."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for number, (language, block) in enumerate(
            re.findall(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
        ):
            if language in languages:
                found.append(pytest.param(block, id=f"{page.stem}-{number}"))
    return found


@pytest.fixture
def beside_a_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The working directory holds ``my-study``, as the pages say, ranked."""
    monkeypatch.syspath_prepend(str(ROOT / "tests" / "training"))
    monkeypatch.setattr("training.rank._wants_spark", lambda *_: False)
    from fake_study import make

    from training.rank import rank

    rank(make(tmp_path / "my-study", n_authors=20))
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("beside_a_study")
@pytest.mark.parametrize("block", blocks("python"))
def test_python_blocks_run(block: str) -> None:
    code = compile(block, "block", "exec")
    if "finetuned" in block:  # a network that would have to be trained first
        return
    exec(code, {"__name__": "__main__"})  # noqa: S102 - our own documentation


@pytest.mark.parametrize("block", blocks("toml"))
def test_toml_blocks_are_configurations(block: str) -> None:
    assert parse(block).model_fields_set


@pytest.mark.parametrize("block", blocks("json"))
def test_json_blocks_are_json(block: str) -> None:
    assert json.loads(block)


def commands() -> list[Any]:
    """Every line of every block that calls likewise, without its comment and its pipe."""
    found = []
    for one in blocks("", "bash", "console", "sh"):
        for line in one.values[0].replace("\\\n", " ").splitlines():
            call = re.match(r"\s*(?:\$ )?likewise ([^#|>]+)", line)
            if call and re.match(r"[a-z-]+( |$)", call[1]):
                found.append(pytest.param(shlex.split(call[1]), id=call[1].strip()[:60]))
    return found


@pytest.mark.parametrize("words", commands())
def test_every_command_in_a_block_has_its_options(
    words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with contextlib.suppress(click.exceptions.Exit):  # --help, --version
        verb, *rest = words
        command = cli.get_command(click.Context(cli), verb)
        assert command is not None, verb
        while isinstance(command, click.Group) and rest:
            part, *rest = rest
            inner = command.get_command(click.Context(command), part)
            assert inner is not None, part
            command = inner
        # Files of the examples need not be there, everything else must be right.
        for option in command.params:
            if isinstance(option.type, click.Path):
                monkeypatch.setattr(option, "type", click.Path())
        command.make_context(verb, rest)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_that_a_page_names_is_there(page: Path) -> None:
    rooms = "backbones|benchmarks|collectors|docs|filters|infra|likewise|spark_jobs|tests|training"
    text = page.read_text(encoding="utf-8")
    named = set(re.findall(rf"`((?:{rooms})/[\w/.-]*)`", text))
    placeholders = {name for name in named if "NAME" in name}
    assert {name for name in named - placeholders if not (ROOT / name).exists()} == set()


def test_the_index_leads_to_every_page() -> None:
    text = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    named = set(re.findall(r"\]\(([\w.]+)\)", text))
    assert {page.name for page in (ROOT / "docs").glob("*.md")} - {"index.md"} <= named


def test_the_engineers_page_has_every_exit_code() -> None:
    text = (ROOT / "docs" / "engineers.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \|", text, re.MULTILINE)
    assert [int(row) for row in rows] == [int(code) for code in ExitCode]
