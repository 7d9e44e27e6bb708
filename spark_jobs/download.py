"""``download`` on Spark: the coroutine of ``collectors`` in every partition.

A host is never asked by more partitions than it may have requests at once, and these share its
allowance, so that a cluster is as polite as one machine. Every task writes its rows into the
study's spool itself, which all executors must be able to reach, and answers with counts only: a
task that is lost or repeated loses or repeats no picture. Tokens stay with the driver: signed
addresses that had ended are renewed and asked for here, after the executors are done.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import hashlib
import itertools
import os
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
from pyspark import TaskContext

from collectors.download import Retry, in_this_process
from collectors.download import download as download_here
from collectors.downloading.breaker import TooManyFailedError
from collectors.downloading.engine import Settings, fetch_all, host_of
from collectors.downloading.plan import CHUNK, ITEMS, Item, Key, Todo, outcomes
from collectors.downloading.spool import Parts
from collectors.downloading.store import Store
from likewise.progress import Bar, progress
from likewise.study import Manifest, Study
from likewise.tables import FETCHED, media_key
from likewise.working import changes_study
from spark_jobs.session import spark_session, survives_java

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

__all__ = ["download", "fetch_on_spark", "lane_of", "share_of"]

LANE_SCHEMA = ITEMS.append(pa.field("attempts", pa.int32())).append(pa.field("lane", pa.int32()))


@changes_study("download")
@survives_java
def download(
    study: Study | str | os.PathLike[str],
    *,
    retry: Retry | None = None,
    master: str | None = None,
) -> Manifest:
    """Fetch the pictures of the kept posts on Spark's executors; publish them and their fetches.

    Arguments, result and errors are those of ``collectors.download.download``.
    """
    study = Study.open(study)
    spark = spark_session(study.config, master=master)

    def engine(todo: Todo, settings: Settings, store: Store, bar: Bar) -> None:
        fetch_on_spark(spark, todo, settings, store, bar)
        store.rows.refresh()
        rest = todo.expired(store)
        if len(rest):
            with progress("download: addresses that had ended", len(rest)) as second:
                in_this_process(rest, settings, store, second)

    return download_here(study, retry=retry, engine=engine)


def lane_of(url: str, key: str, lanes: int, per_host: int) -> int:
    """Partition that asks for a picture: the pictures of one host go to at most ``per_host``."""
    spread = min(lanes, per_host)
    return (_digest(host_of(url)) + _digest(key) % spread) % lanes


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def share_of(settings: Settings, lanes: int) -> Settings:
    """Settings of one of ``lanes`` partitions; over all of them no limit is exceeded."""
    limits = settings.limits
    per_host = limits.per_host // min(lanes, limits.per_host)
    mine = replace(
        limits,
        concurrency=limits.concurrency // lanes,
        per_host=per_host,
        in_flight=max(1, limits.in_flight // lanes),
    )
    return replace(settings, limits=mine, workers=settings.workers or 1)


def fetch_on_spark(
    spark: SparkSession, todo: Todo, settings: Settings, store: Store, bar: Bar
) -> None:
    """Fetch what is to do in Spark partitions; rows go to the store's spool.

    Raises:
        TooManyFailedError: nearly all pictures of a partition failed for one reason.
    """
    lanes = max(1, min(spark.sparkContext.defaultParallelism, settings.limits.concurrency))
    listed = Parts(store.folder / "todo", LANE_SCHEMA, by="lane")
    _deal_out(todo.items(), listed, lanes, settings.limits.per_host)
    work = _Work(str(listed.folder), str(store.rows.folder), share_of(settings, lanes))
    with _counting(store.rows, bar):
        answers = (
            spark.range(0, lanes, 1, lanes)
            .mapInArrow(work.run, "reason string, times long, n long")
            .collect()
        )
    for answer in answers:
        if answer["reason"]:
            raise TooManyFailedError(answer["reason"], answer["times"], answer["n"])


def _deal_out(items: Iterator[Item], listed: Parts, lanes: int, per_host: int) -> None:
    shutil.rmtree(listed.folder, ignore_errors=True)
    while chunk := list(itertools.islice(items, CHUNK)):
        rows = [
            {**item._asdict(), "lane": lane_of(item.url, media_key(*item.key), lanes, per_host)}
            for item in chunk
        ]
        listed.write(pa.Table.from_pylist(rows, schema=LANE_SCHEMA))


@dataclass(frozen=True, slots=True)
class _Work:
    """What a task needs to know: places that all machines reach, and its share of the limits."""

    listed: str
    rows: str
    settings: Settings
    started: dt.datetime = field(default_factory=lambda: dt.datetime.now(dt.UTC))

    def run(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Fetch the lanes that ``batches`` name (column ``id``); one answer a lane."""
        for batch in batches:
            for lane in batch["id"].to_pylist():
                yield pa.RecordBatch.from_pylist([self._fetch(lane)], schema=_ANSWER)

    def _fetch(self, lane: int) -> dict[str, object]:
        sink = Parts(Path(self.rows), FETCHED)
        try:
            asyncio.run(fetch_all(self._items(lane, sink), self.settings, sink))
        except TooManyFailedError as error:
            times, n = error.counts
            return {"reason": error.reason, "times": times, "n": n}
        return {"reason": None, "times": 0, "n": 0}

    def _items(self, lane: int, sink: Parts) -> Iterator[Item]:
        """Pictures of the lane, less those that a lost attempt at this very task has fetched."""
        done: dict[int, set[Key]] = {}
        for batch in Parts(Path(self.listed), LANE_SCHEMA, by="lane").batches(lane):
            for row in batch.drop_columns(["lane"]).to_pylist():
                item = Item(**row)
                if item.bucket not in done:
                    done[item.bucket] = self._fetched(item.bucket, sink)
                if item.key not in done[item.bucket]:
                    yield item

    def _fetched(self, bucket: int, sink: Parts) -> set[Key]:
        task = TaskContext.get()
        if task is None or task.attemptNumber() == 0:
            return set()
        recent = pc.field("fetched_at") >= self.started
        return {key for batch in sink.batches(bucket) for key in outcomes([batch.filter(recent)])}


_ANSWER = pa.schema([("reason", pa.string()), ("times", pa.int64()), ("n", pa.int64())])


@contextlib.contextmanager
def _counting(rows: Parts, bar: Bar) -> Iterator[None]:
    """Move the bar as rows arrive on the disk, whichever machine writes them."""
    stop = threading.Event()
    before = set(rows.paths())
    counted: dict[Path, int] = {}

    def watch() -> None:
        while not stop.wait(1.0):
            for path in set(rows.paths()) - before - counted.keys():
                counted[path] = rows.count(path)
            bar.update(sum(counted.values()))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        stop.set()
        watcher.join()


if __name__ == "__main__":
    from spark_jobs.entry import main

    main("spark_jobs.download", "download")
