"""Our columns beside papers 2, 3 and 4: Markdown tables, every share with Wilson's 95 % interval.

    python -m benchmarks.papers PAPER CALTECH [--brands FOLDER] [--googlenet FILE]

PAPER is 2, 3 or 4, ``CALTECH`` a folder of Caltech 101's classes, ``--brands`` one of logos. Each
paper is one study by its recipe, and what ``classify zero-shot`` and ``compare`` run. What the
papers print stands here as counts.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import likewise
from backbones.inference import extract
from likewise.study import Study
from training.categories import zero_shot
from training.categories.maps import load_map
from training.comparison import class_results
from training.statistics.classes import Rate, rate

__all__ = ["main"]

CATEGORIES = {
    "bike": ["Motorbikes"],
    "bird": ["flamingo", "ibis", "rooster"],
    "butterfly": ["butterfly"],
    "car": ["car_side"],
    "chair": ["chair", "windsor_chair"],
    "dog": ["dalmatian"],
    "flower": ["sunflower", "water_lilly"],
    "strawberry": ["strawberry"],
}
"""Paper 2's categories that Caltech has: not cat (its wild cats are none), waterfall, and the two
that ImageNet has no class for."""

TAXONOMY = {
    "animal": ["butterfly", "dalmatian", "flamingo", "ibis", "rooster", "wild_cat"],
    "plant": ["strawberry", "sunflower", "water_lilly"],
    "furniture": ["chair", "windsor_chair"],
    "vehicle": ["Motorbikes", "car_side"],
    "thing": ["cup", "laptop", "umbrella"],
}
NETWORKS = ("efficientnet-lite0", "efficientnet-lite1", "efficientnet-lite2")
EACH = 60
"""Pictures of a category at most, so that no category outweighs the others."""

PAPER2 = {
    "AlexNet": (119, 85), "ResNet-50": (97, 60), "Inception v3": (73, 50),
    "Inception v3, last layer retrained, Table 3": (5, 0),
    "Inception v3, last layer retrained, abstract (5.00 %)": (12, 0),
}  # fmt: skip
"""Errors at top-1 and top-5 of 240."""
PAPER3 = {
    "Altra or Nike, run 6, best of about 20 by test accuracy": (37, 38),
    "Altra, Nike or neither, run 20, best of about 20 by test accuracy": (93, 105),
}
"""97.4 % and 88.6 %: right, of the fewest pictures near a tenth of the set that give that share."""
PAPER4 = {
    "well defined objects (bag, shoe)": (96, None),
    "multiclass-4": (95, 100),
    "multiclass-6, noisy labels": (67, 98),
}
"""Right at top-1 and top-3 of 100."""


def told(right: int, of: int) -> str:
    """A paper's count as a share with the interval that the count allows."""
    return shown(rate(np.arange(of) < right))


def shown(one: Rate) -> str:
    """Per cent, interval and counts."""
    return f"{one.value:.1%} ({one.low:.1%} to {one.high:.1%}), {one.right} of {one.of}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print Markdown."""
    for row in (head, ["---"] * len(head), *rows):
        print("| " + " | ".join(row) + " |", flush=True)
    print()


def copied(folder: Path, classes: Mapping[str, Sequence[Path]]) -> Path:
    """A folder a class, of copies: an import follows no links."""
    for name, files in classes.items():
        place = folder / name
        place.mkdir(parents=True)
        for number, file in enumerate(files):
            shutil.copyfile(file, place / f"{number:03d}{file.suffix.lower()}")
    return folder


def study_of(folder: Path, pictures: Path, recipe: str, **values: dict[str, Any]) -> Study:
    """A study of these pictures by a recipe, with features where ``compare`` wants them."""
    study = likewise.init(folder, values=values, recipe=recipe)
    likewise.import_(study, pictures, kind="classes")
    for step in (likewise.clean, likewise.download, likewise.label, likewise.extract):
        step(study)
    return Study.open(study.root)


def pictures_of(root: Path) -> list[Path]:
    """Files of a class, in the order of their names."""
    return sorted(path for path in root.iterdir() if path.is_file())


