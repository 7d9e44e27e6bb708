"""Everything a worker must know to turn pictures into features; small, and it can be pickled."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from platformdirs import user_cache_path

from backbones import weights as registry
from backbones.registry import choose, get
from likewise.study import fingerprint

__all__ = ["MODEL", "Plan", "make_plan"]

MODEL = "model.onnx"

GPU_BATCH = 128

EXPORT_CODE = 1
"""Raised whenever an export of the same weights would come out differently."""


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


def make_plan(
    backbone: str = "auto",
    layers: Sequence[str] = (),
    *,
    random_weights: bool = False,
    weights: str | Path | None = None,
    engine: Literal["auto", "onnx", "torch"] = "auto",
    folder: Path | None = None,
    **options: Any,
) -> Plan:
    """Choose the backbone, find its weights and export it when ONNX Runtime is to run it.

    An export is made once for its weights and kept in the user's cache; ``folder`` (a study's)
    gets a copy. ``options`` are further fields of Plan.

    Raises:
        UsageError: unknown backbone or layer.
        WeightsError: the weights are missing, damaged or belong to another architecture.
    """
    chosen = get(choose(backbone).name)
    path = None
    if not random_weights:
        path = Path(weights) if weights is not None else registry.find(chosen.weights)
    plan = Plan(
        backbone=chosen.name,
        layers=chosen.resolve(tuple(layers)),
        weights_id="random" if path is None else registry.sha256_of(path),
        engine="onnx" if engine == "auto" else engine,
        weights=None if path is None else str(path),
        **options,
    )
    return plan if plan.engine == "torch" else _with_export(plan, folder)


def _exports_folder() -> Path:
    """Where exports lie that belong to no study: ``$LIKEWISE_EXPORTS`` or the user's cache."""
    given = os.environ.get("LIKEWISE_EXPORTS")
    return Path(given) if given else user_cache_path("likewise") / "onnx"


def _with_export(plan: Plan, folder: Path | None) -> Plan:
    made_from = {
        "backbone": plan.backbone,
        "layers": list(plan.layers),
        "weights": plan.weights_id,
        "pre_relu": plan.pre_relu,
        "code": EXPORT_CODE,
    }
    name = f"{plan.backbone}-{fingerprint(made_from)}"
    target = _exports_folder() / name
    if not (target / MODEL).is_file():
        from backbones.loading import load
        from backbones.onnx_export import export  # brings torch: only when there is work for it

        network = load(plan.backbone, random_weights=plan.random_weights, weights=plan.weights)
        export(network, plan.backbone, plan.layers, target, pre_relu=plan.pre_relu)
    if folder is not None:
        target = _placed(target, folder / name)
    return replace(plan, onnx=str(target / MODEL))


def _placed(source: Path, target: Path) -> Path:
    """A copy of an export in a study, where the workers of a cluster find it."""
    if not (target / MODEL).is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        staged = target.with_name(f".{target.name}-{uuid.uuid4().hex[:8]}")
        try:
            shutil.copytree(source, staged)
            if not target.exists():
                os.rename(staged, target)
        finally:
            shutil.rmtree(staged, ignore_errors=True)
    return target
