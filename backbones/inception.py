"""Inception v3. Source: Szegedy et al. 2015, arXiv:1512.00567, table 1 and figures 5 to 8."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F  # noqa: N812 - the name that torch itself uses
from torch import Tensor, nn

from backbones.network import ConvNorm, Network

__all__ = ["InceptionV3"]


class Mixed(nn.Module):
    """Parallel chains of convolutions under torchvision's names, joined along the channels.

    ``chains`` lists, for each branch, its convolutions as (name, inputs, outputs, kernel); a
    kernel of two numbers is (height, width). A convolution keeps the size of the map unless its
    name stands in ``strided``: those have stride 2 and no padding.
    """

    def __init__(
        self, chains: list[list[tuple[str, int, int, tuple[int, int]]]], strided: str = ""
    ) -> None:
        super().__init__()
        self.chains = [[name for name, *_ in chain] for chain in chains]
        for chain in chains:
            for name, inputs, outputs, (high, wide) in chain:
                same = {"padding": (high // 2, wide // 2)}
                options = {"stride": 2} if name in strided.split() else same
                self.add_module(name, ConvNorm(inputs, outputs, (high, wide), **options))

    def chain(self, x: Tensor, names: list[str]) -> Tensor:
        """Apply the named convolutions in turn."""
        for name in names:
            x = self.get_submodule(name)(x)
        return x


class SameSize(Mixed):
    """Branches of stride 1; the last one starts with a 3 x 3 average pooling."""

    def __init__(
        self,
        chains: list[list[tuple[str, int, int, tuple[int, int]]]],
        *,
        count_include_pad: bool,
    ) -> None:
        super().__init__(chains)
        self.average = partial(
            F.avg_pool2d,
            kernel_size=3,
            stride=1,
            padding=1,
            count_include_pad=count_include_pad,
        )

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs, h, w) -> (n, sum of the branches, h, w)."""
        *plain, pooled = self.chains
        maps = [self.chain(x, names) for names in plain]
        return torch.cat([*maps, self.chain(self.average(x), pooled)], 1)


class HalfSize(Mixed):
    """Branches that end with stride 2, and a 3 x 3 maximum pooling of the input."""

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs, h, w) -> (n, branches + inputs, (h - 1) / 2, (w - 1) / 2)."""
        maps = [self.chain(x, names) for names in self.chains]
        return torch.cat([*maps, F.max_pool2d(x, 3, 2)], 1)


class Split(SameSize):
    """Branches whose ends are split in two (figure 7); those ends are joined, too."""

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs, 8, 8) -> (n, 2048, 8, 8)."""
        plain, three, double, pooled = self.chains
        maps = [
            self.chain(x, plain),
            *self._ends(x, three),
            *self._ends(x, double),
            self.chain(self.average(x), pooled),
        ]
        return torch.cat(maps, 1)

    def _ends(self, x: Tensor, names: list[str]) -> list[Tensor]:
        *stem, left, right = names
        x = self.chain(x, stem)
        return [self.chain(x, [left]), self.chain(x, [right])]


_1, _3, _5, _17, _71, _13, _31 = (1, 1), (3, 3), (5, 5), (1, 7), (7, 1), (1, 3), (3, 1)


def _mixed_5(inputs: int, pool: int, *, pad: bool) -> SameSize:
    chains = [
        [("branch1x1", inputs, 64, _1)],
        [("branch5x5_1", inputs, 48, _1), ("branch5x5_2", 48, 64, _5)],
        [
            ("branch3x3dbl_1", inputs, 64, _1),
            ("branch3x3dbl_2", 64, 96, _3),
            ("branch3x3dbl_3", 96, 96, _3),
        ],
        [("branch_pool", inputs, pool, _1)],
    ]
    return SameSize(chains, count_include_pad=pad)


def _mixed_6a() -> HalfSize:
    chains = [
        [("branch3x3", 288, 384, _3)],
        [
            ("branch3x3dbl_1", 288, 64, _1),
            ("branch3x3dbl_2", 64, 96, _3),
            ("branch3x3dbl_3", 96, 96, _3),
        ],
    ]
    return HalfSize(chains, strided="branch3x3 branch3x3dbl_3")


