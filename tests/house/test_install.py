"""What an installation holds: every import declared, extras that may be left out, a whole sdist."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import subprocess
import sys
import tarfile
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from likewise.extras import EXTRAS, LEFT_OUT

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
ROOMS = [
    room
    for room in ("likewise", "collectors", "filters", "backbones", "spark_jobs", "training", "web")
    if (ROOT / room / "__init__.py").is_file()
]


OF_OTHER_PROGRAMS = {"airflow"}
"""Imported by a file that runs in that program's own Python."""


def name_of(requirement: str) -> str:
    """PEP 503's normal form of a requirement's name."""
    found = re.match(r"[\w.-]+", requirement)
    assert found is not None
    return re.sub(r"[-_.]+", "-", found[0]).lower()


BASE = {name_of(r) for r in PROJECT["dependencies"]}


def of_extra(extra: str) -> set[str]:
    """Distributions of an extra, those of the extras that it includes too."""
    found: set[str] = set()
    for requirement in PROJECT["optional-dependencies"][extra]:
        inner = re.match(r"likewise\[([\w,]+)\]", requirement)
        if inner:
            found |= set().union(*map(of_extra, inner[1].split(",")))
        else:
            found.add(name_of(requirement))
    return found


def imported(room: str) -> Iterator[tuple[Path, str]]:
    """Every module that a room imports and that is neither Python's nor this project's."""
    own = {*ROOMS, "infra", *sys.stdlib_module_names}
    for path in sorted((ROOT / room).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names = [node.module]
            else:
                continue
            yield from ((path, n) for name in names if (n := name.partition(".")[0]) not in own)


@pytest.mark.parametrize("room", [*ROOMS, "infra"])
def test_every_import_is_declared(room: str) -> None:
    homes = importlib.metadata.packages_distributions()
    undeclared = set()
    for path, module in imported(room):
        if module in OF_OTHER_PROGRAMS:
            continue
        if module in LEFT_OUT and module not in homes:
            continue  # an extra that is not installed here
        declared = BASE | (of_extra(LEFT_OUT[module]) if module in LEFT_OUT else set())
        if not declared & {name_of(home) for home in homes.get(module, [])}:
            undeclared.add(f"{path.relative_to(ROOT)}: {module}")
    assert undeclared == set()


def test_all_is_every_extra_that_stages_need() -> None:
    names = ("spark", "faces", "learn", "sandbox", "serve")
    parts = set().union(*(of_extra(name) for name in names))
    assert of_extra("all") == parts
    assert parts <= of_extra("dev")
    assert set(EXTRAS) <= set(PROJECT["optional-dependencies"])


WITHOUT = """
import sys
from likewise.extras import LEFT_OUT

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in LEFT_OUT:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
from likewise.cli import main
main(sys.argv[1:])
"""


def bare(*args: str) -> subprocess.CompletedProcess[str]:
    """The command line on a machine where no extra is installed."""
    return subprocess.run(
        [sys.executable, "-c", WITHOUT, *args], capture_output=True, text=True, timeout=120
    )


def test_collecting_needs_no_extra(tmp_path: Path) -> None:
    from infra.sandbox import World, WorldSpec, running

    study = str(tmp_path / "study")
    with running(World(WorldSpec(authors=30, posts=60))) as server:
        options = ["--host", server.url, "--tag", "photo", "--permission", "a synthetic world"]
        for words in (
            ["init", study, *options], ["doctor", study], ["collect", study], ["clean", study],
            ["status", study],
            ["tokens", study], ["refresh", study], ["forget", study, "--author", "person00003"],
            ["auth", "list"],
        ):  # fmt: skip
            done = bare(*words)
            assert done.returncode == 0, (words, done.stdout, done.stderr)


@pytest.mark.parametrize("verb", ["faces", "extract", "compare", "finetune", "rank", "report"])
def test_a_stage_whose_extra_is_missing_says_which(study_folder: Path, verb: str) -> None:
    done = bare(verb, str(study_folder))
    assert done.returncode in {2, 6} and "Traceback" not in done.stderr
    assert re.search(r"pip install 'likewise\[(spark|faces|learn)\]'|likewise \w+ ", done.stderr)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what git tracks."""
    copy = tmp_path_factory.mktemp("checkout")
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    tracked = [name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]
    for name in tracked:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_bytes((ROOT / name).read_bytes())
    return copy


def built(checkout: Path, call: str) -> None:
    """Call setuptools' build backend there."""
    code = f"from setuptools import build_meta; build_meta.{call}"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=checkout, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_sdist_holds_what_the_repository_does(checkout: Path, tmp_path: Path) -> None:
    tracked = {str(p.relative_to(checkout)) for p in checkout.rglob("*") if p.is_file()}
    built(checkout, f"build_sdist({str(tmp_path)!r})")
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        held = {name.partition("/")[2] for name in opened.getnames()}
    wanted = {n for n in tracked if not n.startswith((".ci/", ".git")) and ".egg-info" not in n}
    assert wanted - held == set()


@pytest.mark.parametrize("repository", [None, "https://forge.example/likewise/"])
def test_links_of_the_package_lead_somewhere(
    checkout: Path, tmp_path: Path, repository: str | None
) -> None:
    settings = checkout / "pyproject.toml"
    before = settings.read_text(encoding="utf-8")
    if repository:
        settings.write_text(f"{before}\n[project.urls]\nRepository = {repository!r}\n", "utf-8")
    try:
        built(checkout, f"prepare_metadata_for_build_wheel({str(tmp_path)!r})")
    finally:
        settings.write_text(before, encoding="utf-8")
    (metadata,) = tmp_path.glob("*.dist-info/METADATA")
    text = metadata.read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)\s]+)\)", text)
    assert all("://" in link for link in links)
    assert ("https://forge.example/likewise/blob/HEAD/docs/tables.md" in links) == bool(repository)
    assert "docs/tables.md" in text
