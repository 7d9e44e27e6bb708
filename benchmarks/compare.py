"""The comparison's fits beside scikit-learn and PySpark, each in a process of its own.

    python -m benchmarks.compare                  # 20,000 x 4,096: about 15 minutes on two cores
    python -m benchmarks.compare --full           # GridSearchCV whole, not from one fold
    python -m benchmarks.compare --rows 2000 --columns 512 --trees 20

    python -m benchmarks.compare --only refit mllib_ours

Features are made up: rectified, with a decaying spectrum and labels that a true direction decides
in part, which is where the published scores of such features lie; 42 % of the values are not 0
(``--density`` asks for another share, 1 for features without a ReLU). CPU time is that of the
process and all below it (the JVM counts). Memory is the largest resident set of them together,
beside the features' own size. GridSearchCV's time is five times that of one fold unless ``--full``
is given. scikit-learn-intelex is measured where it is installed.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil

from training.data.mapped import create

C_VALUES = [10.0**e for e in range(-6, 6)]
FOLDS = 5
STEPS = (0.1, 1.0, 10.0)
REGS = [10.0**e for e in range(-6, 1)]


class Data:
    """Features, signs and folds of a given size; the same in every process.

    The features are mapped from a file, as those of ``likewise compare`` are.
    """

    def __init__(self, rows: int, columns: int, density: float | None = None) -> None:
        rng = np.random.default_rng(0)
        rank = min(256, columns)
        spectrum = (1 / np.sqrt(1 + np.arange(rank))).astype(np.float32)
        mix = rng.normal(size=(rank, columns)).astype(np.float32)
        direction = rng.normal(size=columns).astype(np.float32)
        self.scratch = tempfile.TemporaryDirectory()
        self.path = Path(self.scratch.name) / "rows.npy"
        self.rows = create(self.path, (rows, columns))
        level = None
        for at in range(0, rows, 1000):
            part = self.rows[at : at + 1000]
            latent = rng.standard_normal((len(part), rank), np.float32) * spectrum
            part[:] = latent @ mix
            part += 0.5 * rng.standard_normal(part.shape, np.float32) - 0.5
            if density is not None:
                level = np.quantile(part, 1 - density) if level is None else level
                part -= level
            if density != 1:
                np.maximum(part, 0, out=part)
        signal = self.rows @ direction
        signal = (signal - signal.mean()) / signal.std()
        self.sign = np.where(signal + 2 * rng.normal(size=rows) > 0, 1, -1).astype(np.float32)
        self.fold = np.arange(rows) % FOLDS

    @property
    def share(self) -> np.ndarray:
        every = [self.fold != k for k in range(FOLDS)]
        return np.stack([*every, np.ones(len(self.fold))]).astype(np.float32)


def average_precision(data: Data, fold: int, weight: np.ndarray) -> float:
    from sklearn.metrics import average_precision_score

    held = data.fold == fold
    return float(average_precision_score(data.sign[held] > 0, data.rows[held] @ weight))


def solver(data: Data, _: argparse.Namespace) -> dict[str, object]:
    """The whole curve by the batched solver: 12 C x 5 folds, and the fit of all rows."""
    from training.classifiers.solver import Path as CurvePath

    aps = [
        [average_precision(data, k, point.weight[k]) for k in range(FOLDS)]
        for point in CurvePath(data.rows, data.sign, data.share).solve(C_VALUES)
    ]
    return {"ap": [row[0] for row in aps], "fits": len(C_VALUES) * (FOLDS + 1)}


def grid_search(data: Data, options: argparse.Namespace) -> dict[str, object]:
    """GridSearchCV(LinearSVC); without ``--full`` its fits of the first fold, times five."""
    from sklearn.model_selection import GridSearchCV, PredefinedSplit
    from sklearn.svm import LinearSVC

    warnings.simplefilter("ignore")
    model = LinearSVC(dual="auto", random_state=0)
    split = PredefinedSplit(data.fold if options.full else np.where(data.fold == 0, 0, -1))
    search = GridSearchCV(
        model, {"C": C_VALUES}, scoring="average_precision", cv=split, refit=False, n_jobs=1
    )
    search.fit(data.rows, data.sign)
    times = 1 if options.full else FOLDS
    return {"ap": search.cv_results_["split0_test_score"].tolist(), "times": times}


def refit(data: Data, _: argparse.Namespace) -> dict[str, object]:
    """The last fit of the winner by LinearSVC, as ``likewise compare`` asks for it."""
    before = _resident()
    from training.classifiers.liblinear import fit

    bare = (_resident() - before) / data.rows.nbytes
    fit(data.rows, data.sign, np.ones(len(data.rows)), 1e-4, 0)
    return {"density": np.count_nonzero(data.rows) / data.rows.size, "bare": bare}


def forest_ours(data: Data, options: argparse.Namespace) -> dict[str, object]:
    """The whole forest as ``likewise compare`` fits it, in bundles."""
    return _forest(data, options.trees, "scikit-learn")


def forest_intelex(data: Data, options: argparse.Namespace) -> dict[str, object]:
    """The same with scikit-learn-intelex."""
    return _forest(data, options.trees, "intelex")


def _forest(data: Data, trees: int, engine: str) -> dict[str, object]:
    from training.classifiers.forest import BUNDLE, Bundle, grow_bundle
    from training.data.mapped import let_go

    let_go(data.rows)
    everyone = np.arange(len(data.rows))
    held = everyone[data.fold == 0]
    votes = []
    for number, at in enumerate(range(0, trees, BUNDLE)):
        bundle = Bundle(
            path=data.path,
            grown=everyone,
            label=(data.sign > 0).astype(np.int64),
            weight=np.ones(len(everyone)),
            scored=held,
            trees=min(BUNDLE, trees - at),
            seed=number,
            engine=engine,
            kept=True,
        )
        votes.append(grow_bundle(bundle, jobs=2)["votes"])
    return {"mean_vote": float(np.mean(votes))}


def forest_sklearn(data: Data, options: argparse.Namespace) -> dict[str, object]:
    """The same by scikit-learn alone."""
    from sklearn.ensemble import RandomForestClassifier

    forest = RandomForestClassifier(options.trees, n_jobs=2, random_state=0)
    forest.fit(data.rows, data.sign > 0)
    return {}


def sgd_grid(data: Data, _: argparse.Namespace) -> dict[str, object]:
    """SVMWithSGD's grid, 7 regParam x 3 stepSize x 5 folds, by the batched iteration."""
    from training.classifiers.sgd import Scaling, batched_sgd

    scaling = Scaling.standard(data.rows)
    share = np.tile(data.share[:-1], (len(REGS), 1))
    for step in STEPS:
        regs = np.repeat(REGS, FOLDS)
        batched_sgd(data.rows, data.sign, share, scaling, regs, step, 100)
    return {"fits": len(REGS) * len(STEPS) * FOLDS}


