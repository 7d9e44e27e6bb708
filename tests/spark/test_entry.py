"""Every Spark job by itself, given to ``spark-submit`` or to ``python -m``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pyspark
import pytest
from study_rows import author, configure, post, publish

from likewise.errors import ExitCode
from likewise.study import Study
from spark_jobs.java import find_java

ROOT = Path(__file__).resolve().parents[2]
OTHERS = ("download", "extract", "faces", "label", "rank", "train_svm")
JOBS = ["clean", *(pytest.param(job, marks=pytest.mark.slow) for job in OTHERS)]


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "JAVA_HOME": str(find_java().home),
        "PYSPARK_PYTHON": sys.executable,
        "PYTHONPATH": str(ROOT),
        "SPARK_LOCAL_IP": "127.0.0.1",
    }
    return subprocess.run(
        command, capture_output=True, text=True, cwd="/", env=environment, timeout=280
    )


@pytest.mark.slow
def test_a_job_runs_in_the_session_of_spark_submit(study_folder: Path) -> None:
    """The options of spark-submit win over likewise.toml: a master that cannot be reached."""
    publish(study_folder, "posts", [post(1), post(2, likes=None)])
    publish(study_folder, "authors", [author(f"a{n}", 100 + n) for n in range(40)])
    configure(study_folder, spark={"master": "spark://127.0.0.1:1"})
    submit = Path(pyspark.__file__).parent / "bin" / "spark-submit"
    job = ROOT / "spark_jobs" / "clean.py"
    loopback = ("--conf", "spark.ui.enabled=false", "--conf", "spark.driver.bindAddress=127.0.0.1")
    done = run(submit, "--master", "local[1]", *loopback, job, study_folder)
    assert done.returncode == ExitCode.DONE, done.stderr
    manifest = json.loads(done.stdout.splitlines()[-1])
    assert manifest["table"] == "kept_posts"
    assert manifest["funnel"]["dropped"] == {"likes hidden": 1}
    assert Study.open(study_folder).read("kept_posts")["post_id"].to_pylist() == ["1"]


@pytest.mark.parametrize("job", JOBS)
def test_a_job_without_its_tables_says_so_and_ends_with_the_code(
    job: str, study_folder: Path
) -> None:
    done = run(sys.executable, "-m", f"spark_jobs.{job}", study_folder)
    assert done.returncode == ExitCode.INPUT, done.stderr
    assert "likewise: " in done.stderr and "no" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
