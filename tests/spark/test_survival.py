"""Settings of Spark's own, and processes of Spark that die: a retry, not a bug."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from likewise.config import parse, render
from likewise.errors import ConfigError
from spark_jobs.session import _interrupts_end_java, _patient

ROOT = Path(__file__).resolve().parents[2]

JVM_DIES = """
import os, signal, sys
from spark_jobs.session import spark_session, survives_java
deaths = int(sys.argv[1])
lives = []

@survives_java
def work():
    spark = spark_session(master="local[2]")
    lives.append(spark.sparkContext._gateway.proc.pid)
    if len(lives) <= deaths:
        os.kill(lives[-1], signal.SIGKILL)
    return spark.sparkContext.parallelize(range(100), 4).map(lambda n: n * n).sum()

assert work() == 328350
assert len(set(lives)) == deaths + 1
"""

WORKER_DIES = """
import os, pathlib, signal, sys
from spark_jobs.session import spark_session
spark = spark_session(master="local[2]")
flag = pathlib.Path(sys.argv[1])

def work(n):
    if n == 3 and not flag.exists():
        flag.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return n * n

assert spark.sparkContext.parallelize(range(100), 4).map(work).sum() == 328350
assert flag.exists()
"""


def run(code: str, argument: object, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    space = tmp_path / "tmp"
    space.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", code, str(argument)],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(space)},
        capture_output=True,
        text=True,
        timeout=280,
    )
    left = [path for path in space.rglob("*") if path.is_file()]
    assert left == []  # nothing stays in TMPDIR
    return done


@pytest.mark.slow
def test_a_stage_goes_on_with_another_jvm(tmp_path: Path) -> None:
    done = run(JVM_DIES, 1, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("the stage goes on with another") == 1


@pytest.mark.slow
def test_a_dead_python_worker_is_tried_again(tmp_path: Path) -> None:
    done = run(WORKER_DIES, tmp_path / "flag", tmp_path)
    assert done.returncode == 0, done.stderr


def test_local_masters_get_the_attempts_of_a_cluster() -> None:
    assert _patient("local[*]") == "local[*,4]" and _patient("local[2]") == "local[2,4]"
    assert _patient("local") == "local[1,4]" and _patient("local[2,9]") == "local[2,9]"
    assert _patient("spark://a:7077") == "spark://a:7077"


@pytest.mark.parametrize(
    "text",
    [
        '[spark]\n"spark.executor.memory" = "4g"\n"spark.speculation" = true',
        '[spark]\nspark.executor.memory = "4g"\nspark.speculation = true',
        '[spark]\nconf = {"spark.executor.memory" = "4g", "spark.speculation" = "true"}',
    ],
)
def test_any_setting_of_spark(text: str) -> None:
    found = parse(text).spark
    assert found.conf == {"spark.executor.memory": "4g", "spark.speculation": "true"}
    assert parse(render({"spark": {"conf": found.conf}})).spark.conf == found.conf


@pytest.mark.parametrize("text", ["[spark]\nsparks = 1", '[spark]\nconf = {"x" = "1"}'])
def test_a_key_that_is_no_setting_is_named(text: str) -> None:
    with pytest.raises(ConfigError, match=r"spark"):
        parse(text)


def test_misspelt_keys_are_still_found() -> None:
    with pytest.raises(ConfigError, match="driver_memory"):
        parse('[spark]\ndriver_memry = "2g"')


def test_signals_are_those_of_before(monkeypatch: pytest.MonkeyPatch) -> None:
    from spark_jobs.session import _interrupts_end_java

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(ZeroDivisionError), _interrupts_end_java():
        raise ZeroDivisionError
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_call_that_the_jvms_end_breaks_off_is_raised_and_not_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What ``java_gateway.send_command`` of py4j says to the root logger before it raises."""
    with _interrupts_end_java():
        pass
    for said in ("Exception while sending command.", "KeyboardInterrupt while sending command."):
        try:
            raise ConnectionError("Error while sending or receiving")
        except ConnectionError:
            logging.exception(said)
    assert caplog.records == []
    logging.getLogger().error("another")
    assert len(caplog.records) == 1
