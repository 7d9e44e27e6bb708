"""GoogLeNet twice: with batch normalisation (torchvision) and as BVLC trained it in Caffe.

Source: Szegedy et al. 2014, arXiv:1409.4842, table 1. torchvision's variant has 3 x 3 kernels
where the paper has 5 x 5, and pools 2 x 2 before the last two modules.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from backbones.network import ConvNorm, Network

__all__ = ["CaffeGoogLeNet", "GoogLeNet"]

# module: inputs, 1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5, pool projection
_MODULES: dict[str, tuple[int, ...]] = {
    "3a": (192, 64, 96, 128, 16, 32, 32),
    "3b": (256, 128, 128, 192, 32, 96, 64),
    "4a": (480, 192, 96, 208, 16, 48, 64),
    "4b": (512, 160, 112, 224, 24, 64, 64),
    "4c": (512, 128, 128, 256, 24, 64, 64),
    "4d": (512, 112, 144, 288, 32, 64, 64),
    "4e": (528, 256, 160, 320, 32, 128, 128),
    "5a": (832, 256, 160, 320, 32, 128, 128),
    "5b": (832, 384, 192, 384, 48, 128, 128),
}


class Inception(nn.Module):
    """One module with batch normalisation, under torchvision's names."""

    def __init__(self, inputs: int, *widths: int) -> None:
        super().__init__()
        one, reduce3, three, reduce5, five, pool = widths
        self.branch1 = ConvNorm(inputs, one, 1)
        self.branch2 = nn.Sequential(
            ConvNorm(inputs, reduce3, 1), ConvNorm(reduce3, three, 3, padding=1)
        )
        self.branch3 = nn.Sequential(
            ConvNorm(inputs, reduce5, 1), ConvNorm(reduce5, five, 3, padding=1)
        )
        self.branch4 = nn.Sequential(
            nn.MaxPool2d(3, 1, padding=1, ceil_mode=True), ConvNorm(inputs, pool, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs, h, w) -> (n, sum of the branches, h, w)."""
        return torch.cat([self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)], 1)


class GoogLeNet(Network):
    """torchvision's GoogLeNet: 6,624,904 parameters, input (n, 3, 224, 224) RGB in -1 ... 1."""

    DROPS = ("aux1.", "aux2.")

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = ConvNorm(3, 64, 7, stride=2, padding=3)
        self.conv2 = ConvNorm(64, 64, 1)
        self.conv3 = ConvNorm(64, 192, 3, padding=1)
        for name, widths in _MODULES.items():
            self.add_module(f"inception{name}", Inception(*widths))
        self.pool3 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.pool2 = nn.MaxPool2d(2, 2, ceil_mode=True)
        self.dropout = nn.Dropout(0.2)
        self.fc = nn.Linear(1024, 1000)

    def features(self, x: Tensor, *, pre_relu: bool = False) -> dict[str, Tensor]:  # noqa: ARG002
        """pooled (n, 1024) and logits (n, 1000); there is no ReLU between them."""
        x = self.pool3(self.conv1(x))
        x = self.pool3(self.conv3(self.conv2(x)))
        x = self._modules_of(x, "3a", "3b")
        x = self._modules_of(self.pool3(x), "4a", "4b", "4c", "4d", "4e")
        x = self._modules_of(self.pool2(x), "5a", "5b")
        pooled = x.mean((2, 3))
        return {"pooled": pooled, "logits": self.fc(self.dropout(pooled))}

    def _modules_of(self, x: Tensor, *names: str) -> Tensor:
        for name in names:
            x = self.get_submodule(f"inception{name}")(x)
        return x


class CaffeInception(nn.Module):
    """One module without normalisation, under Caffe's names."""

    def __init__(self, inputs: int, *widths: int) -> None:
        super().__init__()
        one, reduce3, three, reduce5, five, pool = widths
        self.one = nn.Conv2d(inputs, one, 1)
        self.reduce3 = nn.Conv2d(inputs, reduce3, 1)
        self.three = nn.Conv2d(reduce3, three, 3, padding=1)
        self.reduce5 = nn.Conv2d(inputs, reduce5, 1)
        self.five = nn.Conv2d(reduce5, five, 5, padding=2)
        self.pool = nn.MaxPool2d(3, 1, padding=1)
        self.projection = nn.Conv2d(inputs, pool, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs, h, w) -> (n, sum of the branches, h, w)."""
        three = self.three(torch.relu(self.reduce3(x)))
        five = self.five(torch.relu(self.reduce5(x)))
        return torch.relu(torch.cat([self.one(x), three, five, self.projection(self.pool(x))], 1))


_PARTS = {
    "1x1": "one",
    "3x3_reduce": "reduce3",
    "3x3": "three",
    "5x5_reduce": "reduce5",
    "5x5": "five",
    "pool_proj": "projection",
}


class CaffeGoogLeNet(Network):
    """BVLC's GoogLeNet: 6,998,552 parameters, input (n, 3, 224, 224) BGR minus the mean."""

    RENAMES = {  # noqa: RUF012
        "conv1/7x7_s2.": "conv1.",
        "conv2/3x3_reduce.": "reduce2.",
        "conv2/3x3.": "conv2.",
        "loss3/classifier.": "classifier.",
        **{
            f"inception_{module}/{theirs}.": f"inception_{module}.{ours}."
            for module in _MODULES
            for theirs, ours in _PARTS.items()
        },
    }
    DROPS = ("loss1/", "loss2/")

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3)
        self.norm = nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=1.0)
        self.reduce2 = nn.Conv2d(64, 64, 1)
        self.conv2 = nn.Conv2d(64, 192, 3, padding=1)
        self.pool = nn.MaxPool2d(3, 2, ceil_mode=True)
        for name, widths in _MODULES.items():
            self.add_module(f"inception_{name}", CaffeInception(*widths))
        self.dropout = nn.Dropout(0.4)
        self.classifier = nn.Linear(1024, 1000)

    def features(self, x: Tensor, *, pre_relu: bool = False) -> dict[str, Tensor]:  # noqa: ARG002
        """pooled (n, 1024) and logits (n, 1000); there is no ReLU between them."""
        x = self.norm(self.pool(torch.relu(self.conv1(x))))
        x = torch.relu(self.conv2(torch.relu(self.reduce2(x))))
        x = self.pool(self.norm(x))
        for name in _MODULES:
            x = self.get_submodule(f"inception_{name}")(x)
            if name in ("3b", "4e"):
                x = self.pool(x)
        pooled = x.mean((2, 3))
        return {"pooled": pooled, "logits": self.classifier(self.dropout(pooled))}

    @classmethod
    def adapt(cls, state: Mapping[str, Any]) -> dict[str, Any]:
        """An official state dict under our names; copies of it may hold the head as 1 x 1."""
        adapted = super().adapt(state)
        head = adapted.get("classifier.weight")
        if head is not None and head.ndim == 4:
            adapted["classifier.weight"] = head.flatten(1)
        return adapted