def mllib_ours(data: Data, _: argparse.Namespace) -> dict[str, object]:
    """Vectors on disk, in the small heap that ``likewise compare`` starts Spark with."""
    return _mllib(data, heap=data.rows.nbytes)


def mllib_cached(data: Data, _: argparse.Namespace) -> dict[str, object]:
    """Vectors in memory, in the heap of ``[spark] driver_memory``."""
    return _mllib(data, heap=None)


def _mllib(data: Data, heap: int | None) -> dict[str, object]:
    from spark_jobs import train_svm
    from spark_jobs.session import spark_session
    from training.classifiers.sgd import Scaling
    from training.data.mapped import let_go

    before = _resident()
    spark = spark_session(heap=heap)
    spark.range(1).count()
    bare = _resident() - before
    scaling = Scaling.standard(data.rows)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "vectors"
        start = cpu_seconds()
        label = (data.sign > 0).astype(int)
        train_svm.write_vectors(folder, data.rows, label, scaling.mean, scaling.scale)
        let_go(data.rows)
        prepared = cpu_seconds()
        asked = {"reg_param": 1e-4, "step_size": 1.0, "iterations": 100, "tolerance": 0.0}
        train_svm.fit(spark, folder, **asked)
        first = cpu_seconds()
        train_svm.fit(spark, folder, **asked)
        second = cpu_seconds()
    times = {"prepare": prepared - start, "first": first - prepared, "second": second - first}
    return {**times, "bare": bare / data.rows.nbytes}


