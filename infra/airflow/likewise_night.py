"""A night of one study as an Airflow 3 DAG: one task a stage, retries by exit code.

Copy it into the DAG folder. Airflow needs none of likewise's packages: each task calls the
``likewise`` command of another environment. Variables (environment, or Airflow's own):

    LIKEWISE_BIN     the command, default ``likewise`` on the path
    LIKEWISE_STUDY   the study's folder
"""

from __future__ import annotations

import datetime as dt
import os
import subprocess

from airflow.sdk import DAG, task
from airflow.sdk.exceptions import AirflowFailException

COMMAND = os.environ.get("LIKEWISE_BIN", "likewise")
STUDY = os.environ.get("LIKEWISE_STUDY", "/studies/my-study")
STAGES = (
    "collect",
    "clean",
    "download",
    "faces",
    "label",
    "extract",
    "compare",
    "rank",
    "report",
)

# The contract of likewise.errors: these are not mended by asking again.
FINAL = {2: "usage or configuration", 4: "credentials", 5: "made by something else"}
PARTIAL = 3


def run_stage(stage: str) -> str:
    """Run one stage; returns its last line, JSON. Other failures are left to Airflow's retries."""
    done = subprocess.run(  # noqa: S603 - the command is the operator's own setting
        [COMMAND, stage, STUDY, "--json"], stdout=subprocess.PIPE, text=True, check=False
    )
    print(done.stdout)
    if done.returncode in FINAL:
        raise AirflowFailException(f"{stage}: {FINAL[done.returncode]} (exit {done.returncode})")
    if done.returncode not in (0, PARTIAL):
        raise RuntimeError(f"likewise {stage} ended with {done.returncode}")
    lines = done.stdout.strip().splitlines()
    return lines[-1] if lines else ""


with DAG(
    dag_id="likewise_night",
    schedule="17 2 * * *",
    start_date=dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
    catchup=False,  # a night makes up for missed ones by itself
    max_active_runs=1,  # the study's lock would answer 7 (busy) to a second
    default_args={
        "retries": 3,
        "retry_delay": dt.timedelta(minutes=10),
        "retry_exponential_backoff": True,
        "execution_timeout": dt.timedelta(hours=20),
    },
    tags=["likewise"],
) as dag:
    before = None
    # The last finds everything done: it notes the night, so that it can be read, and the metrics.
    for name in (*STAGES, "run"):
        step = task(task_id=name)(run_stage)(name)
        if before is not None:
            before >> step
        before = step
