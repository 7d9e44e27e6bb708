"""What ``likewise compare`` finds of a signal of known strength, from none to strong.

    python -m benchmarks.planted            # about a minute
    python -m benchmarks.planted --authors 1000

Each world has the same authors and as many pictures; a picture's appeal is ``strength`` times its
feature along a planted direction, plus noise of variance 1, and, where it says so, an effect of its
author of variance 4. ``Cosine`` is that of the fitted weights and the planted direction. These are
the worlds of ``tests/training``, whose tests hold the same properties.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "training"))

from planted import World, study

from training.compare import compare
from training.models import saved as models

SETTINGS: dict[str, object] = {
    "classifiers": ["linear-svc"],
    "c_values": [10.0**e for e in range(-6, 2)],
    "sets": ["normal"],
    "bootstrap": 1000,
    "permutations": 999,
}
WORLDS = [(0.0, 0.0), (0.25, 0.0), (0.5, 0.0), (1.0, 0.0), (2.0, 0.0), (0.0, 2.0), (1.0, 2.0)]


def row(folder: Path, authors: int, strength: float, effect: float) -> str:
    """One line of the table."""
    world = World(
        authors=authors, strength=strength, author_effect=effect, seed=4, settings=SETTINGS
    )
    opened, planted = study(folder, world)
    compare(opened)
    content = json.loads((folder / "reports" / "comparison.json").read_text(encoding="utf-8"))
    found = content["results"][0]
    weight = models.load(opened, content["best"]).weight  # type: ignore[attr-defined]
    cosine = float(weight @ planted.direction / np.linalg.norm(weight))
    scores = {b["name"]: b["metrics"]["average_precision"]["value"] for b in content["baselines"]}
    ap = found["metrics"]["average_precision"]
    cells = (
        f"{strength:g}",
        f"{effect:g}",
        f"{ap['value']:.3f} ({ap['low']:.3f} to {ap['high']:.3f})",
        f"{scores['chance']:.3f}",
        f"{scores['author-history']:.3f}",
        f"{found['p_value']:.3f}",
        f"{cosine:+.2f}",
    )
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Print the table as Markdown."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--authors", type=int, default=400)
    options = parser.parse_args()
    print("| Strength | Author effect | Average precision | Chance | Author history | p | Cosine |")
    print("|---|---|---|---|---|---|---|")
    for number, (strength, effect) in enumerate(WORLDS):
        with tempfile.TemporaryDirectory() as scratch:
            print(row(Path(scratch) / str(number), options.authors, strength, effect), flush=True)


if __name__ == "__main__":
    main()
