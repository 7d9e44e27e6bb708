"""The documentation: links lead somewhere, verbs exist, decisions are where they should be."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from likewise.cli import COMMANDS
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


def python_blocks() -> list[tuple[str, str]]:
    found = []
    for page in PAGES:
        blocks = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
        found += [(f"{page.name}-{number}", block) for number, block in enumerate(blocks)]
    return found


@pytest.mark.parametrize("block", [pytest.param(b, id=name) for name, b in python_blocks()])
def test_python_blocks_run(block: str) -> None:
    code = compile(block, "block", "exec")
    if "my-study" not in block:  # those that open a study are only compiled
        exec(code, {"__name__": "__main__"})  # noqa: S102 - our own documentation
