"""EfficientNet-Lite with named feature layers; the network itself is a Python package.

Source of the architecture: Tan and Le 2019, arXiv:1905.11946; its Lite variants have ReLU6 and no
squeeze-and-excitation. Package: ``efficientnet-lite-pytorch``.
"""

from __future__ import annotations

from typing import cast

from efficientnet_lite_pytorch import EfficientNet
from efficientnet_lite_pytorch.utils import get_model_params
from torch import Tensor

from backbones.network import Network

__all__ = ["EfficientNetLite"]


class EfficientNetLite(EfficientNet, Network):  # type: ignore[misc]
    """EfficientNet-Lite ``level`` 0, 1 or 2; input (n, 3, side, side) RGB in -1 ... 1."""

    def __init__(self, level: int = 0) -> None:
        super().__init__(*get_model_params(f"efficientnet-lite{level}", {}))

    def features(self, x: Tensor, *, pre_relu: bool = False) -> dict[str, Tensor]:  # noqa: ARG002
        """pooled (n, 1280) and logits (n, 1000); there is no ReLU between them."""
        pooled: Tensor = EfficientNet.extract_features(self, x).mean((2, 3))
        return {"pooled": pooled, "logits": self._head(pooled)}

    def _head(self, pooled: Tensor) -> Tensor:
        dropout, linear = self.get_submodule("_dropout"), self.get_submodule("_fc")
        return cast(Tensor, linear(dropout(pooled)))

    def forward(self, x: Tensor) -> Tensor:
        """(n, 1000) logits."""
        return self.features(x)["logits"]
