"""``likewise serve``: CPU and wall of a request, the index, and neighbours, on synthetic studies.

    python -m benchmarks.serve --pictures 100000
    python -m benchmarks.serve --pictures 1000000 --no-features

CPU is that of the server process alone (psutil); the client speaks HTTP over loopback from another
process. Nothing of a picture is decoded here.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime as dt
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from likewise.config import render
from likewise.study import Study
from likewise.tables import (
    AUTHORS,
    FETCHES,
    LABELS,
    PICTURES,
    POSTS,
    SCORES,
    features_schema,
)

CLIENTS = 20
NOW = dt.datetime(2026, 6, 1, tzinfo=dt.UTC)
DIM = 1280


def make(folder: Path, n: int, *, features: bool) -> Study:
    """A study of ``n`` pictures by ``n / 20`` authors, tags by Zipf's law; no picture has bytes."""
    folder.mkdir(parents=True)
    (folder / "likewise.toml").write_text(render({"study": {"name": "benchmark"}}))
    study = Study.open(folder)
    rng = np.random.default_rng(1)
    ids = [hashlib.sha256(str(k).encode()).hexdigest() for k in range(n)]
    people = max(1, n // 20)
    author = rng.integers(people, size=n)
    followers = rng.lognormal(6, 1.5, people).astype(np.int64) + 10
    likes = rng.poisson(0.05 * followers[author])
    posted = NOW - dt.timedelta(days=400)
    dates = pa.array(
        (np.datetime64(posted.replace(tzinfo=None), "us")
         + rng.integers(0, 360 * 86_400, n).astype("timedelta64[s]")),
        pa.timestamp("us"),
    ).cast(pa.timestamp("us", tz="UTC"))  # fmt: skip
    post_ids = pa.array([f"p{k:08d}" for k in range(n)])
    author_ids = pa.array([f"a{k:07d}" for k in author])
    key = {
        "platform": pa.array(["pixelfed", "mastodon"]).take(pa.array(rng.integers(2, size=n))),
        "host": pa.array(["pixelfed.example"] * n),
        "post_id": post_ids,
    }
    zipf = rng.zipf(1.5, (n, 3)).clip(1, 2000)
    tags = pa.ListArray.from_arrays(
        pa.array(np.arange(0, 3 * n + 1, 3), pa.int32()),
        pa.array([f"tag{k}" for k in range(2001)]).take(pa.array(zipf.ravel())),
    )
    media = pa.array(
        [[{"index": 0, "kind": "image", "url": None, "preview_url": None, "width": 640,
           "height": 640, "alt": None}]], POSTS.schema.field("media").type,
    ).take(pa.array(np.zeros(n, np.int64)))  # fmt: skip
    _publish(study, POSTS, n, {**key, "author_id": author_ids, "created_at": dates, "tags": tags,
             "collected_at": pa.array([NOW] * n), "likes": pa.array(likes), "media": media,
             "url": pa.array([f"https://pixelfed.example/p/{k}" for k in range(n)]),
             "text": pa.array(["a photograph of something that somebody saw"] * n)})  # fmt: skip
    _publish(study, AUTHORS, people, {"author_id": pa.array([f"a{k:07d}" for k in range(people)]),
             "platform": pa.array(["pixelfed"] * people), "followers": pa.array(followers),
             "host": pa.array(["pixelfed.example"] * people),
             "handle": pa.array([f"person{k}" for k in range(people)]),
             "fetched_at": pa.array([NOW] * people)})  # fmt: skip
    ratio = likes / followers[author]
    mine = {**key, "media_index": pa.array(np.zeros(n, np.int32)), "author_id": author_ids}
    buckets = pa.array(np.arange(n, dtype=np.int32) % 16)
    shape = {"width": _ints(n, 640), "height": _ints(n, 640), "n_bytes": _ints(n, 90_000)}
    _publish(study, FETCHES, n, {**mine, **shape, "bucket": buckets, "picture_id": pa.array(ids),
             "url": pa.array(["https://pixelfed.example/m"] * n), "attempts": _ints(n, 1),
             "status": pa.array(["ok"] * n)})  # fmt: skip
    _publish(study, PICTURES, n, {**shape, "bucket": buckets, "picture_id": pa.array(ids),
             "bytes": pa.array([b""] * n), "format": pa.array(["jpeg"] * n)})  # fmt: skip
    _publish(study, LABELS, n, {**mine, "bucket": buckets, "picture_id": pa.array(ids),
             "likes": pa.array(likes), "audience": pa.array(followers[author]),
             "created_at": dates, "age_days": pa.array(np.full(n, 60.0)),
             "n_faces": pa.array(rng.integers(1, 5, n).astype(np.int32)),
             "ratio": pa.array(ratio), "weight": pa.array(np.ones(n)),
             "label": pa.array((ratio > np.median(ratio)).astype(np.int16)),
             "fold": pa.array((author % 5).astype(np.int32)),
             "split": pa.array(np.where(author % 4 == 0, "test", "train"))})  # fmt: skip
    score = rng.normal(size=n)
    rank = np.empty(n, np.int64)
    rank[np.argsort(-score)] = np.arange(1, n + 1)
    stage = study.begin("scores")
    stage.write(_table(SCORES, n, {**{k: key[k] for k in ("platform", "host")},
                "author_id": author_ids, "picture_id": pa.array(ids),
                "model": pa.array(["linear-svc"] * n), "score": pa.array(score),
                "probability": pa.array(1 / (1 + np.exp(-score))), "rank": pa.array(rank),
                "rank_in_author": pa.array(np.ones(n, np.int64))}))  # fmt: skip
    stage.publish(model="linear-svc", layer="pooled", backbone="efficientnet-lite0")
    if features:
        _features(study, ids, rng)
    return study


def _ints(n: int, value: int) -> pa.Array:
    return pa.array(np.full(n, value, np.int32))


def _table(spec: object, n: int, columns: dict[str, pa.Array]) -> pa.Table:
    schema = spec.schema  # type: ignore[attr-defined]
    return pa.table(
        [
            columns[f.name].cast(f.type) if f.name in columns else pa.nulls(n, f.type)
            for f in schema
        ],
        schema=schema,
    )


def _publish(study: Study, spec: object, n: int, columns: dict[str, pa.Array]) -> None:
    stage = study.begin(spec.name)  # type: ignore[attr-defined]
    stage.write(_table(spec, n, columns))
    stage.publish()


def _features(study: Study, ids: Sequence[str], rng: np.random.Generator) -> None:
    schema = features_schema(["pooled"])
    stage = study.begin("features")
    with stage.staging() as folder, pq.ParquetWriter(folder / "part-0.parquet", schema) as writer:
        for start in range(0, len(ids), 4096):
            mine = ids[start : start + 4096]
            m = len(mine)
            values = rng.normal(size=(m, DIM)).astype(np.float32)
            lists = pa.ListArray.from_arrays(
                pa.array(np.arange(0, m * DIM + 1, DIM), pa.int32()), pa.array(values.ravel())
            )
            row = {"picture_id": pa.array(mine), "bucket": _ints(m, 0),
                   "backbone": pa.array(["efficientnet-lite0"] * m), "status": pa.array(["ok"] * m),
                   "flipped": pa.array(np.zeros(m, bool)), "pooled": lists}  # fmt: skip
            columns = [row[f.name].cast(f.type) if f.name in row else pa.nulls(m, f.type)
                       for f in schema]  # fmt: skip
            writer.write_table(pa.table(columns, schema=schema))
    stage.publish()


async def _client(port: int, paths: Sequence[str], until: float, walls: list[float]) -> None:
    """Asks one path after the other over one connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    at = 0
    while time.perf_counter() < until:
        started = time.perf_counter()
        await _ask(reader, writer, paths[at % len(paths)])
        walls.append(time.perf_counter() - started)
        at += 1
    writer.close()


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str) -> bytes:
    writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
    await writer.drain()
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), head[:200]
    length = next(
        int(h[15:]) for h in head.lower().split(b"\r\n") if h.startswith(b"content-length")
    )
    return await reader.readexactly(length)


async def _once(port: int, path: str) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    body = await _ask(reader, writer, path)
    writer.close()
    return body


async def measure(
    process: psutil.Process,
    port: int,
    name: str,
    paths: Sequence[str],
    *,
    clients: int,
    seconds: float,
) -> dict[str, float]:
    """CPU ms a request of the server process, and wall p50 and p95 in ms."""
    for path in paths[:5]:
        await _once(port, path)
    before = process.cpu_times()
    walls: list[float] = []
    until = time.perf_counter() + seconds
    await asyncio.gather(
        *(_client(port, paths[k:] + paths[:k], until, walls) for k in range(clients))
    )  # type: ignore[operator]
    after = process.cpu_times()
    cpu = after.user + after.system - before.user - before.system
    p50, p95 = np.percentile(walls, [50, 95]) * 1e3
    row = {"cpu_ms": 1e3 * cpu / len(walls), "p50_ms": float(p50), "p95_ms": float(p95)}
    print(f"| {name} | {clients} | {len(walls):,} | {row['cpu_ms']:.2f} | {p50:.1f} | {p95:.1f} |")
    return row


async def _measured(
    process: psutil.Process, port: int, n: int, *, features: bool, seconds: float
) -> None:
    page = "/api/v1/rankings?limit=60"
    first = json.loads(await _once(port, page))
    ids = [one["id"] for one in first["items"]]
    cursor = first["next"]
    rng = np.random.default_rng(2)
    anywhere = [f"{page}&at={k}" for k in rng.integers(0, n - 60, 200)]
    filtered = [f"{page}&label=good&min_faces=2&tag=tag{k}" for k in range(1, 21)]
    fresh = [
        f"/api/v1/rankings/counts?min_audience={k}&label=good"
        for k in rng.integers(10, 10**6, 5000)
    ]
    print("| Request | Clients | Requests | CPU ms | p50 ms | p95 ms |\n|---|---|---|---|---|---|")
    for clients in (1, CLIENTS):
        await measure(process, port, "first page of 60", [page], clients=clients, seconds=seconds)
    await measure(
        process,
        port,
        "page behind a cursor",
        [f"{page}&cursor={cursor}"],
        clients=1,
        seconds=seconds,
    )
    await measure(process, port, "last page", [f"{page}&at={n - 60}"], clients=1, seconds=seconds)
    await measure(process, port, "any page", anywhere, clients=CLIENTS, seconds=seconds)
    await measure(
        process, port, "page of a filter, known", filtered, clients=CLIENTS, seconds=seconds
    )
    await measure(
        process,
        port,
        "counts and facets, known",
        ["/api/v1/rankings/counts"],
        clients=1,
        seconds=seconds,
    )
    await measure(
        process, port, "counts and facets, fresh filter", fresh, clients=1, seconds=seconds
    )
    await measure(
        process,
        port,
        "one picture",
        [f"/api/v1/pictures/{one}" for one in ids],
        clients=1,
        seconds=seconds,
    )
    if features:
        paths = [f"/api/v1/pictures/{one}/neighbours" for one in ids]
        await measure(process, port, "12 neighbours of all", paths, clients=1, seconds=seconds)


def main() -> None:
    """Make the study, serve it, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=100_000)
    parser.add_argument("--no-features", action="store_true")
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        root = options.folder or Path(temporary) / "study"
        if not root.is_dir():
            make(root, options.pictures, features=not options.no_features)
        _serve(root, options)


