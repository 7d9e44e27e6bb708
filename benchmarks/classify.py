"""Classes on cached features: CPU time beside scikit-learn, single runs and the network itself.

    python -m benchmarks.classify            # 10,000 x 1,280 x 12, about 9 minutes on two cores
    python -m benchmarks.classify --only search
    python -m benchmarks.classify --only million   # 5.1 GB of disk for a while

Features are made up: rectified, with classes of unlike means. Each part runs in a process of its
own; times are CPU-seconds of that process on one BLAS thread, memory is its largest resident set.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

CLASSES = 12
PENALTY = 1.0


def made_up(rows: int, columns: int, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[Any]]:
    """(n, d) rectified features of 12 classes that a softmax layer tells apart for 0.9 of them."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, CLASSES, rows)
    rank = 128
    spectrum = (1 / np.sqrt(1 + np.arange(rank))).astype(np.float32)
    mix = np.random.default_rng(1).normal(size=(rank, columns)).astype(np.float32)
    centre = np.random.default_rng(2).normal(size=(CLASSES, rank)).astype(np.float32)
    features = np.empty((rows, columns), np.float32)
    for at in range(0, rows, 4096):
        own = label[at : at + 4096]
        latent = rng.standard_normal((len(own), rank), np.float32) + 0.35 * centre[own]
        features[at : at + 4096] = np.maximum((latent * spectrum) @ mix, 0)
    return features, label


def objective(features: Any, label: Any, weight: Any, bias: Any, c: float) -> float:
    """What LogisticRegression minimises: C times the cross-entropies and half the squared norm."""
    from scipy.special import log_softmax

    logits = (features @ weight + bias).astype(np.float64)
    loss = -log_softmax(logits - logits.mean(axis=1, keepdims=True), axis=1)
    return float(c * loss[np.arange(len(label)), label].sum() + np.square(weight).sum() / 2)


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """CPU-seconds of this process, and the result."""
    began = time.process_time()
    found = work()
    return time.process_time() - began, found


def last_layer(options: argparse.Namespace) -> dict[str, Any]:
    """One softmax layer, ours and scikit-learn's, at the same C."""
    from sklearn.linear_model import LogisticRegression

    from training.classifiers.softmax import fit_one
    from training.fitting.classes import mean_square

    features, label = made_up(options.rows, options.columns)
    c = PENALTY / mean_square(features)
    theirs, model = timed(lambda: LogisticRegression(C=c, max_iter=5000).fit(features, label))
    ours, point = timed(lambda: fit_one(features, label, PENALTY, CLASSES))
    own = objective(features, label, point["weight"], point["bias"], c)
    peer = objective(features, label, model.coef_.T, model.intercept_, c)
    return {"ours": ours, "peer": theirs, "ratio": ours / theirs, "excess": own / peer - 1}


