"""AlexNet twice: torchvision's one-tower network, and the original that Caffe distributes.

Sources: Krizhevsky, Sutskever, Hinton 2012 (the original, two groups and local response
normalisation, as in BVLC's ``bvlc_alexnet``); Krizhevsky 2014, arXiv:1404.5997, section 2
(one tower, as in torchvision).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from backbones.network import Network

__all__ = ["AlexNet", "CaffeAlexNet"]


class AlexNet(Network):
    """torchvision's AlexNet: 61,100,840 parameters, input (n, 3, 224, 224) RGB."""

    # `features` is the method that names the layers, so the convolutions have another name.
    RENAMES = {"features.": "trunk."}  # noqa: RUF012

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Conv2d(3, 64, 11, stride=4, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(3, 2),
            nn.Conv2d(64, 192, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(3, 2),
            nn.Conv2d(192, 384, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(384, 256, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(256, 256, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(3, 2),
        )
        self.classifier = nn.Sequential(
            nn.Dropout(),
            nn.Linear(256 * 6 * 6, 4096),
            nn.ReLU(),
            nn.Dropout(),
            nn.Linear(4096, 4096),
            nn.ReLU(),
            nn.Linear(4096, 1000),
        )

    def features(self, x: Tensor, *, pre_relu: bool = False) -> dict[str, Tensor]:
        """fc6 and fc7 (n, 4096), after their ReLU unless ``pre_relu``; logits (n, 1000)."""
        drop6, fc6, relu6, drop7, fc7, relu7, fc8 = self.classifier
        before6 = fc6(drop6(self.trunk(x).flatten(1)))
        after6 = relu6(before6)
        before7 = fc7(drop7(after6))
        after7 = relu7(before7)
        return {
            "fc6": before6 if pre_relu else after6,
            "fc7": before7 if pre_relu else after7,
            "logits": fc8(after7),
        }


def _lrn() -> nn.LocalResponseNorm:
    return nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=1.0)


def _pool() -> nn.MaxPool2d:
    # Caffe rounds the size of a pooled map up where torch rounds down.
    return nn.MaxPool2d(3, 2, ceil_mode=True)


class CaffeAlexNet(Network):
    """The original AlexNet: 60,965,224 parameters, input (n, 3, 227, 227) BGR minus the mean.

    Layers carry the names of BVLC's ``bvlc_alexnet``; conv2, conv4 and conv5 have two groups.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 96, 11, stride=4)
        self.conv2 = nn.Conv2d(96, 256, 5, padding=2, groups=2)
        self.conv3 = nn.Conv2d(256, 384, 3, padding=1)
        self.conv4 = nn.Conv2d(384, 384, 3, padding=1, groups=2)
        self.conv5 = nn.Conv2d(384, 256, 3, padding=1, groups=2)
        self.norm1, self.norm2 = _lrn(), _lrn()
        self.pool1, self.pool2, self.pool5 = _pool(), _pool(), _pool()
        self.fc6 = nn.Linear(256 * 6 * 6, 4096)
        self.fc7 = nn.Linear(4096, 4096)
        self.fc8 = nn.Linear(4096, 1000)
        self.drop6, self.drop7 = nn.Dropout(), nn.Dropout()

    def convolutions(self, x: Tensor) -> Tensor:
        """(n, 3, 227, 227) -> (n, 256, 6, 6), the map that fc6 reads."""
        x = self.pool1(self.norm1(torch.relu(self.conv1(x))))
        x = self.pool2(self.norm2(torch.relu(self.conv2(x))))
        x = torch.relu(self.conv4(torch.relu(self.conv3(x))))
        return self.pool5(torch.relu(self.conv5(x)))  # type: ignore[no-any-return]

    def features(self, x: Tensor, *, pre_relu: bool = False) -> dict[str, Tensor]:
        """fc6 and fc7 (n, 4096), after their ReLU unless ``pre_relu``; logits (n, 1000)."""
        before6 = self.fc6(self.convolutions(x).flatten(1))
        after6 = torch.relu(before6)
        before7 = self.fc7(self.drop6(after6))
        after7 = torch.relu(before7)
        return {
            "fc6": before6 if pre_relu else after6,
            "fc7": before7 if pre_relu else after7,
            "logits": self.fc8(self.drop7(after7)),
        }
