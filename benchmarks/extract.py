"""fc6 + fc7 of JPEGs of 640 x 640, both views: ours beside plain torch and Spark's own ways.

``python -m benchmarks.extract [--pictures N] [--backbone NAME] [--only WAY ...]`` prints a Markdown
table. Every way gets the same files and random weights, writes its features, and runs in a process
of its own. CPU-seconds are user + system of that process and all below it (the JVM, the Python
workers); starting the Spark session and its first, empty Python job is counted apart. Memory is the
largest resident set of one Python worker. The machine's limit is the better sgemm of torch and
NumPy, one thread.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import hashlib
import io
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

BUCKETS = 8
BATCH = 32
LAYERS = ("fc6", "fc7")
WAYS = {
    "eager-1": "eager torch loop, 1 thread",
    "eager-2": "eager torch loop, 2 threads",
    "loop": "our loop (`likewise embed`), 1 thread",
    "udf": "Spark predict_batch_udf, eager torch, local[2]",
    "rows": "our network through mapInArrow rows, local[2]",
    "spark-core": "`likewise extract`, local[1], all on one core",
    "spark-1": "`likewise extract`, local[1]",
    "spark": "`likewise extract`, local[2]",
}


# -- the same pictures for all ------------------------------------------------------------


def make_pictures(n: int, folder: Path) -> None:
    """A study with ``n`` JPEGs of 640 x 640 (64 different ones) and a label for each."""
    from likewise.config import render
    from likewise.pictures import GROUP_ROWS, pictures_writer, split
    from likewise.study import Study
    from likewise.tables import FETCHED, bucket_of, media_key

    settings = {"download": {"buckets": BUCKETS}}
    (folder / "likewise.toml").write_text(render(settings), encoding="utf-8")
    study = Study.open(folder)
    contents = [jpeg_of(seed) for seed in range(64)]
    keys = [media_key("mastodon", "b.example", str(i), 0) for i in range(n)]
    rows = [fetched(i, contents[i % 64], bucket_of(key, BUCKETS)) for i, key in enumerate(keys)]
    fetches, pictures = split(pa.Table.from_pylist(rows, FETCHED), BUCKETS)
    stage = study.begin("fetches")
    stage.write(fetches)
    stage.publish()
    stage = study.begin("pictures", n_buckets=BUCKETS)
    for bucket in range(BUCKETS):
        with stage.bucket(bucket) as target, pictures_writer(target / "part-0.parquet") as writer:
            own = pictures.filter(pc.equal(pictures["bucket"], bucket))
            writer.write_table(own, row_group_size=GROUP_ROWS)
    stage.publish()
    labels = study.begin("labels")
    labels.write(fetches)
    labels.publish()


def fetched(index: int, content: bytes, bucket: int) -> dict[str, Any]:
    """A fetch that brought a picture, a row of ``FETCHED``; every index has a file of its own."""
    key = {"platform": "mastodon", "host": "b.example", "post_id": str(index), "media_index": 0}
    # Bytes after the end of a JPEG make every file another one.
    data = content + index.to_bytes(8, "big")
    return {
        **key,
        "author_id": "a",
        "bucket": bucket,
        "url": "https://b.example/",
        "picture_id": hashlib.sha256(data).hexdigest(),
        "bytes": data,
        "n_bytes": len(data),
        "format": "jpeg",
        "status": "ok",
        "attempts": 1,
    }


def jpeg_of(seed: int) -> bytes:
    """Blobs, edges and grain: about 100 KB, as a photograph of that size has."""
    from PIL import Image

    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (20, 20, 3), dtype=np.uint8))
    smooth = np.asarray(small.resize((640, 640), Image.Resampling.BICUBIC), np.float32)
    grain = rng.normal(0, 12, (640, 640, 1)).astype(np.float32)
    file = io.BytesIO()
    Image.fromarray(np.clip(smooth + grain, 0, 255).astype(np.uint8)).save(file, "JPEG", quality=85)
    return file.getvalue()


# -- the ways -----------------------------------------------------------------------------


def plan_of(folder: Path, backbone: str, **options: Any) -> Any:
    from backbones.planning import make_plan

    exports = folder / "exports"
    return make_plan(backbone, LAYERS, random_weights=True, folder=exports, **options)


def all_pictures(folder: Path) -> Iterator[tuple[str, bytes]]:
    from likewise.study import Study

    for part in Study.open(folder).parts("pictures"):
        for batch in pq.ParquetFile(part).iter_batches(64, columns=["picture_id", "bytes"]):
            yield from zip(batch[0].to_pylist(), batch[1].to_pylist(), strict=True)


def eager(folder: Path, backbone: str, threads: int) -> None:
    """What one writes in an afternoon: decode, stack, forward, append."""
    import torch

    from backbones import load, prepare_views

    torch.set_num_threads(threads)
    network = load(backbone, random_weights=True)
    writer = None
    pictures = list(all_pictures(folder))
    for start in range(0, len(pictures), BATCH):
        chunk = pictures[start : start + BATCH]
        views = np.concatenate([prepare_views(data, backbone) for _, data in chunk])
        with torch.inference_mode():
            found = network.features(torch.from_numpy(views))
        columns = {layer: pa.array(list(found[layer].numpy())) for layer in LAYERS}
        table = pa.table({"picture_id": [name for name, _ in chunk for _ in (0, 1)], **columns})
        writer = writer or pq.ParquetWriter(folder / "eager.parquet", table.schema)
        writer.write_table(table)
    if writer is not None:
        writer.close()


def loop(folder: Path, backbone: str) -> None:
    """Our own code without Spark."""
    from backbones.features_table import write_features
    from backbones.inference import embed
    from likewise.tables import features_schema

    plan = plan_of(folder, backbone)
    schema = features_schema(plan.layers)
    schema = schema.remove(schema.get_field_index("bucket"))
    write_features(folder / "loop.parquet", embed(all_pictures(folder), plan), plan, schema)


def start_spark(cores: int) -> Any:
    from spark_jobs.session import spark_session

    return spark_session(master=f"local[{cores}]")


def extract(spark: Any, folder: Path, backbone: str) -> None:
    """The verb's own work, on the session that is there."""
    from likewise.study import Study
    from spark_jobs.chunks import chunks
    from spark_jobs.extract import begin, work_on

    study = Study.open(folder)
    plan = plan_of(folder, backbone)
    growth = begin(study, plan, redo=True)
    tasks = chunks(study, study.read("labels", ["picture_id"])["picture_id"].unique(), 2)
    work_on(growth, plan, tasks, spark.sparkContext.master)


