"""Data sets from a search: calls beside their lower bound, and from pictures to predictions.

    python -m benchmarks.search [--classes K] [--minute SECONDS] [--pictures FOLDER] [--per-class N]

``FOLDER/KEYWORD/*.jpg`` are served by the sandbox's search services on loopback; without it only
the calls are measured: K searches as deep as Openverse shows them, which is 20 pages each.
``--minute 10`` shortens Openverse's minute, for server and client alike, so that what a run costs
besides the waiting weighs six times as much. The bound is what the declared limit alone costs: of n
calls at 20 a minute the last cannot start before ceil(n / 20) - 1 minutes, whoever makes them.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil

import likewise
from collectors.budgets.buckets import BucketSpec
from collectors.collect import collect_from
from collectors.platforms.openverse import Openverse
from collectors.tokens.store import Token
from infra.sandbox.search import searching
from training.models.saved import load_classes
from training.search.build import build, study_for
from training.search.learning import MODEL, learn
from training.search.results import predictions
from training.search.run import doubt

__all__ = ["calls", "learning", "main"]

PER_MINUTE = 20
LATENCY_S = 0.05
LICENCES = ["cc0", "pdm", "by", "by-sa", "by-nc"]


class Shorter(Openverse):
    """Openverse with another length of the minute, and of the day with it."""

    factor = 1.0

    def buckets(self, token: Token | None, kind: str) -> list[BucketSpec]:
        specs = super().buckets(token, kind)
        return [replace(spec, period=spec.period * self.factor) for spec in specs]


def calls(folder: Path, classes: int, minute: float) -> dict[str, float]:
    """Seconds of searches as deep as Openverse shows them, and the least they can take."""
    keywords = [f"keyword {number}" for number in range(classes)]
    for keyword in keywords:
        (folder / "web" / keyword).mkdir(parents=True)
        for number in range(1100):
            (folder / "web" / keyword / f"{number:04d}.jpg").touch()
    with searching(folder / "web", period_factor=minute / 60, latency_s=LATENCY_S) as services:
        source = f"openverse={services.url}"
        study = study_for(folder / "s", keywords, sources=[source], licences=LICENCES)
        adapter = Shorter(study.config.collect.sources[0])
        adapter.factor = minute / 60
        began = time.monotonic()
        with study.lock():
            collect_from(study, [adapter])
        seconds = time.monotonic() - began
        asked = services.calls["openverse"]
        refused = services.calls["429"]
    bound = (-(-asked // PER_MINUTE) - 1) * minute
    return {
        "calls": asked, "refused": refused, "seconds": seconds, "bound": bound,
        "of the bound": seconds / bound if bound else math.nan,
    }  # fmt: skip


def cpu_seconds() -> float:
    """CPU-seconds of this process and all it has started, finished or not."""
    found = 0.0
    for process in (own := psutil.Process(), *own.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            found += sum(process.cpu_times()[:4])
    return found


def learning(pictures: Path, folder: Path, per_class: int) -> dict[str, object]:
    """(seconds, CPU-seconds) of each step from downloaded pictures to predictions."""
    classes = sorted(path.name for path in pictures.iterdir() if path.is_dir())[:2]
    with searching(pictures, limits_factor=0) as services:
        sources = [f"{name}={services.url}" for name in ("openverse", "commons")]
        study = study_for(folder, classes, per_class=per_class, sources=sources, licences=LICENCES)
        said: dict[str, object] = {}
        with study.lock():
            said["pictures"] = sum(build(study).pictures.values())
    steps: dict[str, Callable[[], object]] = {
        "extract": lambda: likewise.extract(study),
        "learn": lambda: learn(study, tune_epochs=0),
        "doubt": lambda: doubt(study),
        "predict": lambda: predictions(study, load_classes(study, MODEL), pictures, 0.98),
        # What was augmented is kept: the rest of this is one epoch of the whole network.
        "learn and fine-tune": lambda: learn(study, tune_epochs=1),
    }
    with study.lock():
        for name, step in steps.items():
            began, cpu = time.monotonic(), cpu_seconds()
            step()
            said[name] = round(time.monotonic() - began, 1), round(cpu_seconds() - cpu, 1)
            print(json.dumps({name: said[name], "load": os.getloadavg()[0]}), flush=True)
    return said


def main() -> None:
    """Print one line of JSON for each measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--classes", type=int, default=4)
    parser.add_argument("--minute", type=float, default=60.0, help="length of a minute, seconds")
    parser.add_argument("--no-calls", action="store_true", help="only what --pictures asks for")
    parser.add_argument("--pictures", type=Path, help="folder of two classes")
    parser.add_argument("--per-class", type=int, default=600)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        if not options.no_calls:
            asked = calls(folder / "calls", options.classes, options.minute)
            print(json.dumps({"load": os.getloadavg()[0], **asked}), flush=True)
        if options.pictures is not None:
            found = learning(options.pictures, folder / "learning", options.per_class)
            print(json.dumps({"load": os.getloadavg()[0], **found}))


if __name__ == "__main__":
    main()
