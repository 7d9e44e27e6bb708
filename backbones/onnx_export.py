"""Export a network to ONNX, once for its weights, and check the export against torch.

The graph's parameters lie beside it in one file that ONNX Runtime maps into memory.
"""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from backbones.engines import OnnxEngine
from backbones.network import Network
from backbones.plan import MODEL
from backbones.registry import get
from likewise.errors import LikewiseError
from likewise.whole import whole_folder

__all__ = ["INPUT", "export"]

INPUT = "pictures"
TOLERANCE = 1e-4
"""Largest difference from torch that passes, relative to the layer's largest activation."""


class _Heads(nn.Module):
    """The asked layers of a network as a tuple."""

    def __init__(self, network: Network, layers: tuple[str, ...], *, pre_relu: bool) -> None:
        super().__init__()
        self.network = network
        self.layers = layers
        self.pre_relu = pre_relu

    def forward(self, pictures: Tensor) -> tuple[Tensor, ...]:
        found = self.network.features(pictures, pre_relu=self.pre_relu)
        return tuple(found[layer] for layer in self.layers)


def export(
    network: Network, name: str, layers: tuple[str, ...], target: Path, *, pre_relu: bool = False
) -> Path:
    """Write ``target``/model.onnx with its parameters, checked against torch; return its path.

    An existing export is returned as it is: ``target`` should be named after the weights' hash.

    Raises:
        LikewiseError: the export does not give what torch gives.
    """
    model = target / MODEL
    if model.is_file():
        return model
    with whole_folder(target) as staged:
        heads = _Heads(network, layers, pre_relu=pre_relu).eval()
        side = get(name).input_size
        _export(heads, staged / MODEL, side)
        _compare(heads, staged / MODEL, side)
    return model


def _export(heads: _Heads, path: Path, side: int) -> None:
    views = torch.export.Dim("views", min=1, max=1 << 16)
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)  # it reports that torchvision is not installed
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporter's own deprecations
            torch.onnx.export(
                heads,
                (torch.zeros(2, 3, side, side),),
                path,
                input_names=[INPUT],
                output_names=list(heads.layers),
                dynamic_shapes={"pictures": {0: views}},
                dynamo=True,
                external_data=True,
                verbose=False,
            )
    finally:
        logger.setLevel(level)


def _compare(heads: _Heads, path: Path, side: int) -> None:
    pictures = torch.randn(3, 3, side, side, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = [value.numpy() for value in heads(pictures)]
    found = OnnxEngine(path, heads.layers).run(pictures.numpy())
    for layer, truth in zip(heads.layers, expected, strict=True):
        error = float(np.abs(found[layer] - truth).max() / max(np.abs(truth).max(), 1e-12))
        if not error <= TOLERANCE:
            raise LikewiseError(
                f"the ONNX export of layer {layer} differs from torch by {error:.1e}",
                hint="use engine = 'torch' and report this with the versions of torch and onnx",
            )