def _mixed_6(width: int, *, pad: bool) -> SameSize:
    chains = [
        [("branch1x1", 768, 192, _1)],
        [
            ("branch7x7_1", 768, width, _1),
            ("branch7x7_2", width, width, _17),
            ("branch7x7_3", width, 192, _71),
        ],
        [
            ("branch7x7dbl_1", 768, width, _1),
            ("branch7x7dbl_2", width, width, _71),
            ("branch7x7dbl_3", width, width, _17),
            ("branch7x7dbl_4", width, width, _71),
            ("branch7x7dbl_5", width, 192, _17),
        ],
        [("branch_pool", 768, 192, _1)],
    ]
    return SameSize(chains, count_include_pad=pad)


def _mixed_7a() -> HalfSize:
    chains = [
        [("branch3x3_1", 768, 192, _1), ("branch3x3_2", 192, 320, _3)],
        [
            ("branch7x7x3_1", 768, 192, _1),
            ("branch7x7x3_2", 192, 192, _17),
            ("branch7x7x3_3", 192, 192, _71),
            ("branch7x7x3_4", 192, 192, _3),
        ],
    ]
    return HalfSize(chains, strided="branch3x3_2 branch7x7x3_4")


def _mixed_7(inputs: int, *, pad: bool) -> Split:
    chains = [
        [("branch1x1", inputs, 320, _1)],
        [
            ("branch3x3_1", inputs, 384, _1),
            ("branch3x3_2a", 384, 384, _13),
            ("branch3x3_2b", 384, 384, _31),
        ],
        [
            ("branch3x3dbl_1", inputs, 448, _1),
            ("branch3x3dbl_2", 448, 384, _3),
            ("branch3x3dbl_3a", 384, 384, _13),
            ("branch3x3dbl_3b", 384, 384, _31),
        ],
        [("branch_pool", inputs, 192, _1)],
    ]
    return Split(chains, count_include_pad=pad)


class InceptionV3(Network):
    """Inception v3: 23,834,568 parameters without the auxiliary head; input (n, 3, 299, 299) RGB.

    ``count_include_pad=False`` makes the average poolings those of Keras and TensorFlow;
    torchvision's official file was ported to poolings that count the padding.
    """

    DROPS = ("AuxLogits.",)

    def __init__(self, *, count_include_pad: bool = True) -> None:
        super().__init__()
        pad = count_include_pad
        self.Conv2d_1a_3x3 = ConvNorm(3, 32, 3, stride=2)
        self.Conv2d_2a_3x3 = ConvNorm(32, 32, 3)
        self.Conv2d_2b_3x3 = ConvNorm(32, 64, 3, padding=1)
        self.Conv2d_3b_1x1 = ConvNorm(64, 80, 1)
        self.Conv2d_4a_3x3 = ConvNorm(80, 192, 3)
        self.Mixed_5b = _mixed_5(192, 32, pad=pad)
        self.Mixed_5c = _mixed_5(256, 64, pad=pad)
        self.Mixed_5d = _mixed_5(288, 64, pad=pad)
        self.Mixed_6a = _mixed_6a()
        self.Mixed_6b = _mixed_6(128, pad=pad)
        self.Mixed_6c = _mixed_6(160, pad=pad)
        self.Mixed_6d = _mixed_6(160, pad=pad)
        self.Mixed_6e = _mixed_6(192, pad=pad)
        self.Mixed_7a = _mixed_7a()
        self.Mixed_7b = _mixed_7(1280, pad=pad)
        self.Mixed_7c = _mixed_7(2048, pad=pad)
        self.pool = nn.MaxPool2d(3, 2)
        self.dropout = nn.Dropout()
        self.fc = nn.Linear(2048, 1000)

    def features(self, x: Tensor, *, pre_relu: bool = False) -> dict[str, Tensor]:  # noqa: ARG002
        """pooled (n, 2048) and logits (n, 1000); there is no ReLU between them."""
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(self.pool(x)))
        x = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(self.pool(x))))
        x = self.Mixed_6c(self.Mixed_6b(self.Mixed_6a(x)))
        x = self.Mixed_6e(self.Mixed_6d(x))
        x = self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(x)))
        pooled = x.mean((2, 3))
        return {"pooled": pooled, "logits": self.fc(self.dropout(pooled))}
