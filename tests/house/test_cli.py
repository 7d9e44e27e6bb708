"""The command line: exit codes, messages, and the state of the disk."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from likewise.cli import COMMANDS, guarded, run
from likewise.errors import ExitCode, PartialError

LIKEWISE = [sys.executable, "-c", "from likewise.cli import main; main()"]


def test_init_makes_a_study_that_status_can_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = str(tmp_path / "mine")
    assert run(["init", study, "--host", "http://127.0.0.1:9", "--tag", "me", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["study"] == study
    assert run(["status", study, "--json"]) == 0
    stages = json.loads(capsys.readouterr().out)["stages"]
    assert {stage["state"] for stage in stages} == {"missing"}


def test_init_does_not_overwrite(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = str(tmp_path / "mine")
    assert run(["init", study]) == 0
    assert run(["init", study]) == 2
    assert "exists already" in capsys.readouterr().err


@pytest.mark.parametrize("verb", COMMANDS)
def test_every_verb_has_help_with_an_example(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([verb, "--help"]) == 0
    text = capsys.readouterr().out
    assert f"likewise {verb}" in text.split("Example", 1)[1]


def test_an_unknown_verb_is_answered_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["colect", "x"]) == 2
    assert "Did you mean 'collect'" in capsys.readouterr().err


def test_a_study_that_is_a_file_is_exit_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "file"
    path.write_text("x", encoding="utf-8")
    assert run(["status", str(path)]) == 2
    assert "is a file" in capsys.readouterr().err


def test_a_bad_configuration_is_exit_2(
    study_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (study_folder / "likewise.toml").write_text("[clean]\nscal = 'raw'\n", encoding="utf-8")
    assert run(["clean", str(study_folder)]) == 2
    assert "did you mean 'scale'" in capsys.readouterr().err


def test_a_missing_table_names_the_stage_that_makes_it(
    study_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["download", str(study_folder)]) == 6
    assert "likewise clean" in capsys.readouterr().err


def test_importing_the_command_line_loads_nothing_heavy() -> None:
    code = (
        "import sys, likewise.cli; heavy = {'torch','pyspark','cv2','numpy','pyarrow','pydantic'}; "
        "sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def _in_small_tmpfs(folder: Path, script: str, options: str) -> subprocess.CompletedProcess[str]:
    """Run a shell script in a mount namespace of its own, with ``folder`` on a tmpfs."""
    if shutil.which("unshare") is None:
        pytest.skip("no unshare on this machine: cannot make a small disk")
    folder.mkdir(exist_ok=True)
    command = f"mount -t tmpfs -o {options} tmpfs {folder} && {script}"
    done = subprocess.run(
        ["unshare", "--mount", "--map-root-user", "sh", "-c", command],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    if "unshare failed" in done.stderr or "mount:" in done.stderr:
        pytest.skip(f"no mount namespaces here: {done.stderr.strip()}")
    return done


def test_a_full_disk_is_exit_8_and_says_what_to_do(tmp_path: Path) -> None:
    folder = tmp_path / "small"
    python = " ".join([sys.executable, "-c"])
    done = _in_small_tmpfs(
        folder,
        f"{python} 'from likewise.cli import main; main()' init {folder}/s && "
        f"head -c 900000 /dev/zero > {folder}/fill; head -c 900000 /dev/zero > {folder}/fill2; "
        f"{python} 'from likewise.study import Study, write_json; "
        f"from likewise.cli import _unplanned; import sys, pyarrow as pa\n"
        f'study = Study.open("{folder}/s")\n'
        'try:\n stage = study.begin("posts"); stage.write(pa.table({"n": list(range(500000))}))\n'
        "except Exception as error: sys.exit(_unplanned(error))'",
        "size=1m",
    )
    assert done.returncode == 8, done.stderr
    assert "No space left on device" in done.stderr
    assert "free some space" in done.stderr


def test_a_read_only_study_is_exit_8(tmp_path: Path) -> None:
    folder = tmp_path / "ro"
    python = f"{sys.executable} -c 'from likewise.cli import main; main()'"
    done = _in_small_tmpfs(
        folder,
        f"{python} init {folder}/s && mount -o remount,ro {folder} && {python} clean {folder}/s",
        "size=10m",
    )
    assert done.returncode == 8, done.stderr
    assert "cannot be written: Read-only file system" in done.stderr


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_is_exit_130(study_folder: Path, sign: signal.Signals) -> None:
    code = (
        "import time, sys, likewise, likewise.commands.status\n"
        "from likewise.cli import main\n"
        "def slow(study):\n print('ready', flush=True); time.sleep(60)\n"
        "likewise.status = slow\n"
        "main(['status', sys.argv[1]])"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(study_folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.2)
        os.kill(process.pid, sign)
        assert process.wait(30) == 130
        assert process.stderr is not None
        assert "run the same command to go on" in process.stderr.read()


def test_many_failures_are_counted_and_listed_in_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    failures = [(f"picture {n}", "http_404" if n % 10 else "a\ttimeout") for n in range(47_500)]

    def work() -> None:
        raise PartialError("47500 of 50000 pictures failed", failures, folder=tmp_path / "spool")

    assert guarded(work) == ExitCode.PARTIAL
    said = capsys.readouterr().err.splitlines()
    listed = tmp_path / "spool" / "failed.tsv"
    assert said[1:4] == ["  42,750: http_404", "  4,750: a\ttimeout", f"  all of them: {listed}"]
    rows = listed.read_text(encoding="utf-8").splitlines()
    assert len(rows) == 47_500
    assert rows[:2] == ["picture 0\ta timeout", "picture 1\thttp_404"]


def test_a_list_without_a_study_has_a_place_too(capsys: pytest.CaptureFixture[str]) -> None:
    def work() -> None:
        raise PartialError("many", [(str(n), f"reason {n}") for n in range(100)])

    assert guarded(work) == ExitCode.PARTIAL
    said = capsys.readouterr().err.splitlines()
    assert "  80: 80 other reasons" in said
    (line,) = (line for line in said if line.startswith("  all of them: "))
    listed = Path(line.split(": ")[1])
    assert len(listed.read_text(encoding="utf-8").splitlines()) == 100
    shutil.rmtree(listed.parent)


def test_init_takes_settings(tmp_path: Path) -> None:
    study = tmp_path / "s"
    given = ["--set", "label.target=likes", "--set", "label.require_faces=false"]
    assert run(["init", str(study), *given, "--set", "label.folds=3"]) == 0
    from likewise.study import Study

    label = Study.open(study).config.label
    assert (label.target, label.require_faces, label.folds) == ("likes", False, 3)
    assert run(["init", str(tmp_path / "t"), "--set", "folds=3"]) == 2
    assert run(["init", str(tmp_path / "t"), "--set", "label.fold=3"]) == 2
