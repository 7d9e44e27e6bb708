"""VGG-16 and VGG-19. Source: Simonyan and Zisserman 2014, arXiv:1409.1556, configurations D, E."""

from __future__ import annotations

from torch import Tensor, nn

from backbones.network import Network

__all__ = ["VGG"]

_WIDTHS = (64, 128, 256, 512, 512)
_DEPTHS = {16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}


def _trunk(depths: tuple[int, ...]) -> nn.Sequential:
    layers: list[nn.Module] = []
    inputs = 3
    for width, depth in zip(_WIDTHS, depths, strict=True):
        for _ in range(depth):
            layers += [nn.Conv2d(inputs, width, 3, padding=1), nn.ReLU()]
            inputs = width
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers)


class VGG(Network):
    """VGG of 16 or 19 layers without batch normalisation; input (n, 3, 224, 224) RGB."""

    RENAMES = {"features.": "trunk."}  # noqa: RUF012 - as in AlexNet

    def __init__(self, depth: int = 19) -> None:
        super().__init__()
        self.trunk = _trunk(_DEPTHS[depth])
        self.classifier = nn.Sequential(
            nn.Linear(512 * 7 * 7, 4096),
            nn.ReLU(),
            nn.Dropout(),
            nn.Linear(4096, 4096),
            nn.ReLU(),
            nn.Dropout(),
            nn.Linear(4096, 1000),
        )

    def features(self, x: Tensor, *, pre_relu: bool = False) -> dict[str, Tensor]:
        """fc6 and fc7 (n, 4096), after their ReLU unless ``pre_relu``; logits (n, 1000)."""
        fc6, relu6, drop6, fc7, relu7, drop7, fc8 = self.classifier
        before6 = fc6(self.trunk(x).flatten(1))
        after6 = relu6(before6)
        before7 = fc7(drop6(after6))
        after7 = relu7(before7)
        return {
            "fc6": before6 if pre_relu else after6,
            "fc7": before7 if pre_relu else after7,
            "logits": fc8(drop7(after7)),
        }