def compared(study: Study) -> class_results.ClassComparison:
    """``compare``, and what it found."""
    likewise.compare(study)
    found = class_results.load(study)
    assert found is not None
    print("\n".join([*found.answer, *found.notes]), "\n")
    return found


def paper2(caltech: Path, googlenet: Path | None, folder: Path) -> None:
    """Zero-shot by the networks whose weights are here, then the last layer on the test part."""
    chosen = {}
    for name, classes in CATEGORIES.items():
        each = -(-EACH // len(classes))
        chosen[name] = [f for c in classes for f in pictures_of(caltech / c)[:each]][:EACH]
    rows = [
        (f"paper: {name}", told(one, 240), told(five, 240)) for name, (one, five) in PAPER2.items()
    ]
    files = [file for some in chosen.values() for file in some]
    for network in [*NETWORKS, *(["googlenet-bvlc"] if googlenet else [])]:
        weights = googlenet if network == "googlenet-bvlc" else None
        logits = extract(files, backbone=network, layers=["logits"], weights=weights)["logits"]
        for name in ("paper2-table1", "paper2-tree"):
            categories, _ = load_map(name)
            of = [categories.names.index(c) for c, some in chosen.items() for _ in some]
            total = zero_shot.evaluate(logits, np.array(of), categories).total
            rows.append((f"{network}, {name}", shown(total.top1), shown(total.top5)))
    table(("network", "top-1 error", "top-5 error"), rows)
    study = study_of(
        folder / "s", copied(folder / "p", chosen), "categories",
        compare={"classifiers": ["softmax", "last-layer"]},
    )  # fmt: skip
    retrained = []
    after = compared(study)
    for one in after.results:
        wrong = rate(np.arange(one.top_1.of) >= one.top_1.right)
        retrained.append((f"{one.title} of {after.backbone}", shown(wrong)))
    table(("retrained last layer, test part", "top-1 error"), retrained)


def paper3(caltech: Path, brands: Path, folder: Path) -> None:
    """The search over optimisers, rates and steps: brands, and two classes that look alike."""
    rows = [(f"paper: {name}", told(right, of)) for name, (right, of) in PAPER3.items()]
    worlds = {
        "brands": {path.name: pictures_of(path) for path in sorted(brands.iterdir())},
        "two kinds of chair": {c: pictures_of(caltech / c) for c in ("chair", "windsor_chair")},
    }
    for name, classes in worlds.items():
        place = folder / name.replace(" ", "-")
        study = study_of(
            place / "s", copied(place / "p", classes), "brands",
            question={"split": "70/10/20"}, compare={"classifiers": ["softmax", "last-layer"]},
        )  # fmt: skip
        found = compared(study)
        where = f"{name} ({len(found.classes)} classes)"
        rows += [(f"{where}: {one.title}", shown(one.top_1)) for one in found.results]
    table(("what", "right, test part"), rows)


def paper4(caltech: Path, folder: Path) -> None:
    """A tree of yes-or-no questions beside flat classifiers, top-1 and top-3."""
    classes = {
        f"{above}/{name}": pictures_of(caltech / name)
        for above, names in TAXONOMY.items()
        for name in names
    }
    study = study_of(folder / "s", copied(folder / "p", classes), "taxonomy")
    rows = [
        (f"paper: {name}", told(one, 100), "-" if three is None else told(three, 100))
        for name, (one, three) in PAPER4.items()
    ]
    found = compared(study)
    rows += [(one.title, shown(one.top_1), shown(one.top_k)) for one in found.results]
    table(("what", "top-1", f"top-{found.k}"), rows)


def main() -> None:
    """Print the tables of one paper."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("paper", type=int, choices=(2, 3, 4))
    parser.add_argument("caltech", type=Path)
    parser.add_argument("--brands", type=Path)
    parser.add_argument("--googlenet", type=Path, help="BVLC's weights as safetensors")
    options = parser.parse_args()
    print(f"load {os.getloadavg()[0]:.0f}\n")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        if options.paper == 2:
            paper2(options.caltech, options.googlenet, folder)
        elif options.paper == 3:
            if options.brands is None:
                parser.error("paper 3 needs --brands FOLDER")
            paper3(options.caltech, options.brands, folder)
        else:
            paper4(options.caltech, folder)


if __name__ == "__main__":
    main()
