"""Everything a worker must know to turn pictures into features; small, and it can be pickled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from backbones.registry import get

__all__ = ["MODEL", "Plan"]

MODEL = "model.onnx"

GPU_BATCH = 128


@dataclass(frozen=True, slots=True)
class Plan:
    """How to compute features.

    ``onnx`` is the exported graph (engine ``onnx``); ``weights`` is the file for engine
    ``torch``; ``weights_id`` is the sha256 of the weights, or ``random``. ``half`` rounds the
    features to float16 precision: they stay float32 columns, that take about half the room.
    """

    backbone: str
    layers: tuple[str, ...]
    weights_id: str
    flip: bool = True
    pre_relu: bool = False
    batch_size: int = 0
    engine: Literal["onnx", "torch"] = "onnx"
    onnx: str | None = None
    weights: str | None = None
    device: str = "cpu"
    threads: int = 1
    half: bool = False
    precision: Literal["fp32", "int8"] = "fp32"

    @property
    def random_weights(self) -> bool:
        """True when the network is untrained."""
        return self.weights_id == "random"

    @property
    def batch(self) -> int:
        """Pictures in one forward pass: as asked, or what suits the backbone and the device."""
        fitting = GPU_BATCH if self.device.startswith("cuda") else get(self.backbone).batch
        return self.batch_size or fitting

    @property
    def views(self) -> int:
        """Rows of each picture: 1, or 2 with the mirror image."""
        return 2 if self.flip else 1

    def identity(self) -> Mapping[str, Any]:
        """What the rows depend on: the parameters of the table's fingerprint."""
        return {
            "backbone": self.backbone,
            "layers": list(self.layers),
            "weights": self.weights_id,
            "flip": self.flip,
            "pre_relu": self.pre_relu,
            "half": self.half,
            "precision": self.precision,
        }