def mllib_pyspark(data: Data, _: argparse.Namespace) -> dict[str, object]:
    """The same through PySpark's own interface: an RDD of LabeledPoint objects."""
    from pyspark.mllib.classification import SVMWithSGD
    from pyspark.mllib.regression import LabeledPoint

    from spark_jobs.session import spark_session
    from training.classifiers.sgd import Scaling

    spark = spark_session()
    scaling = Scaling.standard(data.rows)
    spark.range(1).count()
    start = cpu_seconds()
    scaled = ((data.rows - scaling.mean.astype("f4")) / scaling.scale.astype("f4")).astype("f4")
    good = data.sign > 0
    points = spark.sparkContext.parallelize(
        (LabeledPoint(int(label), row) for label, row in zip(good, scaled, strict=True)), 4
    ).cache()
    points.count()
    prepared = cpu_seconds()
    SVMWithSGD.train(points, 100, 1.0, 1e-4, convergenceTol=0.0)
    return {"prepare": prepared - start, "first": cpu_seconds() - prepared}


PARTS: dict[str, Callable[[Data, argparse.Namespace], dict[str, object]]] = {
    "solver": solver,
    "grid_search": grid_search,
    "refit": refit,
    "refit_sparse": refit,
    "refit_dense": refit,
    "forest_ours": forest_ours,
    "forest_sklearn": forest_sklearn,
    "forest_intelex": forest_intelex,
    "sgd_grid": sgd_grid,
    "mllib_ours": mllib_ours,
    "mllib_cached": mllib_cached,
    "mllib_pyspark": mllib_pyspark,
}


DENSITY = {"refit": 1 / 3, "refit_sparse": 0.2, "refit_dense": 1.0}
"""Share of values that are not 0 in the parts that do not take the features of all others."""


def _family() -> list[psutil.Process]:
    own = psutil.Process()
    return [own, *own.children(recursive=True)]


def cpu_seconds() -> float:
    """User and system seconds of this process and all living ones below it."""
    total = 0.0
    for process in _family():
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system
    return total


def _watch(peak: list[int], stop: threading.Event) -> None:
    while not stop.wait(0.1):
        peak[0] = max(peak[0], _resident())


def _resident() -> int:
    """Bytes of the resident sets of this process and all below it."""
    total = 0
    for process in _family():
        try:
            total += process.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total


def one(name: str, options: argparse.Namespace) -> None:
    """Run one part in this process and print its measures as JSON."""
    data = Data(options.rows, options.columns, DENSITY.get(name, options.density))
    stop, peak = threading.Event(), [0]
    base = _resident() - data.rows.nbytes
    watcher = threading.Thread(target=_watch, args=(peak, stop), daemon=True)
    watcher.start()
    cpu, wall = cpu_seconds(), time.monotonic()
    found = PARTS[name](data, options)
    measures = {"cpu": cpu_seconds() - cpu, "wall": time.monotonic() - wall}
    stop.set()
    watcher.join()
    ratio = (peak[0] - base) / data.rows.nbytes
    print(json.dumps({**measures, "memory": ratio, **found}))


