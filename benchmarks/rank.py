"""rank over 100,000 stored features, in one process and on Spark, beside a plain NumPy loop.

``python -m benchmarks.rank [--pictures N] [--dim D] [--keep FOLDER]`` prints a Markdown table.

The features are random numbers: a picture and its mirror image, D float32 values each, in 16
buckets as ``extract`` writes them. ``rank`` is the verb as it is: read, score, average both views,
calibrate, rank, publish, choose the galleries. Each line runs in a process of its own; memory is
the largest sum of resident sets of the process and all below it.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from likewise.config import render
from likewise.study import Study
from likewise.tables import LABELS, features_schema
from training.models import saved as models
from training.models.saved import LinearScorer

TARGET_S = 20
BUCKETS = 16
LAYER = "fc7"


def picture_id(number: int) -> str:
    """A name of the length of a sha256."""
    return f"{number * 2654435761 % 2**64:064x}"


def make_study(folder: Path, pictures: int, dim: int) -> Study:
    """Labels, features and one linear model."""
    folder.mkdir(parents=True)
    (folder / "likewise.toml").write_text(render(), encoding="utf-8")
    study = Study.open(folder)
    rng = np.random.default_rng(0)
    write_labels(study, pictures, rng)
    stage = study.begin("features", inputs=["labels"], n_buckets=BUCKETS)
    for bucket in range(BUCKETS):
        numbers = [n for n in range(pictures) if n % BUCKETS == bucket]
        schema = features_schema([LAYER])
        with stage.bucket(bucket) as place, features_writer(place, schema) as writer:
            for start in range(0, len(numbers), 512):
                writer.write_batch(_features(numbers[start : start + 512], bucket, dim, rng))
    stage.publish()
    save_model(study, dim, rng)
    return study


def features_writer(place: Path, schema: pa.Schema) -> pq.ParquetWriter:
    """Writes a part with the encoding that ``extract`` uses."""
    return pq.ParquetWriter(
        place / "part-0.parquet",
        schema,
        compression="zstd",
        compression_level=1,
        use_dictionary=["backbone", "status", "error_class"],
        column_encoding={f"{LAYER}.list.element": "BYTE_STREAM_SPLIT"},
    )


def write_labels(study: Study, pictures: int, rng: np.random.Generator) -> None:
    """One label a picture, four pictures an author."""
    now = dt.datetime(2026, 6, 1, tzinfo=dt.UTC)
    ratio = rng.lognormal(-3, 1, pictures)
    columns = {
        "picture_id": [picture_id(n) for n in range(pictures)],
        "platform": ["mastodon"] * pictures,
        "host": ["one.example"] * pictures,
        "post_id": [str(n) for n in range(pictures)],
        "media_index": [0] * pictures,
        "bucket": [n % BUCKETS for n in range(pictures)],
        "author_id": [f"author-{n // 4}" for n in range(pictures)],
        "likes": (ratio * 1000).astype(np.int64),
        "audience": np.full(pictures, 1000),
        "created_at": [now] * pictures,
        "age_days": np.full(pictures, 40.0),
        "n_faces": rng.integers(1, 4, pictures).astype(np.int32),
        "ratio": ratio,
        "label": (ratio > np.median(ratio)).astype(np.int8),
        "weight": np.ones(pictures),
        "fold": [n // 4 % 5 for n in range(pictures)],
        "split": ["test" if n // 4 % 4 == 0 else "train" for n in range(pictures)],
    }
    stage = study.begin("labels")
    none = [None] * pictures  # columns that ranking does not ask for
    arrays = [pa.array(columns.get(f.name, none), f.type) for f in LABELS.schema]
    stage.write(pa.table(arrays, schema=LABELS.schema))
    stage.publish()


def _features(
    numbers: list[int], bucket: int, dim: int, rng: np.random.Generator
) -> pa.RecordBatch:
    ids = [picture_id(n) for n in numbers for _ in range(2)]
    rows = len(ids)
    values = np.maximum(rng.standard_normal((rows, dim), dtype=np.float32), 0)
    lists = pa.ListArray.from_arrays(
        np.arange(0, (rows + 1) * dim, dim, dtype=np.int32), values.ravel()
    )
    columns = {
        "picture_id": ids,
        "bucket": [bucket] * rows,
        "backbone": ["alexnet"] * rows,
        "maker": ["synthetic"] * rows,
        "flipped": [False, True] * len(numbers),
        "status": ["ok"] * rows,
        "error_class": [None] * rows,
        LAYER: lists,
    }
    schema = features_schema([LAYER])
    arrays = [pa.array(columns[f.name], f.type) for f in schema]
    return pa.record_batch(arrays, schema=schema)


def save_model(study: Study, dim: int, rng: np.random.Generator) -> None:
    """A linear model of random weights."""
    card = {
        "name": "linear",
        "kind": "linear",
        "layer": LAYER,
        "backbone": "alexnet",
        "dim": dim,
        "calibration": {"slope": 1.0, "intercept": 0.0},
        "scores": {"cv_average_precision": 0.5},
    }
    weight = rng.normal(0, 0.01, dim).astype(np.float32)
    models.save(study, LinearScorer(card, weight, 0.0))


def run(what: str, folder: Path) -> dict[str, float]:
    """One line's work, in a process of its own; wall and CPU seconds."""
    study = Study.open(folder)
    if what == "numpy":
        started, before = time.perf_counter(), cpu_seconds()
        plain_loop(study)
        return {"wall_s": time.perf_counter() - started, "cpu_s": cpu_seconds() - before}
    if what == "spark":
        from spark_jobs.session import spark_session

        spark_session(study.config, master="local[2]")
    from training.rank import rank

    started, before = time.perf_counter(), cpu_seconds()
    rank(study, redo=True)
    return {"wall_s": time.perf_counter() - started, "cpu_s": cpu_seconds() - before}


