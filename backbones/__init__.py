"""Pretrained networks: one architecture a file, preprocessing, the registry of weights.

>>> import backbones
>>> backbones.get("alexnet").dims["fc7"]
4096

``load`` gives a torch module and ``extract`` gives features of pictures. Everything is imported on
first use, so that a Spark worker that runs ONNX Runtime never imports torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from backbones.inference import extract
    from backbones.loading import load
    from backbones.preprocess import prepare, prepare_views
    from backbones.registry import Backbone, Choice, choose, get, names

__all__ = [
    "Backbone",
    "Choice",
    "choose",
    "extract",
    "get",
    "load",
    "names",
    "prepare",
    "prepare_views",
]

_PLACES = {
    "extract": "inference",
    "load": "loading",
    "prepare": "preprocess",
    "prepare_views": "preprocess",
    "Backbone": "registry",
    "Choice": "registry",
    "choose": "registry",
    "get": "registry",
    "names": "registry",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'backbones' has no attribute {name!r}")
    return getattr(importlib.import_module(f"backbones.{_PLACES[name]}"), name)
