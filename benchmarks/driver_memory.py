"""Memory of what the driver does over all pictures: near copies, and ranking.

``python -m benchmarks.driver_memory [--pictures N]`` prints a Markdown table. Hashes and scores are
random; each line runs in a process of its own, whose largest resident set (VmHWM) is told: what the
work adds, and with libraries and input. The limit is 1 GiB for a million pictures.
"""

from __future__ import annotations

import argparse
import hashlib
import multiprocessing
import time
from pathlib import Path

import numpy as np
import pyarrow as pa

from filters.pictures.copies import copies
from filters.pictures.hamming import near_pairs
from likewise.tables import PICTURE_KEY
from training.models.scoring import PART_SCHEMA

RADIUS = 4
COPIED = 0.02
"""Share of pictures that are near copies of another one."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=1_000_000)
    n = parser.parse_args().pictures
    print(f"| {n:,} pictures | CPU-s | MB more | MB in all |\n|---|---|---|---|")
    for what in (near_copies, ranking):
        context = multiprocessing.get_context("spawn")
        with context.Pool(1) as pool:
            seconds, more, peak = pool.apply(measured, (what.__name__, n))
        name = what.__name__.replace("_", " ")
        print(f"| {name} | {seconds:.1f} | {more:.0f} | {peak:.0f} |")


def measured(name: str, n: int) -> tuple[float, float, float]:
    """CPU seconds; MB above what the libraries and the input take, and in all."""
    seconds, more = {"near_copies": near_copies, "ranking": ranking}[name](n)
    return seconds, more, resident("VmHWM")


def near_copies(n: int) -> tuple[float, float]:
    """What ``label`` asks of all hashes, and then of those that are near another one."""
    rng = np.random.default_rng(0)
    codes = rng.integers(-(2**63), 2**63, n, dtype=np.int64)
    copied = rng.choice(n, int(n * COPIED), replace=False)
    codes[copied] = codes[(copied + 1) % n] ^ (1 << rng.integers(0, 63, len(copied)))
    codes = np.unique(codes)
    before, started = resident(), time.process_time()
    pairs = near_pairs(codes, RADIUS)
    near = np.unique(np.concatenate([codes[side] for side in pairs]))
    rows = {name: [str(i) for i in range(len(near))] for name in PICTURE_KEY[:3]}
    columns = rows | {
        "media_index": np.zeros(len(near), np.int32),
        "author_id": [str(i % 997) for i in range(len(near))],
        "picture_id": [f"{i:064x}" for i in range(len(near))],
        "phash": near,
    }
    copies(pa.table(columns), RADIUS)
    return time.process_time() - started, resident("VmHWM") - before


def ranking(n: int) -> tuple[float, float]:
    """What ``rank`` does with the scores of both views, and with the labels' keys."""
    from training.rank import ranked

    class Scorer:
        name = "linear"

        def probability(self, scores: np.ndarray) -> np.ndarray:
            return 1 / (1 + np.exp(-scores))

    rng = np.random.default_rng(0)
    ids = pa.array([hashlib.sha256(str(i).encode()).hexdigest() for i in range(n)])
    labels = pa.table(
        {
            "picture_id": ids,
            "platform": pa.array(["mastodon"] * n),
            "host": pa.array(["one.example"] * n),
            "author_id": pa.array([str(i % (n // 10)) for i in range(n)]),
        }
    )
    twice = pa.concat_arrays([ids, ids])
    views = pa.table(
        [twice, pa.array(["ok"] * (2 * n)), pa.array(rng.normal(size=2 * n))], schema=PART_SCHEMA
    )
    before, started = resident(), time.process_time()
    ranked(views, labels, Scorer())  # type: ignore[arg-type]
    return time.process_time() - started, resident("VmHWM") - before


def resident(what: str = "VmRSS") -> float:
    """MB of this process."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) / 1000 for line in lines if line.startswith(what))


if __name__ == "__main__":
    main()