def plain_loop(study: Study) -> None:
    """What a script would do: whole tables in memory, one product, one sort."""
    weight = models.load(study, "linear").weight  # type: ignore[attr-defined]
    table = study.read("features", ["picture_id", LAYER]).combine_chunks()
    lists = table[LAYER].combine_chunks()
    chunks = lists.chunks if isinstance(lists, pa.ChunkedArray) else [lists]
    scores = np.concatenate([c.flatten().to_numpy().reshape(len(c), -1) @ weight for c in chunks])
    np.argsort(-scores.reshape(-1, 2).mean(axis=1))


@contextlib.contextmanager
def peak_of_tree(process: psutil.Process) -> Iterator[list[float]]:
    """The largest sum of resident sets of a process tree, GiB, while the block runs."""
    peak, stop = [0.0], threading.Event()

    def watch() -> None:
        while not stop.wait(0.1):
            total = 0
            with contextlib.suppress(psutil.Error):
                for one in [process, *process.children(recursive=True)]:
                    with contextlib.suppress(psutil.Error):
                        total += one.memory_info().rss
            peak[0] = max(peak[0], total / 2**30)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield peak
    finally:
        stop.set()
        watcher.join()


def measure(what: str, folder: Path) -> dict[str, float]:
    """Wall seconds, CPU seconds of all processes, and peak memory of one line."""
    command = [sys.executable, "-m", "benchmarks.rank", "--child", what, "--keep", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        with peak_of_tree(psutil.Process(child.pid)) as peak:
            out, _ = child.communicate()
        if child.returncode:
            raise SystemExit(f"{what} failed")
    return {**json.loads(out.splitlines()[-1]), "peak_gib": peak[0]}


def cpu_seconds() -> float:
    """User and system time of this process and all below it, the ended ones included."""
    me = psutil.Process()
    total = 0.0
    for one in [me, *me.children(recursive=True)]:
        with contextlib.suppress(psutil.Error):
            times = one.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=50_000)
    parser.add_argument("--dim", type=int, default=4096)
    parser.add_argument("--keep", type=Path, help="folder of the study, made when missing")
    parser.add_argument("--child", choices=["rank", "spark", "numpy"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(run(options.child, options.keep)))
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.keep or Path(scratch) / "study"
        if not folder.exists():
            make_study(folder, options.pictures, options.dim)
        rows = Study.open(folder).require("features").rows
        print(f"{rows:,} stored features of {options.dim} float32 values\n")
        print("| What | Wall s | CPU s | Peak GiB | Target |")
        print("|---|---|---|---|---|")
        names = {
            "rank": "`rank`, one process",
            "spark": "`rank`, Spark `local[2]`, session running",
            "numpy": "plain NumPy: read all, multiply, sort",
        }
        for what, words in names.items():
            found = measure(what, folder)
            target = f"at most {TARGET_S} s" if what != "numpy" else "-"
            print(
                f"| {words} | {found['wall_s']:.1f} | {found['cpu_s']:.1f} | "
                f"{found['peak_gib']:.2f} | {target} |"
            )


if __name__ == "__main__":
    main()
