"""Work on pictures, handed out: to processes of this machine when it is little, else by Spark."""

from __future__ import annotations

import multiprocessing.resource_tracker
import os
import signal
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

from spark_jobs.session import is_submitted, spark_session

if TYPE_CHECKING:
    from likewise.config import Config

__all__ = ["LOCAL", "in_turn", "on_spark"]

LOCAL = 5_000
"""Items up to which a run on one machine does without the JVM, which costs 18 CPU-seconds."""

FEW = 48
"""Items up to which a second process would cost more than it saves."""

T = TypeVar("T")
R = TypeVar("R")


def on_spark(config: Config, items: int, master: str | None) -> bool:
    """Whether this many items are work for Spark: many, or a cluster was asked for."""
    where = master or config.spark.master
    return items > LOCAL or master is not None or is_submitted() or not where.startswith("local")


def in_turn(
    config: Config,
    tasks: Sequence[T],
    work: Callable[[T], R],
    *,
    items: int,
    few: int = FEW,
    master: str | None = None,
) -> Iterator[list[R]]:
    """Answers of ``work`` for every task, in groups, as they are done; in any order.

    Up to ``few`` items this process does them itself.

    ``work`` and its answers are pickled; it may run twice for one task.
    """
    if not tasks:
        return
    if on_spark(config, items, master):
        yield from _by_spark(config, tasks, work, master)
        return
    workers = min(os.cpu_count() or 1, len(tasks))
    if workers == 1 or items <= few:
        for task in tasks:
            yield [work(task)]
        return
    import joblib
    from joblib.externals.loky import get_reusable_executor
    from joblib.externals.loky.backend import resource_tracker

    # loky's processes start afresh (no fork of a process with threads) and need no __main__. They
    # inherit the blocked Ctrl-C, which goes to the whole group: this process ends them, silently.
    pool = joblib.Parallel(n_jobs=workers, return_as="generator_unordered")
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        # The start of either tracker unblocks Ctrl-C again, so both have to run before.
        multiprocessing.resource_tracker.ensure_running()
        resource_tracker.ensure_running()
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        answers = pool(joblib.delayed(work)(task) for task in tasks)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    try:
        for answer in answers:
            yield [answer]
    finally:
        with warnings.catch_warnings():  # that tasks are given up is what was asked for
            warnings.simplefilter("ignore", UserWarning)
            answers.close()
        get_reusable_executor().shutdown(wait=True)


def _by_spark(
    config: Config, tasks: Sequence[T], work: Callable[[T], R], master: str | None
) -> Iterator[list[R]]:
    """Waves of tasks: enough of them to keep all cores busy, few enough to lose little."""
    spark = spark_session(config, master=master)
    wave = max(8, 4 * spark.sparkContext.defaultParallelism)
    for start in range(0, len(tasks), wave):
        some = tasks[start : start + wave]
        yield spark.sparkContext.parallelize(some, len(some)).map(work).collect()