def _serve(root: Path, options: argparse.Namespace) -> None:
    command = [sys.executable, "-m", "likewise", "serve", str(root), "--port", "0", "--json",
               "--workers", "1"]  # fmt: skip
    started = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            port = int(json.loads(server.stdout.readline())["url"].rpartition(":")[2])
            while True:
                try:
                    asyncio.run(_once(port, "/healthz"))
                    break
                except ConnectionError:
                    time.sleep(0.02)
            wall = time.perf_counter() - started
            process = psutil.Process(server.pid)
            times = process.cpu_times()
            used = times.user + times.system
            print(f"load {os.getloadavg()[0]:.1f}; start {wall:.2f} s, {used:.2f} CPU-s")
            builder = _builder(process)
            cpu = 0.0
            while True:
                if builder is not None:
                    try:
                        times = builder.cpu_times()
                        cpu = times.user + times.system
                    except psutil.Error:
                        builder = None
                try:
                    asyncio.run(_once(port, "/readyz"))
                    break
                except AssertionError:
                    time.sleep(0.1)
            print(f"index of {options.pictures:,}: {cpu:.1f} CPU-s")
            featured = not options.no_features
            work = _measured(
                process, port, options.pictures, features=featured, seconds=options.seconds
            )
            asyncio.run(work)
            print(_memory(process))
        finally:
            server.terminate()


def _memory(process: psutil.Process) -> str:
    """Memory that nobody but the server and its children holds, and what is mapped besides.

    The features are a file that is mapped: its pages are the system's cache, which it takes back
    when others want memory, so they are told apart (``Anonymous`` and ``Pss`` of smaps_rollup).
    """
    anonymous = shared = 0.0
    family = [process, *process.children(recursive=True)]
    for one in family:
        lines = Path(f"/proc/{one.pid}/smaps_rollup").read_text(encoding="ascii").splitlines()[1:]
        sizes = {name: int(rest.split()[0]) * 1024 for name, _, rest in (
            line.partition(":") for line in lines)}  # fmt: skip
        anonymous += sizes["Anonymous"] / 1e6
        shared += sizes["Pss"] / 1e6
    return (
        f"memory of {len(family)} processes: {anonymous:.0f} MB private, {shared:.0f} MB with "
        "mapped files (PSS)"
    )


def _builder(process: psutil.Process) -> psutil.Process | None:
    for _ in range(200):
        for child in process.children():
            if "web.index" in child.cmdline():
                return child
        time.sleep(0.05)
    return None


if __name__ == "__main__":
    main()
