"""Grad-CAM: which parts of a picture a network's answer rests on.

Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based
Localization", ICCV 2017, equations 1 and 2: the maps A^k of the last convolution are weighted by
the mean gradient of the answer, summed, and cut at zero. The answer may be a class of the network
or the margin of a linear classifier that reads one of its feature layers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol, cast

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from likewise.errors import DataError, UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from training.models.classes import ClassScorer
    from training.models.saved import Scorer

__all__ = ["Backbone", "Target", "explain_scorer", "heatmap", "overlay"]

Target = int | Sequence[int] | Callable[[Tensor], Tensor] | None
"""What is explained: a class, one class a picture, a function of the logits, or the top class."""

# A pool or dropout ends the convolutional part; the maps before it are larger and say more.
_ENDINGS = (
    nn.MaxPool2d,
    nn.AvgPool2d,
    nn.AdaptiveAvgPool2d,
    nn.AdaptiveMaxPool2d,
    nn.Dropout,
    nn.Dropout2d,
)
_TINY = 1e-7


class Backbone(Protocol):
    """A network that gives its named layers, as ``backbones.load`` makes them."""

    def features(self, x: Tensor) -> dict[str, Tensor]:
        """(n, 3, H, W) float32 to the activations of each named layer."""


def heatmap(model: nn.Module, batch: Tensor, target: Target = None) -> NDArray[np.float32]:
    """Where the network looks for ``target``, from 0 (nowhere) to 1 (most), for each picture.

    ``batch`` is (n, 3, H, W) as the network's own preprocessing makes it; the answer is (n, H, W)
    float32. The model is evaluated as it stands, without dropout, and its parameters collect no
    gradient. A picture in which nothing speaks for the target has zeros everywhere.

    Raises:
        UsageError: no convolution's maps were seen, or targets and pictures differ in number.
    """
    return _explain(model, batch, model, _answer(target, len(batch)))


def explain_scorer(
    model: nn.Module, batch: Tensor, scorer: Scorer | ClassScorer, *, towards: int = 1
) -> NDArray[np.float32]:
    """Grad-CAM of a linear classifier on one of the network's layers: gradient of w.f(x).

    ``towards`` is 1 for what speaks for the label 1, and 0 for what speaks against it; of k classes
    it is the number of the one that is asked about, and what speaks for it beyond the mean of all
    classes is shown. Shapes are those of ``heatmap``.

    Raises:
        UsageError: the scorer has no weights to differentiate (a random forest), or the network
            has no such layer.
        DataError: the layer's width is not the classifier's.
    """
    weight = getattr(scorer, "weight", None)
    if weight is None:
        raise UsageError(
            f"model {scorer.name} has no gradient, so Grad-CAM cannot explain it",
            hint="choose a linear model, or a fine-tuned network",
        )
    weight = np.asarray(weight)
    of_classes = weight.ndim == 2
    if of_classes:
        weight = weight[:, towards] - weight.mean(axis=1)
    direction = torch.as_tensor(weight, dtype=batch.dtype, device=batch.device)

    def run(x: Tensor) -> Tensor:
        layers = cast(Backbone, model).features(x)
        if scorer.layer not in layers:
            raise UsageError(
                f"model {scorer.name} reads layer {scorer.layer!r} of {scorer.backbone}; this "
                f"network has {', '.join(layers)}"
            )
        features = layers[scorer.layer].flatten(1)
        if features.shape[1] != len(direction):
            raise DataError(
                f"model {scorer.name} reads {len(direction)} values of {scorer.layer!r}; this "
                f"network gives {features.shape[1]}"
            )
        return features @ direction

    sign = 1.0 if towards or of_classes else -1.0
    return _explain(model, batch, run, lambda margins: sign * margins)


def overlay(
    rgb: NDArray[np.uint8], heat: NDArray[np.float32], *, strength: float = 0.5
) -> NDArray[np.uint8]:
    """The picture with its heat painted over it.

    ``rgb`` is (H, W, 3) uint8; ``heat`` is any (h, w) in 0 ... 1 and is stretched to the picture.
    Cold places stay as they are: the colour (viridis, readable without red-green vision) covers at
    most ``strength`` of a pixel, in proportion to its heat.
    """
    if rgb.ndim != 3 or rgb.shape[2] != 3 or heat.ndim != 2:
        raise DataError(f"overlay needs (H, W, 3) and (h, w) arrays, got {rgb.shape}, {heat.shape}")
    size = (rgb.shape[1], rgb.shape[0])
    stretched = cv2.resize(heat.astype(np.float32), size, interpolation=cv2.INTER_LINEAR)
    stretched = np.clip(stretched, 0.0, 1.0)
    colours = cv2.applyColorMap((stretched * 255).round().astype(np.uint8), cv2.COLORMAP_VIRIDIS)
    opacity = (strength * stretched)[:, :, None]
    mixed = (1 - opacity) * rgb + opacity * colours[:, :, ::-1]
    return mixed.round().astype(np.uint8)


def _explain(
    model: nn.Module,
    batch: Tensor,
    run: Callable[[Tensor], Tensor],
    answer: Callable[[Tensor], Tensor],
) -> NDArray[np.float32]:
    training = model.training
    model.eval()
    try:
        with torch.enable_grad(), _LastMaps(model) as seen:
            value = answer(run(batch.detach().clone().requires_grad_(True))).sum()
            maps = seen.maps()
            (gradient,) = torch.autograd.grad(value, maps)
    finally:
        model.train(training)
    weights = gradient.mean(dim=(2, 3), keepdim=True)
    heat = torch.relu((weights * maps).sum(dim=1)).detach().float().cpu().numpy()
    height, width = batch.shape[-2:]
    return np.stack([_stretch(one, height, width) for one in heat])


class _LastMaps:
    """While open, remembers the maps that the network's last convolutional part puts out.

    These are the last four-dimensional output of any module that is no pool and no dropout, so a
    block with a residual sum or a concatenation counts as a whole; or what enters the last pool,
    which has passed activations that are no modules.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._handles: list[RemovableHandle] = []
        self._maps: Tensor | None = None
        self._ended: object = None

    def __enter__(self) -> _LastMaps:
        self._handles = [m.register_forward_hook(self._see) for m in self._model.modules()]
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()

    def _see(self, module: nn.Module, inputs: tuple[object, ...], output: object) -> None:
        if isinstance(module, _ENDINGS):
            self._ended = output
            self._keep(inputs[0])
        elif output is not self._ended:
            self._keep(output)

    def _keep(self, candidate: object) -> None:
        if isinstance(candidate, Tensor) and candidate.ndim == 4 and max(candidate.shape[2:]) > 1:
            self._maps = candidate

    def maps(self) -> Tensor:
        if self._maps is None or not self._maps.requires_grad:
            raise UsageError(
                "Grad-CAM needs a network with convolutions that gradients flow through"
            )
        return self._maps


def _answer(target: Target, n: int) -> Callable[[Tensor], Tensor]:
    """A function from (n, classes) logits to the (n,) values that are explained."""
    if callable(target):
        return target
    if target is None:
        return lambda logits: logits.amax(dim=1)
    classes = [target] * n if isinstance(target, int) else list(target)
    if len(classes) != n:
        raise UsageError(f"{len(classes)} targets for {n} pictures")

    def pick(logits: Tensor) -> Tensor:
        wrong = [c for c in classes if not 0 <= c < logits.shape[1]]
        if wrong:
            raise UsageError(f"class {wrong[0]} is not one of the network's {logits.shape[1]}")
        return logits[torch.arange(n, device=logits.device), classes]

    return pick


def _stretch(heat: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    resized = cv2.resize(_unit(heat), (width, height), interpolation=cv2.INTER_LINEAR)
    return _unit(resized.astype(np.float32))


def _unit(heat: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scaled to 0 ... 1, so that pictures can be looked at side by side."""
    low = heat - heat.min()
    scaled: NDArray[np.float32] = (low / (low.max() + _TINY)).astype(np.float32)
    return scaled
