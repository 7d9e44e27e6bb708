"""Where fits that do not wait for each other run: in this machine's processes, or on executors."""

from __future__ import annotations

import functools
import importlib.util
import os
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import joblib

from likewise.errors import UsageError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from training.fitting.grid import Point

__all__ = ["Workers"]

Task = Callable[..., "Point"]

# Calls that a core of the cluster gets before their results are kept.
WAVE = 4

# What joblib-spark 0.6 makes joblib and Spark say: of tasks of several cores and of tags of Spark
# Connect, neither of which is used here, and that it speaks joblib's older interface.
HARMLESS = (
    "Spark .* stage-level scheduling",
    "Spark session is not provided",
    "`apply_async` is deprecated",
)


@dataclass(frozen=True)
class Workers:
    """``jobs`` cores of this machine, or with ``spark`` the executors of a session.

    Tasks are functions of a module, and their features a path: executors import and map them by
    themselves, so that no task carries a matrix. The study's folder must stand under one path on
    all machines, as for the other Spark jobs.
    """

    jobs: int
    spark: Callable[[], SparkSession] | None = None

    def check(self) -> None:
        """Raises UsageError when executors are asked for and joblib-spark is not installed."""
        if self.spark is not None and importlib.util.find_spec("joblibspark") is None:
            raise UsageError(
                '[compare] backend = "spark" needs the package joblibspark',
                hint="pip install 'likewise[cluster]', or set [compare] backend = \"local\"",
            )

    def threaded(self, task: Task, calls: Sequence[Mapping[str, Any]]) -> Iterator[Point]:
        """Results in order, of a task that takes ``jobs`` and runs that many threads itself.

        Here one call follows the other, so that the memory of one is enough.
        """
        if self.spark is not None:
            yield from self._on_spark(task, [{**call, "jobs": 1} for call in calls])
        else:
            for call in calls:
                yield task(**call, jobs=self.jobs)

    def separate(self, task: Task, calls: Sequence[Mapping[str, Any]]) -> Iterator[Point]:
        """Results in order, of a task that uses one core: side by side in processes."""
        if self.spark is not None:
            yield from self._on_spark(task, calls)
        else:
            watched = [{"task": task, "call": call, "parent": os.getpid()} for call in calls]
            with joblib.parallel_config("loky", inner_max_num_threads=1):
                found = _parallel(_beside, watched, self.jobs, return_as="generator")
            yield from found

    def _on_spark(self, task: Task, calls: Sequence[Mapping[str, Any]]) -> Iterator[Point]:
        from joblibspark import register_spark

        assert self.spark is not None
        cores = self.spark().sparkContext.defaultParallelism
        register_spark()
        # joblib-spark hands no results over before all are there: waves keep what is finished.
        for at in range(0, len(calls), WAVE * cores):
            with warnings.catch_warnings():
                for words in HARMLESS:
                    warnings.filterwarnings("ignore", words)
                with joblib.parallel_config("spark"):
                    found = _parallel(task, calls[at : at + WAVE * cores], -1, return_as="list")
            yield from found


def _beside(task: Task, call: Mapping[str, Any], parent: int) -> Point:
    """The task in a process of joblib's, or in ``parent`` itself when it has but one job."""
    if os.getpid() != parent:
        _end_with(parent)
    return task(**call)


@functools.cache
def _end_with(parent: int) -> None:
    """End this process soon after its parent: joblib's go on for minutes when that was killed."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="watch-parent").start()


def _parallel(
    task: Task, calls: Sequence[Mapping[str, Any]], n_jobs: int, *, return_as: str
) -> Iterable[Point]:
    run = joblib.Parallel(n_jobs, return_as=return_as, batch_size=1)
    results: Iterable[Point] = run(joblib.delayed(task)(**call) for call in calls)
    return results
