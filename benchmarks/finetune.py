"""Fine-tuning against a bare torch loop on one batch that never changes.

``python -m benchmarks.finetune [--backbone NAME] [--batch N] [--steps N]``

The bare loop has its batch ready in memory and does nothing but forward, backward and step. The
pipeline's loop also crops, mirrors and normalises fresh pictures from canvases on disk, keeps the
curves and prefetches. Both run alternately in one process, so that other work on the machine meets
both alike; the ratio is of the medians of their CPU time, and of their wall time.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

from backbones import registry
from likewise.config import FinetuneSection
from training.tuning.batches import Augmentation, Batch, Batches, prefetch, to_input
from training.tuning.loop import Loop, Run
from training.tuning.network import Tunable, build, optimizer_for, train_mode
from training.tuning.samples import Order, Samples

TARGET = 0.9
PICTURES = 256


def _samples(n: int) -> Samples:
    return Samples(
        picture_ids=tuple(map(str, range(n))),
        authors=np.arange(n).astype(object),
        labels=np.arange(n) % 2,
        weights=np.ones(n, np.float32),
        folds=np.zeros(n, np.int32),
        test=np.zeros(n, np.bool_),
    )


def _canvases(folder: Path, side: int) -> np.ndarray:
    shape = (PICTURES, side, side, 3)
    out = np.lib.format.open_memmap(folder / "c.npy", mode="w+", dtype=np.uint8, shape=shape)
    out[:] = np.random.default_rng(0).integers(0, 255, shape, np.uint8)
    return np.load(folder / "c.npy", mmap_mode="r")


def _tunable(backbone: str) -> Tunable:
    return build(backbone, 2, seed=1, random_weights=True)


def _pipeline(backbone: str, recipe: FinetuneSection, folder: Path) -> tuple[Loop, Batches]:
    spec = registry.get(backbone).preprocess
    batches = Batches(
        pictures=_canvases(folder, spec.resize),
        samples=_samples(PICTURES),
        order=Order(np.arange(PICTURES), 1),
        size=spec.size,
        augmentation=Augmentation(),
        batch_size=recipe.batch_size,
        seed=1,
    )
    run = Run(backbone, "bench", recipe, spec, batches, None, folder / "c.pt", folder / "events")
    return Loop(_tunable(backbone), run), batches


def _bare(backbone: str, recipe: FinetuneSection, batch: Batch) -> Callable[[], None]:
    """Forward, backward and step on one batch, channels_last as well."""
    tunable = _tunable(backbone)
    network = tunable.network.to(memory_format=torch.channels_last)
    optimizer = optimizer_for(tunable, recipe)
    criterion = nn.CrossEntropyLoss()
    x = to_input(batch.pictures, registry.get(backbone).preprocess)
    train_mode(network, freeze=False)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        criterion(network(x), batch.labels).backward()
        optimizer.step()

    return step


def _timed(step: Callable[[], object]) -> tuple[float, float]:
    """CPU and wall seconds of one step."""
    wall, cpu = time.perf_counter(), _cpu()
    step()
    return _cpu() - cpu, time.perf_counter() - wall


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def measure(backbone: str, batch_size: int, steps: int) -> dict[str, list[tuple[float, float]]]:
    """(CPU, wall) seconds of each step of both loops, after one step each to warm up."""
    recipe = FinetuneSection(batch_size=batch_size, iterations=10**6)
    with tempfile.TemporaryDirectory() as folder:
        loop, batches = _pipeline(backbone, recipe, Path(folder))
        bare = _bare(backbone, recipe, batches(0))
        train_mode(loop.network, freeze=False)
        stream = prefetch(batches, 0, steps + 10)
        taken: dict[str, list[tuple[float, float]]] = {"bare": [], "likewise": []}
        with loop._board(0) as board:
            for _ in range(steps + 1):
                taken["bare"].append(_timed(bare))
                taken["likewise"].append(_timed(lambda: loop._advance(next(stream), board)))
        stream.close()
    return {name: times[1:] for name, times in taken.items()}


def main() -> None:
    """Print a Markdown table with the target beside the measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backbone", nargs="+", default=["alexnet", "efficientnet-lite0"])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=10)
    options = parser.parse_args()
    print("| Backbone | Batch | Bare, pictures/CPU-s | likewise | CPU ratio | Wall | Target |")
    print("|---|---|---|---|---|---|---|")
    for backbone in options.backbone:
        times = measure(backbone, options.batch, options.steps)
        middle = {
            name: [statistics.median(column) for column in zip(*rows, strict=True)]
            for name, rows in times.items()
        }
        (bare_cpu, bare_wall), (cpu, wall) = middle["bare"], middle["likewise"]
        print(
            f"| {backbone} | {options.batch} | {options.batch / bare_cpu:.1f} | "
            f"{options.batch / cpu:.1f} | {bare_cpu / cpu:.2f} | {bare_wall / wall:.2f} | "
            f">= {TARGET} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
