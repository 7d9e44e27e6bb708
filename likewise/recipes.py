"""Recipes: settings that repeat a published study, and what to know of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from likewise.errors import UsageError

__all__ = ["RECIPES", "Recipe", "get"]


@dataclass(frozen=True, slots=True)
class Recipe:
    """Settings by section, and lines that stand at the top of the file."""

    settings: dict[str, dict[str, Any]]
    about: tuple[str, ...]


PAPER1 = Recipe(
    settings={
        "clean": {"min_age_days": 30.0, "scale": "raw", "keep_share": 0.6},
        "label": {"method": "pooled", "target": "likes/followers", "test_fraction": 0.25},
        "extract": {"backbone": "paper", "layers": [], "flip": True, "pre_relu": False},
        "compare": {
            "sets": ["normal", "flipped"],
            "c_values": [float(f"1e{e}") for e in range(-6, 6)],
            "trees": 500,
            "sgd_scaling": ["none", "standardised"],
            "by_picture": True,
        },
        "finetune": {
            "backbone": "paper",
            "learning_rate": 0.001,
            "head_factor": 10.0,
            "bias_factor": 2.0,
            "step": 5000,
            "gamma": 0.1,
            "iterations": 35_000,
            "refit": True,
        },
        "rank": {"n": 25},
    },
    about=(
        "Recipe paper1: Bhaskar, Patel: Image Classification using Convolutional Neural Network.",
        "What the paper says is set; what it leaves open is a default, and docs/papers.md tells",
        "which is which and what may be compared.",
        "keep_share: the paper's rule about followers kept 60 % of its pictures, on the raw scale;",
        "`likewise clean` prints the threshold that this means.",
        'backbone = "paper" is Caffe\'s AlexNet: likewise weights import bvlc_alexnet.caffemodel.',
        "Without that file EfficientNet-Lite0 runs, and every answer says so at its top.",
        "by_picture: folds by picture leak, since an author stands on both sides; they are kept",
        "beside the honest ones to be compared with numbers that were made that way.",
    ),
)

_CLASSES: dict[str, dict[str, Any]] = {
    "faces": {"detector": "none"},
    # Pictures of things come small; what a network sees is 224 pixels a side.
    "download": {"min_side": 96},
    "label": {"require_faces": False},
}
_NEXT = "Then: likewise import STUDY FOLDER (a folder a class), and likewise run STUDY."

CATEGORIES = Recipe(
    settings={
        **_CLASSES,
        "question": {"kind": "classes", "split": "80/10/10"},
        "extract": {"layers": ["pooled", "logits"], "flip": True},
    },
    about=(
        "Recipe categories: Jeong and Cho (2017), Instagram image classification.",
        "The network's own labels first: likewise classify zero-shot STUDY --map paper2-tree.",
        _NEXT,
    ),
)

BRANDS = Recipe(
    settings={
        **_CLASSES,
        "question": {"kind": "classes", "split": "80/10/10", "neither": "neither"},
        "extract": {"layers": ["pooled"], "flip": True},
        "compare": {"classifiers": ["softmax", "last-layer", "linear-svc", "random-forest"]},
    },
    about=(
        "Recipe brands: Kaschner (2016), Brand recognition in Instagram images.",
        "Name brands under [question] unseen to hold them out whole: the open world is measured.",
        "last-layer is the paper's 18 runs over optimisers, rates and steps.",
        _NEXT,
    ),
)

TAXONOMY = Recipe(
    settings={
        **_CLASSES,
        "question": {"kind": "classes", "split": "70/10/20"},
        "extract": {"layers": ["pooled"], "flip": True},
        "compare": {"classifiers": ["softmax", "binary-tree", "linear-svc", "random-forest"]},
    },
    about=(
        "Recipe taxonomy: tagging an asset library, and doubting its labels.",
        "binary-tree asks yes-or-no questions; folders named like animal/cat give its taxonomy.",
        "likewise classify clean-labels STUDY lists doubtful labels; --prove says if it helps.",
        _NEXT,
    ),
)

SEARCH = Recipe(
    settings={
        **_CLASSES,
        # Pictures that people reject on the page of doubtful ones leave the set.
        "question": {
            "kind": "reviewed",
            "split": "80/10/10",
            "copies": "drop",
            "balance": True,
        },
        "download": {"per_host": 2},
        "extract": {"backbone": "efficientnet-lite0", "layers": ["pooled"], "flip": False},
    },
    about=(
        "Recipe search: Wicker (2020), Image classifier: a data set from a search for each class.",
        "likewise classify build makes and fills such a study: see docs/search.md.",
        "Of the 20 % that train nothing, half chooses and half judges; with [question] test_from",
        "all of them choose, and the pictures of those publishers judge.",
    ),
)

RECIPES = {
    "paper1": PAPER1,
    "categories": CATEGORIES,
    "brands": BRANDS,
    "taxonomy": TAXONOMY,
    "search": SEARCH,
}


def get(name: str) -> Recipe:
    """The recipe of that name. Raises UsageError that names the known ones."""
    if name not in RECIPES:
        raise UsageError(
            f"there is no recipe {name!r}", hint=f"known recipes: {', '.join(sorted(RECIPES))}"
        )
    return RECIPES[name]
