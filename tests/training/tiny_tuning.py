"""A tiny network and data for the training loop; as a program it trains and can be killed.

``python tiny_tuning.py FOLDER`` trains with a checkpoint after every iteration, prints each
iteration's number, and goes on from the checkpoint in FOLDER when there is one. Under torchrun it
trains with several workers a network whose result does not depend on their number.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from backbones.registry import Preprocess
from likewise.config import FinetuneSection
from training.tuning.batches import Augmentation, Batches
from training.tuning.loop import Loop, Run
from training.tuning.measure import logits_of, measure
from training.tuning.network import Tunable, replace_head
from training.tuning.samples import Order, Samples
from training.tuning.team import Workers

SPEC = Preprocess(size=16, resize=20)


class Tiny(nn.Module):
    """Convolution, batch normalisation, dropout and one unused linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 6, 3, stride=2, padding=1),
            nn.BatchNorm2d(6),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Dropout(0.3),
        )
        self.auxiliary = nn.Linear(24, 5)
        self.head = nn.Linear(24, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))


def tiny(classes: int = 2) -> Tunable:
    torch.manual_seed(3)
    return replace_head(Tiny(), classes, SPEC.size)


def samples(n: int = 60, classes: int = 2) -> Samples:
    return Samples(
        picture_ids=tuple(f"{i:04d}" for i in range(n)),
        groups=np.arange(n) // 4,
        labels=(np.arange(n) % classes).astype(np.int64),
        weights=np.ones(n, np.float32),
        folds=(np.arange(n) // 4 % 3).astype(np.int32),
        test=np.arange(n) // 4 % 4 == 3,
    )


def pictures(data: Samples) -> np.ndarray:
    """Noise in which the labels' channel is brighter."""
    rng = np.random.default_rng(5)
    pixels = rng.integers(0, 150, (len(data), SPEC.resize, SPEC.resize, 3), dtype=np.uint8)
    pixels[np.arange(len(data)), :, :, data.labels % 3] += 80
    return pixels


def run(folder: Path, *, fingerprint: str = "f", classes: int = 2, **settings: object) -> Run:
    recipe = FinetuneSection(**{"batch_size": 8, "iterations": 40, "step": 15, **settings})
    data = samples(classes=classes)
    parts = data.parts(recipe.validation_fold)
    pixels = pictures(data)
    batches = Batches(
        pictures=pixels,
        samples=data,
        order=Order(parts["train"], 1),
        size=SPEC.size,
        augmentation=Augmentation(recipe.flip, recipe.crop, recipe.colour),
        batch_size=recipe.batch_size,
        seed=1,
    )
    chosen = parts["validation"]

    def validate(network: nn.Module) -> dict[str, float]:
        logits = logits_of(network, (pixels[i] for i in chosen), SPEC, both_views=False)
        return measure(logits, data.labels[chosen])

    return Run(
        backbone="tiny",
        fingerprint=fingerprint,
        recipe=recipe,
        spec=SPEC,
        batches=batches,
        validate=validate if len(chosen) else None,
        checkpoint=folder / "checkpoint.pt",
        events=folder / "events",
    )


class Talking(Loop):
    """Says each iteration that is safe on disk."""

    def _save(self) -> None:
        super()._save()
        print(self.state.iteration, flush=True)


def steady() -> Tunable:
    """Without dropout and batch statistics, so that any number of workers does the same sums."""
    tunable = tiny()
    tunable.network.body[1] = nn.Identity()
    tunable.network.body[-1].p = 0.0
    return tunable


def main(folder: Path) -> None:
    settings = {"checkpoint_minutes": 0, "evaluate_every": 7, "colour": 0.2, "patience": 5}
    settings |= {"iterations": 22, "step": 9}
    if "RANK" in os.environ:
        team = Workers()
        loop = Talking if team.leads else Loop
        loop(steady(), run(folder, **settings), team).train()
        team.close()
    else:
        Talking(tiny(), run(folder, **settings)).train()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
