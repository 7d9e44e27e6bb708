"""Grad-CAM of chosen pictures under a saved model, painted over the pictures themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING

import cv2
import numpy as np

import backbones
from backbones.preprocess import crop_box, to_input
from likewise.errors import UsageError
from likewise.study import Study
from training.models.scoring import reads_pictures
from training.pictures.thumbnails import decoded

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from backbones.registry import Preprocess
    from training.models.classes import ClassScorer
    from training.models.saved import Scorer
    from training.tuning.saved import FinetunedScorer

__all__ = ["on_picture", "overlays"]

BATCH = 8
SMOOTH = 0.025
"""Deviation of the blur, as a share of the input's side."""
FADE = 0.2
"""Share of the input's side over which heat fades at its border."""

Explainer = Callable[["Tensor", int], "NDArray[np.float32]"]


def overlays(
    study: Study,
    scorer: Scorer | ClassScorer | FinetunedScorer,
    towards: Mapping[str, int],
    *,
    side: int,
) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """(picture_id, (h, w, 3) picture under its heat) for each picture that is there.

    ``towards`` maps a picture_id to 1 for what speaks for it and 0 for what speaks against it, or
    to the number of the class that is asked about; ``side`` is the short side of the answer.

    Raises:
        UsageError: the model has no gradient (a random forest).
        WeightsError: the network's weights are not at hand.
    """
    import torch

    spec = backbones.get(scorer.backbone).preprocess
    explain = _explainer(study, scorer)
    pictures = decoded(study, dict.fromkeys(towards, max(side, spec.resize)))
    # A few pictures at a time: more threads wait for each other longer than they work.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield from _painted(pictures, towards, explain, spec, side)
    finally:
        torch.set_num_threads(threads)


def _painted(
    pictures: Iterator[tuple[str, NDArray[np.uint8]]],
    towards: Mapping[str, int],
    explain: Explainer,
    spec: Preprocess,
    side: int,
) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    import torch

    from training.explanation import gradcam

    while group := list(islice(pictures, BATCH)):
        for sign in sorted({towards[key] for key, _ in group}, reverse=True):
            part = [(key, rgb) for key, rgb in group if towards[key] == sign]
            if not part:
                continue
            inputs = torch.from_numpy(np.stack([to_input(rgb, spec) for _, rgb in part]))
            heats = explain(inputs, sign)
            for (key, rgb), heat in zip(part, heats, strict=True):
                small = _at_least(rgb, side)
                yield key, gradcam.overlay(small, on_picture(heat, small.shape[:2], spec))


def _explainer(study: Study, scorer: Scorer | ClassScorer | FinetunedScorer) -> Explainer:
    """(n, 3, H, W) inputs and a sign, or a class, to (n, H, W) heat by the model's network."""
    from training.explanation import gradcam

    if reads_pictures(scorer):
        network, last = scorer.network, int(scorer.card["classes"]) - 1
        if scorer.classes:
            return lambda inputs, number: gradcam.heatmap(network, inputs, number)
        return lambda inputs, sign: gradcam.heatmap(network, inputs, last if sign else 0)
    if getattr(scorer, "weight", None) is None or hasattr(scorer, "path"):
        raise UsageError(f"model {scorer.name} has no gradient, so no heat map can be made")
    features = study.manifest("features")
    random = bool(features and features.made_from["params"].get("random_weights"))
    plain = backbones.load(scorer.backbone, random_weights=random)
    return lambda inputs, sign: gradcam.explain_scorer(plain, inputs, scorer, towards=sign)


def _at_least(rgb: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """The picture with its short side at ``side``, never enlarged."""
    scale = min(1.0, side / min(rgb.shape[:2]))
    size = (round(rgb.shape[1] * scale), round(rgb.shape[0] * scale))
    return cv2.resize(rgb, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


def on_picture(
    heat: NDArray[np.float32], shape: tuple[int, ...], spec: Preprocess
) -> NDArray[np.float32]:
    """Heat of the network's input, (size, size), laid where that input was cut from (H, W)."""
    height, width = shape
    left, top, right, bottom = (round(edge) for edge in crop_box(width, height, spec))
    whole = np.zeros((height, width), np.float32)
    size = (right - left, bottom - top)
    # The maps have 6 to 14 cells a side; without smoothing the lines between them show as seams.
    smooth = cv2.GaussianBlur(heat, (0, 0), SMOOTH * max(heat.shape))
    seen = cv2.resize(smooth, size, interpolation=cv2.INTER_LINEAR)
    # Where the input ends inside the picture the heat fades out, so that the border of what the
    # network saw does not look like a border in the picture.
    across = _fade(size[0], first=left > 0, last=right < width)
    down = _fade(size[1], first=top > 0, last=bottom < height)
    whole[top:bottom, left:right] = seen * down[:, None] * across[None, :]
    return whole


def _fade(length: int, *, first: bool, last: bool) -> NDArray[np.float32]:
    """(length,) factors from 0 to 1: a smooth rise at the ends that are asked for."""
    reach = max(1, round(length * FADE))
    rise = np.sin(np.linspace(0, np.pi / 2, reach)) ** 2
    factors = np.ones(length)
    if first:
        factors[:reach] *= rise
    if last:
        factors[-reach:] *= rise[::-1]
    return factors.astype(np.float32)