def search(options: argparse.Namespace) -> dict[str, Any]:
    """18 runs in one pass, beside the same runs one by one, and torch's loops (two, scaled)."""
    import torch

    from training.classifiers.last_layer import ADAGRAD_START, Run, _batches, train_runs
    from training.classifiers.softmax import SEARCH
    from training.fitting.classes import mean_square

    features, label = made_up(options.rows, options.columns)
    scale = float(1 / np.sqrt(mean_square(features)))
    held = made_up(options.rows // 8, options.columns, seed=9)

    def by_us(runs: list[Run]) -> Any:
        return train_runs(features, label, held, runs, n_classes=CLASSES, seed=1, scale=scale)

    together, found = timed(lambda: by_us(list(SEARCH)))
    alone, single = timed(lambda: [by_us([run])[0] for run in SEARCH])
    gap = max(
        float(np.abs(a.weight - b.weight).max() / np.abs(b.weight).max())
        for a, b in zip(found, single, strict=True)
    )
    rows, truth = torch.from_numpy(features * np.float32(scale)), torch.from_numpy(label)
    torch.set_num_threads(1)

    def by_torch(run: Run) -> None:
        layer = torch.nn.Linear(features.shape[1], CLASSES)
        optimiser: torch.optim.Optimizer = (
            torch.optim.SGD(layer.parameters(), lr=run.rate)
            if run.optimiser == "sgd"
            else torch.optim.Adagrad(
                layer.parameters(), lr=run.rate, initial_accumulator_value=ADAGRAD_START
            )
        )
        for batch in torch.from_numpy(_batches(len(features), 32, run.steps, 1)):
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(layer(rows[batch]), truth[batch]).backward()
            optimiser.step()

    steps = {
        name: sum(r.steps for r in SEARCH if r.optimiser == name) for name in ("sgd", "adagrad")
    }
    torch_cpu = sum(
        timed(lambda n=name: by_torch(Run(n, 0.1, 2000)))[0] * total / 2000  # type: ignore[misc,arg-type]
        for name, total in steps.items()
    )
    return {
        "ours": together,
        "one by one": alone,
        "torch": torch_cpu,
        "ratio": alone / together,
        "ratio to torch": torch_cpu / together,
        "largest relative gap of weights": gap,
    }


def clean(options: argparse.Namespace) -> dict[str, Any]:
    """Doubts of every label, and the five fits alone."""
    from training.noise.cleaning import out_of_fold
    from training.noise.rankings import rankings

    features, label = made_up(options.rows, options.columns)
    features /= np.sqrt(np.square(features).sum(axis=1).mean())
    group = np.arange(len(label))
    fits, share = timed(lambda: out_of_fold(features, label, group, seed=0))
    others, _ = timed(lambda: rankings(share, label, features, group))
    return {"ours": fits + others, "five fits": fits, "ratio": (fits + others) / fits}


def cached(options: argparse.Namespace) -> dict[str, Any]:
    """Training on cached features beside ten epochs through the network (forward alone)."""
    import cv2

    from backbones.inference import embed
    from backbones.planning import make_plan
    from training.classifiers.softmax import fit_one

    rng = np.random.default_rng(0)
    drawn = [rng.integers(0, 256, (240, 240, 3), np.uint8) for _ in range(64)]
    files = [(str(n), cv2.imencode(".jpg", one)[1].tobytes()) for n, one in enumerate(drawn)]
    plan = make_plan("efficientnet-lite0", ["pooled"], flip=False, threads=1)
    for _ in embed(files[:16], plan):
        pass
    network, _ = timed(lambda: list(embed(files, plan)))
    features, label = made_up(1_000, options.columns)
    grid, _ = timed(
        lambda: [fit_one(features, label, c, CLASSES) for c in (0.01, 0.1, 1.0, 10.0, 100.0)]
    )
    epochs = 10 * 1_000 * network / len(files)
    return {"ours": grid, "ten epochs": epochs, "ratio": epochs / grid}


def components(options: argparse.Namespace) -> dict[str, Any]:
    """Principal components that hold 80 %, beside scikit-learn's PCA(0.8)."""
    from sklearn.decomposition import PCA

    from training.maps.projection import principal_components

    features, _ = made_up(options.rows, options.columns)
    features += 0.3 * np.random.default_rng(3).standard_normal(features.shape, np.float32)
    ours, found = timed(lambda: principal_components(lambda: iter(np.array_split(features, 16))))
    theirs, model = timed(lambda: PCA(0.8).fit(features))
    return {
        "ours": ours,
        "peer": theirs,
        "ratio": ours / theirs,
        "components": [found.axes.shape[1], int(model.n_components_)],
    }


def million(options: argparse.Namespace) -> dict[str, Any]:
    """The last layer by 1,000 steps, two ways, on a million mapped rows (5.1 GB on disk)."""
    from training.classifiers.last_layer import Run, train_runs
    from training.data.mapped import create, let_go, open_rows
    from training.maps.projection import principal_components

    rows, step = 1_000_000, 20_000
    label = np.empty(rows, np.int64)
    held = made_up(step, options.columns, seed=rows)
    with tempfile.TemporaryDirectory(dir=options.scratch) as folder:
        path = Path(folder) / "rows.npy"
        features = create(path, (rows, options.columns))
        for at in range(0, rows, step):
            features[at : at + step], label[at : at + step] = made_up(step, options.columns, at)
            let_go(features)
        del features
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        mapped = open_rows(path)
        scale = float(1 / np.sqrt(np.square(held[0]).sum(axis=1).mean()))
        runs = [Run("sgd", 1.0, 1000), Run("adagrad", 0.1, 1000)]
        cpu, found = timed(
            lambda: train_runs(mapped, label, held, runs, n_classes=CLASSES, seed=1, scale=scale)
        )
        trained = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

        def batches() -> Iterator[NDArray[np.float32]]:
            for at in range(0, rows, step):
                yield np.asarray(mapped[at : at + step])
                let_go(mapped)

        pca, _ = timed(lambda: principal_components(batches))
    return {
        "2 runs, CPU-s": cpu,
        "right on validation": max(one.curve[-1].validation_accuracy for one in found),
        "components, CPU-s": pca,
        "MB after making the file": before,
        "MB after training": trained,
    }


PARTS: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "last_layer": last_layer,
    "search": search,
    "clean": clean,
    "cached": cached,
    "components": components,
    "million": million,
}


def measure(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """One part in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.classify", "--part", name]
    command += ["--rows", str(options.rows), "--columns", str(options.columns)]
    command += ["--scratch", options.scratch] if options.scratch else []
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Print a table of all parts."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--columns", type=int, default=1_280)
    parser.add_argument("--only", nargs="+", choices=list(PARTS), help="these parts, no others")
    parser.add_argument("--scratch", help="folder with room for 5.1 GB (million)")
    parser.add_argument("--part", choices=list(PARTS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        with threadpool_limits(1):
            found = PARTS[options.part](options)
        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({**found, "MB": used}))
        return
    print(f"load {os.getloadavg()[0]:.1f}\n\n| part | measures |\n|---|---|")
    for name in options.only or PARTS:
        cells = [
            f"{key} {value:.3g}" if isinstance(value, float) else f"{key} {value}"
            for key, value in measure(name, options).items()
        ]
        print(f"| {name} | {'; '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
