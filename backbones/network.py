"""What all networks share: named feature layers, and official names of their parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

__all__ = ["ConvNorm", "Network"]


class Network(nn.Module):
    """A pretrained network with named feature layers.

    Subclasses implement ``features``; the logits are the last of them. ``load_state_dict`` takes
    official files: ``RENAMES`` maps leading parts of their names to ours, and names that start
    with one of ``DROPS`` (auxiliary heads, of use in training from scratch only) are left out.
    """

    RENAMES: ClassVar[Mapping[str, str]] = {}
    DROPS: ClassVar[tuple[str, ...]] = ()

    def __init__(self) -> None:
        super().__init__()
        self.register_load_state_dict_pre_hook(_adapt_in_place)  # type: ignore[no-untyped-call]

    @classmethod
    def adapt(cls, state: Mapping[str, Any]) -> dict[str, Any]:
        """An official state dict under our names."""
        return {
            cls._our_name(name): value
            for name, value in state.items()
            if not (cls.DROPS and name.startswith(cls.DROPS))
        }

    @classmethod
    def _our_name(cls, name: str) -> str:
        for theirs, ours in cls.RENAMES.items():
            if name.startswith(theirs):
                return ours + name[len(theirs) :]
        return name

    def features(self, x: Tensor, *, pre_relu: bool = False) -> dict[str, Tensor]:
        """Activations of every feature layer.

        Args:
            x: (n, 3, side, side) float32, preprocessed for this network.
            pre_relu: fully connected layers before their ReLU instead of after it.

        Returns:
            layer name -> (n, d) float32, in the order of the registry's ``dims``.
        """
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """(n, 1000) logits of the ImageNet classes, before the softmax."""
        return self.features(x)["logits"]


def _adapt_in_place(module: nn.Module, state: dict[str, Any], *_: Any) -> None:
    assert isinstance(module, Network)
    adapted = module.adapt(state)
    state.clear()
    state.update(adapted)


class ConvNorm(nn.Module):
    """Convolution without bias, batch normalisation, ReLU: the brick of both Inceptions."""

    def __init__(self, inputs: int, outputs: int, kernel: Any, **options: Any) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, bias=False, **options)
        self.bn = nn.BatchNorm2d(outputs, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs, h, w) -> (n, outputs, h', w')."""
        return torch.relu(self.bn(self.conv(x)))
