"""What scripts rely on: errors as JSON, readers that leave early, files of other makers."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from likewise import cli, errors
from likewise.config import load
from likewise.errors import ConfigError, PartialError, StudyError
from likewise.study import Study

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = [sys.executable, "-m", "likewise"]


def told(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """The one JSON document of standard output; nothing for people beside it."""
    said = capsys.readouterr()
    assert said.err == ""
    answer: dict[str, Any] = json.loads(said.out)
    assert {"code", "message", "hint", "failures"} <= set(answer)
    return answer


def raising(error: BaseException) -> Any:
    def work() -> None:
        raise error

    return work


OURS = [
    one
    for one in vars(errors).values()
    if isinstance(one, type)
    and issubclass(one, errors.LikewiseError)
    and one is not errors.StudyBusyError
]


@pytest.mark.parametrize("kind", OURS, ids=lambda kind: str(kind.__name__))
def test_every_error_is_json_for_machines(
    kind: type[errors.LikewiseError], capsys: pytest.CaptureFixture[str]
) -> None:
    code = cli.guarded(raising(kind("something é", hint="do this")), as_json=True)
    answer = told(capsys)
    assert answer.pop("help") == f"docs/troubleshooting.md#{kind.topic}"
    assert answer == {"code": code, "message": "something é", "hint": "do this", "failures": []}
    assert code == kind.exit_code


def test_what_helps_with_an_error_is_written_down(study_folder: Path) -> None:
    text = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    titles = re.findall(r"^## (.+)$", text, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}
    assert {kind.topic for kind in OURS} <= anchors
    used = re.findall(r'topic="([^"]+)"', (ROOT / "likewise" / "cli.py").read_text("utf-8"))
    assert len(used) >= 4 and set(used) <= anchors


def test_every_failed_item_is_in_it(capsys: pytest.CaptureFixture[str]) -> None:
    failed = [("one", "gone"), ("two\nlines", "refused")]
    error = PartialError("2 failed", failed, result={"rows": 3})
    assert cli.guarded(raising(error), as_json=True) == 3
    answer = told(capsys)
    assert [(f["item"], f["reason"]) for f in answer["failures"]] == failed
    assert answer["result"] == {"rows": 3}


def test_wrong_usage_and_interrupts_are_json_too(
    study_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["status", str(study_folder), "--json", "--nonsense"]) == 2
    answer = told(capsys)
    assert answer["code"] == 2 and "--nonsense" in answer["message"]
    assert answer["hint"] == "likewise status --help"
    assert cli.run(["colect", "--json"]) == 2
    assert "Did you mean 'collect'" in told(capsys)["message"]
    assert cli.guarded(raising(KeyboardInterrupt()), as_json=True) == 130
    assert told(capsys)["code"] == 130


def test_a_bug_is_json_and_its_traceback_is_on_standard_error(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.guarded(raising(ZeroDivisionError("half")), as_json=True) == 1
    said = capsys.readouterr()
    assert json.loads(said.out)["message"] == "unexpected error: ZeroDivisionError: half"
    assert "Traceback" in said.err


def test_what_a_library_makes_of_an_interrupt_is_still_one(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def work() -> None:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            raise ImportError("half imported")  # noqa: B904 - as libraries do

    assert cli.guarded(work) == 130
    assert cli.guarded(raising(BaseExceptionGroup("", [KeyboardInterrupt()]))) == 130
    assert "Traceback" not in capsys.readouterr().err


def test_an_interrupt_while_python_ends_does_not_take_the_exit_code() -> None:
    code = (
        "import os, signal, sys\n"
        "class Late:\n"
        " kill, pid, number = os.kill, os.getpid(), signal.SIGINT\n"
        " def __del__(self):\n  self.kill(self.pid, self.number)\n"
        "sys.late = Late()\n"  # torn down after the signal handlers
        "from likewise import cli\n"
        "cli.main(['--version'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and done.stderr == "", done


def test_an_interrupt_in_a_query_of_duckdb_is_one() -> None:
    code = (
        "import threading, os, signal, time, duckdb\n"
        "from likewise.cli import guarded\n"
        "connection = duckdb.connect()\n"
        "connection.execute('SET threads = 1')\n"
        "def query():\n"
        " started.set()\n"
        " connection.execute('SELECT sum(a.range * b.range)'\n"
        "                    ' FROM range(10000000) a, range(1000000) b').fetchall()\n"
        "def stop():\n"
        " started.wait()\n"
        " while True:\n  time.sleep(1)\n  os.kill(os.getpid(), signal.SIGINT)\n"
        "started = threading.Event()\n"
        "threading.Thread(target=stop, daemon=True).start()\n"
        "os._exit(guarded(query))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 130 and "Traceback" not in done.stderr, done.stderr


@pytest.mark.parametrize("verb", [["status"], ["status", "--json"], ["tokens"]])
def test_a_reader_that_leaves_is_no_bug(study_folder: Path, verb: list[str]) -> None:
    text = '[[collect.sources]]\nplatform = "mastodon"\nhost = "https://a.example"\ntags = ["x"]\n'
    (study_folder / "likewise.toml").write_text(text, encoding="utf-8")
    with subprocess.Popen(
        [*PROGRAM, *verb, str(study_folder)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.wait(60) == 0
        assert process.stderr.read() == b""


def test_a_byte_order_mark_is_no_part_of_the_configuration(study_folder: Path) -> None:
    path = study_folder / "likewise.toml"
    path.write_text("[study]\nseed = 7\n", encoding="utf-8-sig")
    assert load(path).study.seed == 7
    path.write_text("[study]\nsed = 7\n", encoding="utf-8-sig")
    with pytest.raises(ConfigError, match=r"toml:2: study\.sed is not a known key"):
        load(path)


def say(study: Study, content: object) -> None:
    """Put ``content`` in the place of what the newest commit says."""
    log = study.root / "tables" / "posts" / "_delta_log" / f"{0:020d}.json"
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    for line in lines:
        if "commitInfo" in line:
            line["commitInfo"]["likewise"] = json.dumps(content)
    log.write_text("\n".join(map(json.dumps, lines)) + "\n", encoding="utf-8")


def manifest(study: Study, **changes: Any) -> None:
    say(study, {"table": "posts", "fingerprint": "00", "rows": 1, "made_from": {}, **changes})


def test_manifests_of_other_versions(study_folder: Path) -> None:
    study = Study.open(study_folder)
    stage = study.begin("posts")
    stage.write(pa.table({"n": [1]}))
    stage.publish()
    manifest(study, version="0.1.9", colour="blue")
    found = study.manifest("posts")
    assert found is not None and found.rows == 1
    manifest(study, version="0.2.0", colour="blue")
    with pytest.raises(StudyError, match=r"posts was written by likewise 0\.2\.0") as error:
        study.manifest("posts")
    assert "pip install --upgrade likewise" in (error.value.hint or "")
    for wrong in ({"rows": 1}, [1]):
        say(study, wrong)
        with pytest.raises(StudyError, match="is not a manifest"):
            study.manifest("posts")
