"""What a unit looks for: the picture that excites it most, drawn by gradient ascent.

Erhan, Bengio, Courville and Vincent, "Visualizing Higher-Layer Features of a Deep Network" (2009).
Plain ascent finds noise that no picture holds; after Olah, Mordvintsev and Schubert, "Feature
Visualization" (Distill, 2017) the picture is made of waves, the longer the easier, and is moved a
little before each step, so that what comes out does not hang on single pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from torch import Tensor

import backbones
from likewise.errors import UsageError
from training.models.scoring import reads_pictures

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from backbones.registry import Preprocess
    from likewise.study import Study
    from training.explanation.gradcam import Backbone
    from training.models.classes import ClassScorer
    from training.tuning.saved import FinetunedScorer

__all__ = ["STEPS", "as_input", "class_scores", "maximise"]

STEPS = 64
RATE = 0.2
"""Length of a step. Adam would make every wave's step as long as that of the waves that matter."""
MOVES = 16
"""The picture is moved by up to a sixteenth of its side before each step."""

Score = Callable[[Tensor], Tensor]
"""(1, 3, H, W) RGB in 0 ... 1 to the (1,) value that is to become large."""


def maximise(
    score: Score,
    side: int,
    *,
    seed: int,
    steps: int = STEPS,
    moves: bool = True,
    on_step: Callable[[], None] | None = None,
) -> NDArray[np.float32]:
    """The (side, side, 3) RGB picture in 0 ... 1 that makes ``score`` large.

    Args:
        score: see ``Score``; gradients flow through it.
        side: of the picture, pixels.
        seed: of the noise that the ascent starts from, and of the moves.
        steps: of the ascent.
        moves: move the picture before each step; not for a unit that looks at one place.
        on_step: told of every step.
    """
    draw = torch.Generator().manual_seed(seed)
    down, across = torch.fft.fftfreq(side)[:, None], torch.fft.rfftfreq(side)[None, :]
    # Steps go with this twice, so that a wave's amplitude grows as one over its frequency, which is
    # what natural pictures have.
    size = side * torch.clamp(side * torch.sqrt(down**2 + across**2), min=1) ** -0.5
    waves = 0.01 * torch.randn((1, 3, side, side // 2 + 1, 2), generator=draw)
    waves.requires_grad_(True)

    def picture() -> Tensor:
        spectrum = torch.view_as_complex(waves) * size
        return torch.sigmoid(torch.fft.irfft2(spectrum, s=(side, side), norm="ortho"))

    reach = max(1, side // MOVES)
    with torch.enable_grad():
        for _ in range(steps):
            shown = picture()
            if moves:
                far = torch.randint(-reach, reach + 1, (2,), generator=draw).tolist()
                shown = torch.roll(shown, far, dims=(2, 3))
            (slope,) = torch.autograd.grad(score(shown).sum(), waves)
            with torch.no_grad():
                waves += RATE * slope / torch.clamp(slope.norm(), min=1e-12)
            if on_step is not None:
                on_step()
    found: NDArray[np.float32] = picture().detach()[0].permute(1, 2, 0).numpy()
    return found


def as_input(rgb: Tensor, spec: Preprocess) -> Tensor:
    """(n, 3, H, W) RGB in 0 ... 1 to a network's input; see ``backbones.registry.Preprocess``."""
    pixels = 255 * rgb
    if spec.colour == "bgr":
        pixels = pixels.flip(1)
    mean, std = (torch.tensor(three).view(1, 3, 1, 1) for three in (spec.mean, spec.std))
    return (pixels - mean) / std


def class_scores(study: Study, scorer: ClassScorer | FinetunedScorer) -> Callable[[Tensor], Tensor]:
    """(n, 3, H, W) RGB in 0 ... 1 to (n, k): what speaks for each class beyond their mean.

    Raises:
        UsageError: the model has no gradient (a random forest, a tree).
        WeightsError: the network's weights are not at hand.
    """
    spec = backbones.get(scorer.backbone).preprocess
    if reads_pictures(scorer):
        own = scorer.network.eval().requires_grad_(False)

        def tuned(rgb: Tensor) -> Tensor:
            logits: Tensor = own(as_input(rgb, spec))
            return logits - logits.mean(dim=1, keepdim=True)

        return tuned
    weight = getattr(scorer, "weight", None)
    if weight is None or hasattr(scorer, "path"):
        raise UsageError(
            f"model {scorer.name} ({scorer.card.get('classifier', scorer.card['kind'])}) has no "
            "gradient, so what it looks for cannot be drawn",
            hint="train a linear one: [compare] classifiers = ['softmax'], or --search",
        )
    features = study.manifest("features")
    random = bool(features and features.made_from["params"].get("random_weights"))
    plain = backbones.load(scorer.backbone, random_weights=random).eval().requires_grad_(False)
    direction = torch.from_numpy(weight - weight.mean(axis=1, keepdims=True))

    def linear(rgb: Tensor) -> Tensor:
        layers = cast("Backbone", plain).features(as_input(rgb, spec))
        return layers[scorer.layer].flatten(1) @ direction

    return linear
