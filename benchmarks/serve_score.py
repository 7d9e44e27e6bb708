"""One picture scored over HTTP by AlexNet, and eight clients at once, beside plain endpoints.

``python -m benchmarks.serve_score [--seconds S] [--pictures N]`` prints a Markdown table.

Every server runs in a process of its own on loopback. ``likewise`` is POST /api/v1/score as it is
served: inspection, ONNX Runtime, probability with interval, neighbours among N pictures of 4,096
features and what stands out; ``batch 1`` is the same without batching. ``bare`` is what one writes
first: FastAPI, Pillow and torch, the score alone. The network has random weights, which cost the
same. CPU is that of the server and its children.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pyarrow as pa
from PIL import Image

from backbones.planning import make_plan
from benchmarks.rank import picture_id, save_model
from likewise.config import render
from likewise.study import Study
from likewise.tables import LABELS, features_schema

DIM, LAYER = 4096, "fc7"
CLIENTS = 8

OURS = """
import sys
from pathlib import Path
from web.serve import serve
from web.settings import Settings
batch = int(sys.argv[2])
settings = Settings((Path(sys.argv[1]),), port=0, score_batch=batch, scores_per_minute=10**6)
serve(settings, ready=lambda url: print(url, flush=True))
"""

BARE = """
import io, socket
import numpy as np
import torch, uvicorn
from fastapi import FastAPI, UploadFile
from PIL import Image
from backbones.loading import load
network = load("alexnet", random_weights=True).eval()
weight = torch.randn(4096)
mean = torch.tensor([123.68, 116.78, 103.94]).view(3, 1, 1)
app = FastAPI()

@app.post("/api/v1/score")
def score(files: UploadFile) -> dict:
    picture = Image.open(io.BytesIO(files.file.read())).convert("RGB").resize((227, 227))
    x = torch.from_numpy(np.array(picture)).permute(2, 0, 1).float() - mean
    with torch.inference_mode():
        return {"score": float(network.features(x[None])["fc7"][0] @ weight)}

s = socket.socket(); s.bind(("127.0.0.1", 0))
print(f"http://127.0.0.1:{s.getsockname()[1]}", flush=True)
uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False)).run(sockets=[s])
"""


def make_study(folder: Path, pictures: int) -> Study:
    """Labels, random features of the original pictures, one linear model, and the export."""
    folder.mkdir(parents=True)
    extract = {"backbone": "alexnet", "random_weights": True, "flip": False, "layers": [LAYER]}
    (folder / "likewise.toml").write_text(render({"extract": extract}), encoding="utf-8")
    study = Study.open(folder)
    rng = np.random.default_rng(0)
    ratio = rng.lognormal(-3, 1, pictures)
    rows: dict[str, Any] = {name: [None] * pictures for name in LABELS.schema.names}
    rows |= {
        "picture_id": [picture_id(n) for n in range(pictures)],
        "platform": ["mastodon"] * pictures,
        "host": ["one.example"] * pictures,
        "post_id": [str(n) for n in range(pictures)],
        "media_index": [0] * pictures,
        "bucket": [0] * pictures,
        "author_id": [f"author-{n // 4}" for n in range(pictures)],
        "label": (ratio > np.median(ratio)).astype(int).tolist(),
        "weight": [1.0] * pictures,
        "fold": [n // 4 % 5 for n in range(pictures)],
        "split": ["test" if n // 4 % 4 == 0 else "train" for n in range(pictures)],
    }
    stage = study.begin("labels")
    arrays = [pa.array(rows[field.name], field.type) for field in LABELS.schema]
    stage.write(pa.table(arrays, schema=LABELS.schema))
    stage.publish()
    values = np.maximum(rng.standard_normal((pictures, DIM), dtype=np.float32), 0)
    schema = features_schema([LAYER])
    columns = {
        "picture_id": [picture_id(n) for n in range(pictures)],
        "bucket": [0] * pictures,
        "backbone": ["alexnet"] * pictures,
        "maker": ["m"] * pictures,
        "flipped": [False] * pictures,
        "status": ["ok"] * pictures,
        "error_class": [None] * pictures,
        LAYER: pa.ListArray.from_arrays(
            np.arange(0, (pictures + 1) * DIM, DIM, dtype=np.int32), values.ravel()
        ),
    }
    stage = study.begin("features")
    stage.write(pa.table([pa.array(columns[f.name], f.type) if f.name != LAYER else columns[LAYER]
                          for f in schema], schema=schema))  # fmt: skip
    stage.publish(backbone="alexnet", layers=[LAYER])
    save_model(study, DIM, rng)
    make_plan("alexnet", (LAYER,), random_weights=True, folder=study.folder("cache", "onnx"))
    return study


@contextlib.contextmanager
def served(program: str, *arguments: str) -> Iterator[tuple[str, psutil.Process]]:
    """Address and process of a server."""
    process = subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip().split()[0], psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(20)
        process.stdout.close()


def picture(seed: int) -> bytes:
    """A 640 x 640 JPEG of smooth colours with noise, about 60 kB, as platforms serve them."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 255, (24, 24, 3), dtype=np.uint8))
    made = io.BytesIO()
    small.resize((640, 640), Image.Resampling.BICUBIC).save(made, "JPEG", quality=88)
    return made.getvalue()