def measure(name: str, options: argparse.Namespace) -> dict[str, float]:
    """Run one part in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.compare", "--part", name]
    command += ["--rows", str(options.rows), "--columns", str(options.columns)]
    command += ["--trees", str(options.trees), *(["--full"] if options.full else [])]
    command += [] if options.density is None else ["--density", str(options.density)]
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        print(f"{name}: failed, its own output is above", file=sys.stderr)
        return dict.fromkeys(("cpu", "memory", "prepare", "first", "second", "bare"), math.nan)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    print(f"{name}: {found}", file=sys.stderr)
    return found


def table(found: dict[str, dict[str, float]], options: argparse.Namespace) -> str:
    """Measures beside the targets, as Markdown; what was not measured is left out."""
    lines = [f"| {options.rows:,} x {options.columns:,} | measured | target |", "|---|---|---|"]
    for rows, needs in (
        (_curve_rows, ("solver", "grid_search")),
        (_refit_rows, ("refit", "refit_sparse", "refit_dense")),
        (_forest_rows, ("forest_ours", "forest_sklearn")),
        (_mllib_rows, ("mllib_ours", "mllib_cached", "mllib_pyspark")),
    ):
        if set(needs) <= set(found):
            lines += [f"| {' | '.join(row)} |" for row in rows(found, options)]
    return "\n".join(lines)


Found = dict[str, dict[str, float]]
Rows = list[tuple[str, str, str]]


def _curve_rows(found: Found, options: argparse.Namespace) -> Rows:
    ours, peer = found["solver"], found["grid_search"]
    searched = peer["cpu"] * peer["times"]
    pairs = zip(ours["ap"], peer["ap"], strict=True)  # type: ignore[call-overload]
    worst = max(abs(a - b) for a, b in pairs)
    extrapolated = "" if options.full else ", from one fold"
    return [
        ("C-curve, batched solver, 12 C x 5 folds and all rows", f"{ours['cpu']:.0f} CPU-s", ""),
        (f"C-curve, GridSearchCV(LinearSVC){extrapolated}", f"{searched:.0f} CPU-s", ""),
        ("times fewer CPU-seconds", f"{searched / ours['cpu']:.1f}", "at least 8"),
        ("largest difference of AP on the first fold", f"{worst:.4f}", "at most 0.002"),
        ("memory of the solver / features", f"{ours['memory']:.1f}", "at most 3"),
        ("memory of GridSearchCV(LinearSVC) / features", f"{peer['memory']:.1f}", ""),
    ]


def _refit_rows(found: Found, _: argparse.Namespace) -> Rows:
    return [
        (
            f"LinearSVC's last fit, {found[name]['density']:.0%} of the values not 0: "
            "memory / features",
            f"{found[name]['memory']:.1f}, of which the libraries {found[name]['bare']:.1f}",
            "at most 3",
        )
        for name in ("refit", "refit_sparse", "refit_dense")
    ]


def _forest_rows(found: Found, options: argparse.Namespace) -> Rows:
    grown, alone = found["forest_ours"]["cpu"], found["forest_sklearn"]["cpu"]
    rows = [
        (f"random forest, {options.trees} trees", f"{grown:.0f} CPU-s", ""),
        ("beside scikit-learn alone", f"{grown / alone:.2f} x", "at most 1.1 x"),
        ("memory of the forest / features", f"{found['forest_ours']['memory']:.1f}", "at most 3"),
    ]
    if "forest_intelex" in found:
        faster = found["forest_intelex"]["cpu"]
        rows.append(("with scikit-learn-intelex", f"{faster:.0f} CPU-s", ""))
    return rows


def _mllib_rows(found: Found, _: argparse.Namespace) -> Rows:
    ours, cached, peer = found["mllib_ours"], found["mllib_cached"], found["mllib_pyspark"]
    rows = []
    for name, part in (("on disk, small heap", ours), ("in memory, heap of 2 GB", cached)):
        fits = f"{part['first']:.0f} / {part['second']:.0f} CPU-s"
        memory = f"{part['memory']:.1f}, of which the bare session {part['bare']:.1f}"
        rows += [
            (f"MLlib, vectors {name}: prepared", f"{part['prepare']:.0f} CPU-s", "once"),
            ("a fit of 100 steps, first / second", fits, ""),
            ("memory, JVM and Python / features", memory, "at most 3"),
        ]
    return [
        *rows,
        ("MLlib through PySpark: prepared", f"{peer['prepare']:.0f} CPU-s", ""),
        ("MLlib through PySpark: memory", f"{peer['memory']:.1f}", ""),
    ]


def _installed() -> list[str]:
    absent = importlib.util.find_spec("sklearnex") is None
    return [name for name in PARTS if not (absent and name == "forest_intelex")]


def main() -> None:
    """Measure every part and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--columns", type=int, default=4_096)
    parser.add_argument("--trees", type=int, default=500)
    parser.add_argument("--full", action="store_true", help="the whole GridSearchCV")
    parser.add_argument("--density", type=float, help="share of the values that are not 0")
    parser.add_argument("--only", nargs="+", choices=list(PARTS), help="these parts, no others")
    parser.add_argument("--part", choices=list(PARTS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        one(options.part, options)
        return
    found = {name: measure(name, options) for name in options.only or _installed()}
    print(table(found, options))


if __name__ == "__main__":
    main()
