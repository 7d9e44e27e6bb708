"""How often the interval of off-topic results holds the share that was planted.

    python -m benchmarks.off_topic FOLDER [--draws N]

``FOLDER/CLASS/*`` are pictures of clean classes. In each draw some classes are a data set, and a
share of each is replaced by pictures of the classes that are left over: of all of them at random,
or of one. Features are computed once. A share of 0 asks whether the interval holds 0.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from backbones.inference import extract
from training.search.strangers import disowned
from training.statistics.classes import rate

__all__ = ["main", "planted"]

SHARES = (0.0, 0.05, 0.1, 0.2)
CLASSES = (2, 3, 5)
PER_CLASS = 60
Draw = tuple[NDArray[np.int64], NDArray[np.int64], float]


def planted(
    of: NDArray[np.int64], k: int, share: float, draws: int, *, one: bool, seed: int
) -> Iterator[Draw]:
    """Rows, their columns 0 ... k-1, and the share that was really planted, of each draw.

    Args:
        of: (n,) class of each picture.
        k: classes of a data set.
        share: of each class that is replaced.
        draws: how many.
        one: all strangers of a draw are of one class.
        seed: of the draws.
    """
    rng = np.random.default_rng(seed)
    classes = np.unique(of)
    for _ in range(draws):
        chosen = rng.permutation(classes)
        known, others = chosen[:k], chosen[k : k + 1] if one else chosen[k:]
        strangers = rng.permutation(np.flatnonzero(np.isin(of, others)))
        rows: list[int] = []
        columns: list[int] = []
        off = 0
        for column, name in enumerate(known):
            own = rng.permutation(np.flatnonzero(of == name))
            size = min(PER_CLASS, int(len(own) / (1 - share)))
            here = min(round(share * size), len(strangers))
            rows += [*own[: size - here], *strangers[:here]]
            columns += [column] * (len(rows) - len(columns))
            strangers, off = strangers[here:], off + here
        yield np.array(rows), np.array(columns), off / len(rows)


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--draws", type=int, default=100)
    options = parser.parse_args()
    files = sorted(path for path in options.folder.glob("*/*") if path.is_file())
    names = sorted({path.parent.name for path in files})
    of = np.array([names.index(path.parent.name) for path in files])
    features = extract(files, backbone="efficientnet-lite0", layers=["pooled"])["pooled"]
    print(f"{len(names)} classes, {len(files)} pictures, load {os.getloadavg()[0]:.1f}\n")
    print("| Planted | Classes | Strangers of | Interval holds it | Lower end | Upper end |")
    print("|---|---|---|---|---|---|")
    for share in SHARES:
        for k in CLASSES:
            for one in (False, True) if share else (False,):
                said = [
                    (disowned(features[rows], columns, [str(c) for c in range(k)]), truth)
                    for rows, columns, truth in planted(
                        of, k, share, options.draws, one=one, seed=round(1000 * share) + k
                    )
                ]
                held = rate(np.array([s.low <= truth <= s.high for s, truth in said]))
                low, high = (np.mean([getattr(s, end) for s, _ in said]) for end in ("low", "high"))
                where = "one class" if one else "all others" if share else "-"
                print(
                    f"| {share:.0%} | {k} | {where} | {held.value:.2f} ({held.low:.2f}-"
                    f"{held.high:.2f}) | {low:.1%} | {high:.1%} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