def cpu_of(process: psutil.Process) -> float:
    """CPU seconds of a process and those below it."""
    family = [process, *process.children(recursive=True)]
    return sum(sum(one.cpu_times()[:2]) for one in family)


def measure(url: str, process: psutil.Process, seconds: float) -> tuple[float, float, float, float]:
    """p50 of one client (ms), its CPU a picture (ms), pictures/s of eight, their CPU a picture."""
    pictures = [picture(n) for n in range(16)]

    def ask(client: httpx.Client, n: int) -> float:
        started = time.perf_counter()
        files = [("files", ("p.jpg", pictures[n % len(pictures)]))]
        answer = client.post("/api/v1/score", files=files)
        assert answer.status_code == 200, answer.text
        return time.perf_counter() - started

    with httpx.Client(base_url=url, timeout=120) as client:
        until = time.monotonic() + 300
        while client.post("/api/v1/score", files=[("files", ("p.jpg", pictures[0]))]).is_error:
            assert time.monotonic() < until
            time.sleep(1)
        for n in range(5):
            ask(client, n)
        before = cpu_of(process)
        alone = [ask(client, n) for n in range(40)]
        cpu_alone = (cpu_of(process) - before) / len(alone)
    done: list[int] = []
    stop = time.monotonic() + seconds

    def run(first: int) -> None:
        with httpx.Client(base_url=url, timeout=120) as client:
            n = 0
            while time.monotonic() < stop:
                ask(client, first + n)
                n += 1
        done.append(n)

    before, started = cpu_of(process), time.perf_counter()
    threads = [threading.Thread(target=run, args=(n,)) for n in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wall = time.perf_counter() - started
    cpu = (cpu_of(process) - before) / sum(done)
    return float(np.median(alone) * 1e3), cpu_alone * 1e3, sum(done) / wall, cpu * 1e3


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--pictures", type=int, default=2000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        study = make_study(Path(folder) / "study", given.pictures)
        lines = {
            "likewise": (OURS, str(study.root), "16"),
            "likewise, batch 1": (OURS, str(study.root), "1"),
            "bare FastAPI + torch": (BARE,),
        }
        print(f"load before: {os.getloadavg()[0]:.1f}; {given.pictures} pictures to compare with\n")
        print("| server | p50 alone, ms | CPU ms | 8 clients, pictures/s | CPU ms | of bare |")
        print("|---|---|---|---|---|---|", flush=True)
        found = {}
        for name, command in lines.items():
            with served(*command) as (url, process):
                found[name] = measure(url, process, given.seconds)
        for name, (p50, one, rate, cpu) in found.items():
            of_bare = rate / found["bare FastAPI + torch"][2]
            print(f"| {name} | {p50:.0f} | {one:.0f} | {rate:.1f} | {cpu:.0f} | {of_bare:.2f} |")


if __name__ == "__main__":
    main()