def rows(spark: Any, folder: Path, backbone: str) -> None:
    """The same network, but pictures and features travel through the JVM."""
    from likewise.study import Study

    plan = plan_of(folder, backbone)

    def work(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        from backbones.inference import embed, record_batch
        from likewise.tables import features_schema

        schema = features_schema(plan.layers)
        schema = schema.remove(schema.get_field_index("bucket"))
        pictures = (
            pair
            for batch in batches
            for pair in zip(batch[0].to_pylist(), batch[1].to_pylist(), strict=True)
        )
        for batch in embed(pictures, plan):
            yield record_batch(batch, plan, schema)

    names = "picture_id string, backbone string, flipped boolean, status string, error_class string"
    result = names + "".join(f", {layer} array<float>" for layer in LAYERS)
    table = spark.read.parquet(*Study.open(folder).parts("pictures"))
    frame = table.select("picture_id", "bytes").mapInArrow(work, result)
    frame.write.mode("overwrite").parquet(str(folder / "rows"))


def udf(spark: Any, folder: Path, backbone: str) -> None:
    """Spark's own function for inference, as its documentation shows it, with eager torch."""
    from pyspark.ml.functions import predict_batch_udf
    from pyspark.sql.types import ArrayType, FloatType, StructField, StructType

    from likewise.study import Study

    def make() -> Callable[[np.ndarray], dict[str, np.ndarray]]:
        import torch

        from backbones import load, prepare_views

        torch.set_num_threads(1)
        network = load(backbone, random_weights=True)

        def predict(contents: np.ndarray) -> dict[str, np.ndarray]:
            views = np.concatenate([prepare_views(data, backbone) for data in contents])
            with torch.inference_mode():
                found = network.features(torch.from_numpy(views))
            return {
                f"{layer}_{view}": found[layer][view::2].numpy()
                for layer in LAYERS
                for view in (0, 1)
            }

        return predict

    names = [f"{layer}_{view}" for layer in LAYERS for view in (0, 1)]
    kind = StructType([StructField(name, ArrayType(FloatType())) for name in names])
    predict = predict_batch_udf(make, return_type=kind, batch_size=BATCH)
    table = spark.read.parquet(*Study.open(folder).parts("pictures"))
    frame = table.select("picture_id", predict("bytes").alias("features"))
    frame.write.mode("overwrite").parquet(str(folder / "udf"))


# -- measuring ----------------------------------------------------------------------------


def cpu_of_tree() -> dict[str, float]:
    """CPU-seconds so far of this process and all below it, the JVM apart."""
    seconds = {"jvm": 0.0, "python": 0.0}
    root = psutil.Process()
    for process in [root, *root.children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            kind = "jvm" if "java" in process.name() else "python"
            seconds[kind] += sum(process.cpu_times()[:4])
    return seconds


@contextlib.contextmanager
def watching_memory(found: dict[str, float]) -> Iterator[None]:
    """Largest resident set in MB of any Python process below this one (or of this one)."""
    stop = threading.Event()

    def watch() -> None:
        root = psutil.Process()
        while not stop.wait(2):  # looking at all processes is work, too
            below = root.children(recursive=True)
            for process in [p for p in below if _is_python(p)] or [root]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    size = process.memory_info().rss / 1e6
                    found["rss"] = max(found.get("rss", 0.0), size)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        stop.set()
        watcher.join()


def _is_python(process: psutil.Process) -> bool:
    try:
        return "python" in process.name()
    except psutil.NoSuchProcess:
        return False


def measure(way: str, folder: Path, backbone: str) -> dict[str, float]:
    """Run one way in this process; figures of the work, and of the start of the session."""
    result: dict[str, float] = {}
    if way == "spark-core":
        # A worker decodes beside the network: alone it would use the second core, too.
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    if way in ("eager-1", "eager-2"):
        work = functools.partial(eager, folder, backbone, int(way[-1]))
    elif way == "loop":
        work = functools.partial(loop, folder, backbone)
    else:
        began, before = time.perf_counter(), cpu_of_tree()
        spark = start_spark(1 if way in ("spark-core", "spark-1") else 2)
        # A first Python job, too: what the JVM loads for it is start-up, whatever the job is.
        spark.range(2).mapInArrow(lambda batches: batches, "id long").count()
        result["start_wall"] = time.perf_counter() - began
        result["start_cpu"] = sum(cpu_of_tree().values()) - sum(before.values())
        work = functools.partial(
            {"udf": udf, "rows": rows}.get(way, extract), spark, folder, backbone
        )
    began, before = time.perf_counter(), cpu_of_tree()
    with watching_memory(result):
        work()
    result["wall"] = time.perf_counter() - began
    after = cpu_of_tree()
    return result | {kind: after[kind] - before[kind] for kind in after}


def limits(backbone: str, folder: Path) -> dict[str, float]:
    """GFLOP/s of sgemm and of our network, both with one thread."""
    import torch

    from backbones.engines import open_engine

    torch.set_num_threads(1)
    plan = plan_of(folder, backbone)
    engine = open_engine(plan)
    from backbones.registry import get

    side = get(backbone).input_size
    views = np.random.default_rng(0).normal(size=(2 * plan.batch, 3, side, side))
    views = views.astype(np.float32)
    work = flop(backbone) * len(views)
    runs = [_seconds(lambda: engine.run(views)) for _ in range(12)]
    return {"sgemm": max(_sgemm()), "network": work / min(runs) / 1e9, "flop": flop(backbone)}


def _sgemm(side: int = 3072) -> Iterator[float]:
    import torch

    left, right = torch.randn(side, side), torch.randn(side, side)
    a, b = left.numpy(), right.numpy()
    for multiply in (lambda: left @ right, lambda: a @ b):
        yield 2 * side**3 / min(_seconds(multiply) for _ in range(5)) / 1e9


def _seconds(work: Callable[[], Any]) -> float:
    began = time.thread_time()
    work()
    return time.thread_time() - began


def flop(backbone: str) -> float:
    """Floating-point operations of one forward pass up to fc7: two for each multiply-add."""
    import torch
    from torch import nn

    from backbones.loading import build
    from backbones.registry import get

    total = [0.0]

    def count(module: nn.Module, _: Any, output: Any) -> None:
        if isinstance(module, nn.Conv2d):
            total[0] += 2.0 * output[0].numel() * module.weight[0].numel()
        elif isinstance(module, nn.Linear) and module.out_features != 1000:
            total[0] += 2.0 * module.weight.numel()

    with torch.device("meta"):
        network = build(backbone)
        side = get(backbone).input_size
        for module in network.modules():
            module.register_forward_hook(count)
        network.features(torch.zeros(1, 3, side, side))
    return total[0]


# -- the table ----------------------------------------------------------------------------


def run_apart(way: str, folder: Path, backbone: str) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.extract", "--child", way, "--folder", str(folder)]
    command += ["--backbone", backbone]
    answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(answer.stdout.strip().splitlines()[-1])


def table(found: dict[str, dict[str, float]], n: int) -> str:
    lines = [
        "| Way | wall s | pictures/s | CPU ms a picture (JVM + Python) | start: wall, CPU s | MB |",
        "|---|---|---|---|---|---|",
    ]
    for way, got in found.items():
        cpu = (got["jvm"] + got["python"]) / n * 1000
        parts = f"{cpu:.1f} ({got['jvm'] / n * 1000:.1f} + {got['python'] / n * 1000:.1f})"
        start = f"{got['start_wall']:.1f}, {got['start_cpu']:.1f}" if "start_wall" in got else "-"
        lines.append(
            f"| {WAYS[way]} | {got['wall']:.1f} | {n / got['wall']:.1f} | {parts} | {start} "
            f"| {got.get('rss', 0):.0f} |"
        )
    return "\n".join(lines)


def targets(found: dict[str, dict[str, float]], limit: dict[str, float], n: int) -> str:
    cpu = {way: got["jvm"] + got["python"] for way, got in found.items()}
    wall = {way: got["wall"] for way, got in found.items()}
    lines = ["| Target | wanted | measured |", "|---|---|---|"]

    def line(text: str, wanted: str, value: float, form: str = ".2f") -> None:
        lines.append(f"| {text} | {wanted} | {value:{form}} |")

    line("network / sgemm limit", ">= 0.85", limit["network"] / limit["sgemm"])
    if {"spark", "eager-1"} <= found.keys():
        line("CPU in Spark / eager loop", "<= 0.75", cpu["spark"] / cpu["eager-1"])
    if {"spark", "eager-2"} <= found.keys():
        line("images/s: Spark / eager loop, 2 threads", ">= 1.35", wall["eager-2"] / wall["spark"])
    if {"spark", "udf"} <= found.keys():
        line("images/s: Spark / predict_batch_udf", ">= 1.70", wall["udf"] / wall["spark"])
    if {"spark", "loop"} <= found.keys():
        line("CPU in Spark / our loop", "<= 1.10", cpu["spark"] / cpu["loop"])
    if {"spark", "spark-core"} <= found.keys():
        ratio = wall["spark-core"] / wall["spark"]
        line("images/s: 2 workers on 2 cores / 1 on 1", ">= 1.80", ratio)
    if "spark" in found:
        line("35,000 pictures x 2 views, minutes", "-", 35_000 * wall["spark"] / n / 60, ".0f")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=2000)
    parser.add_argument("--backbone", default="alexnet")
    parser.add_argument("--only", nargs="*", choices=list(WAYS), default=list(WAYS))
    parser.add_argument("--child", choices=list(WAYS), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        print(json.dumps(measure(asked.child, asked.folder, asked.backbone)))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_pictures(asked.pictures, folder)
        limit = limits(asked.backbone, folder)
        found = {way: run_apart(way, folder, asked.backbone) for way in asked.only}
    gflops = f"sgemm {limit['sgemm']:.0f} GFLOP/s, network {limit['network']:.0f} GFLOP/s"
    print(f"{asked.backbone}, {asked.pictures:,} pictures; one thread: {gflops}, ", end="")
    print(f"{limit['flop'] / 1e9:.3f} GFLOP a view\n")
    print(table(found, asked.pictures), targets(found, limit, asked.pictures), sep="\n\n")


if __name__ == "__main__":
    main()
