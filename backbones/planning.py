"""Plans for the networks that are here: which engine, which weights, and their export to ONNX."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from platformdirs import user_cache_path

from backbones.plan import MODEL, Plan
from backbones.registry import choose, get
from likewise import weights as registry
from likewise.study import fingerprint
from likewise.whole import whole_folder

__all__ = ["make_plan"]

EXPORT_CODE = 1
"""Raised whenever an export of the same weights would come out differently."""


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
        with whole_folder(target) as staged:
            shutil.copytree(source, staged, dirs_exist_ok=True)
    return target
