"""The whole thread, as the README tells a new user, against the sandbox platform."""

from __future__ import annotations

import datetime as dt
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from pyspark.sql import SparkSession

import likewise
from infra.sandbox import World, WorldSpec, running
from likewise.cli import run
from likewise.study import MADE_BY, Study
from likewise.tables import TABLES, check_schema

ROOT = Path(__file__).resolve().parents[2]

QUICK = """
[extract]
backbone = "efficientnet-lite0"
[download]
allow_hosts = ["127.0.0.1"]
buckets = 4
[label]
folds = 2
[compare]
c_values = [0.01, 1.0]
trees = 20
reg_params = [0.01]
step_sizes = [1.0]
sgd_iterations = 5
bootstrap = 100
permutations = 20
"""


def readme_commands() -> list[list[str]]:
    """The ``likewise`` commands of the README's bash blocks, in order."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```bash\n(.*?)```", text, flags=re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [shlex.split(line) for line in lines if line.startswith("likewise ")]


@pytest.fixture(scope="module")
def platform() -> Iterator[str]:
    spec = WorldSpec(seed=3, authors=90, posts=260, epoch=dt.date(2026, 1, 10))
    with running(World(spec)) as server:
        yield server.url


@pytest.fixture(scope="module")
def folder(platform: str, spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study made by the README's own commands, with a smaller grid."""
    home = tmp_path_factory.mktemp("thread")
    study = home / "my-study"
    codes = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LIKEWISE_CONFIG_HOME", str(home / "config"))
        patch.chdir(home)
        for command in readme_commands():
            words = [w.replace("https://your.server", platform) for w in command[1:]]
            words = ["photo" if w == "me" else w for w in words]
            if words[0] == "auth":
                continue  # it asks a person to log in; the collectors' tests do that
            codes[words[0]] = run(words)
            if words[0] == "init":
                config = study / "likewise.toml"
                config.write_text(_merged(config.read_text(encoding="utf-8")), encoding="utf-8")
    # The world holds pictures that are broken on purpose, so `run` lists them and answers 3.
    assert codes == {"doctor": 0, "init": 0, "run": 3, "status": 0}
    return study


def _merged(text: str) -> str:
    """``text`` with the settings of QUICK put under its section headers."""
    for section, body in re.findall(r"\[(\w+)\]\n((?:[^\[].*\n)+)", QUICK):
        text = text.replace(f"\n[{section}]\n", f"\n[{section}]\n{body}", 1)
    return text


def test_every_table_has_its_schema_and_keys_that_are_unique(folder: Path) -> None:
    study = Study.open(folder)
    # People write reviews, searches licences, and few authors are dealt in blocks.
    absent = {"reviews", "licences", "blocks"}
    assert set(TABLES) - set(study.tables()) == absent
    for name in set(TABLES) - absent:
        spec = TABLES[name]
        rows = study.read(name)
        if name != "features":
            check_schema(rows.schema, spec.schema, name)
        keys = rows.select(list(spec.key))
        assert keys.num_rows == keys.group_by(list(spec.key)).aggregate([]).num_rows, name
        required = [key for key in spec.key if not spec.schema.field(key).nullable]
        assert all(rows[key].null_count == 0 for key in required)


def test_the_funnel_adds_up_from_the_platform_to_the_ranking(folder: Path) -> None:
    funnels = {funnel.stage: funnel for funnel in Study.open(folder).funnels()}
    order = ["clean", "download", "faces", "label", "extract", "compare", "rank"]
    assert set(order) <= set(funnels)
    for stage in order:
        funnel = funnels[stage]
        assert funnel.rows_in == funnel.rows_out + sum(funnel.dropped.values())
    # Bytes that several posts share were fetched for each and are looked at once.
    pictures = Study.open(folder).require("pictures").rows
    assert funnels["faces"].rows_in == pictures <= funnels["download"].rows_out
    assert funnels["extract"].rows_in == funnels["label"].rows_out
    assert 40 < funnels["label"].rows_out < funnels["clean"].rows_out


def test_no_author_stands_on_both_sides(folder: Path) -> None:
    labels = Study.open(folder).read("labels")
    pairs = labels.group_by(["platform", "host", "author_id"]).aggregate(
        [("split", "count_distinct"), ("fold", "count_distinct")]
    )
    assert set(pairs["split_count_distinct"].to_pylist()) == {1}
    assert set(pairs["fold_count_distinct"].to_pylist()) == {1}


def test_the_ranking_covers_every_label_and_the_report_is_one_file(folder: Path) -> None:
    study = Study.open(folder)
    assert set(study.read("scores")["picture_id"].to_pylist()) == set(
        study.read("labels")["picture_id"].to_pylist()
    )
    page = (folder / "reports" / "report.html").read_text(encoding="utf-8")
    assert "ynthetic world" in page
    assert re.search(r'src="(?!data:)', page) is None
    files = re.findall(r'href="(?!data:|#|http)([^"]+)', page)
    assert [file for file in files if not (folder / "reports" / file).exists()] == []


def test_a_second_run_does_nothing_again(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = set(MADE_BY) - {"licences"}  # nothing was searched
    before = {name: Study.open(folder).require(name).published_at for name in made}
    assert run(["run", str(folder), "--json"]) == 0
    stages = json.loads(capsys.readouterr().out)["stages"]
    assert {stage["state"] for stage in stages} == {"done"}
    assert {stage["table"]: stage["published_at"] for stage in stages} == before


def test_a_changed_rule_makes_another_version(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    config = copy / "likewise.toml"
    text = config.read_text(encoding="utf-8")
    config.write_text(text.replace("\n[clean]\n", "\n[clean]\nthreshold = 2.0\n"), encoding="utf-8")
    assert run(["clean", str(copy)]) == 0
    states = {stage.table: stage for stage in likewise.status(copy).stages}
    assert states["fetches"].stale_because == ("kept_posts",)
    assert {states[name].state for name in ("faces", "labels", "features", "scores")} == {"stale"}
    kept = Study.open(copy).read("kept_posts")
    assert isinstance(kept, pa.Table)
    assert kept.num_rows < Study.open(folder).read("kept_posts").num_rows
    capsys.readouterr()
    assert run(["run", str(copy), "--until", "faces", "--json"]) == 0
    stages = json.loads(capsys.readouterr().out)["stages"]
    assert [stage["state"] for stage in stages[:5]] == ["done"] * 5
    assert stages[0]["published_at"] == Study.open(folder).require("posts").published_at


def test_every_verb_is_a_function_that_takes_a_path(folder: Path) -> None:
    for verb in ("clean", "faces", "label", "extract", "rank"):
        manifest = getattr(likewise, verb)(folder)
        assert manifest.rows > 0
