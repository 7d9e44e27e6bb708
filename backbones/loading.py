"""Build a network and give it its weights, never through pickle."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from backbones import alexnet, googlenet, inception, resnet
from backbones.network import Network
from backbones.registry import BACKBONES, get
from backbones.vgg import VGG
from likewise import weights as registry
from likewise.errors import WeightsError

__all__ = ["build", "check_fits", "load", "read_state_dict"]

RANDOM_SEED = 20131


def build(name: str) -> Network:
    """The architecture with torch's default (random) initialisation. Raises UsageError."""
    get(name)
    return _builder(name)()


def _builder(name: str) -> Callable[[], Network]:
    if name.startswith("efficientnet-lite"):
        from backbones.efficientnet_lite import EfficientNetLite

        return lambda: EfficientNetLite(int(name[-1]))
    if name.startswith("vgg"):
        return lambda: VGG(int(name[3:]))
    return _plain_builder(name)


def _plain_builder(name: str) -> Callable[[], Network]:
    return {
        "alexnet": alexnet.AlexNet,
        "alexnet-caffe": alexnet.CaffeAlexNet,
        "resnet50": resnet.ResNet50,
        "inception-v3": inception.InceptionV3,
        "googlenet": googlenet.GoogLeNet,
        "googlenet-bvlc": googlenet.CaffeGoogLeNet,
    }[name]


def load(name: str, *, random_weights: bool = False, weights: str | Path | None = None) -> Network:
    """The network with its weights, in evaluation mode, float32, on the CPU.

    Args:
        name: a backbone of the registry.
        random_weights: the same untrained weights every time; for tests and benchmarks.
        weights: a file to use instead of the registered one.

    Returns:
        ``.features(x)`` gives layer -> (n, d); calling it gives logits (n, 1000).

    Raises:
        UsageError: unknown name.
        WeightsError: the file is missing, damaged or belongs to another architecture.
    """
    if random_weights:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(RANDOM_SEED)
            return build(name).eval()
    path = Path(weights) if weights is not None else registry.find(get(name).weights)
    return _with_state(name, path).eval()


def _with_state(name: str, path: Path) -> Network:
    with torch.device("meta"):  # no time is lost on random numbers that are thrown away
        module = build(name)
    state = {key: _as_float32(value) for key, value in module.adapt(read_state_dict(path)).items()}
    _check_state(module, state, name, path)
    module.load_state_dict(state, assign=True)
    return module


def _as_float32(value: Tensor) -> Tensor:
    return value.float() if value.is_floating_point() else value


def check_fits(path: Path, name: str) -> None:
    """Raise WeightsError unless the file holds every parameter of the backbone ``name``."""
    if name not in BACKBONES:
        known = registry.entry(name)
        raise WeightsError(f"{path} is not {known.file}: its {known.hash} was expected")
    _with_state(name, path)


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Parameters of a ``.safetensors``, ``.pth``/``.pt`` or ``.caffemodel`` file.

    torch files are read with ``weights_only=True`` and memory-mapped where their format allows.

    Raises:
        WeightsError: missing, truncated, not such a file, or it holds more than tensors.
    """
    if not path.is_file():
        raise WeightsError(f"{path} does not exist")
    readers = {".safetensors": _read_safetensors, ".caffemodel": _read_caffe}
    reader = readers.get(path.suffix, _read_torch)
    try:
        return reader(path)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise WeightsError(
            f"{path} cannot be read: truncated, or not a weights file "
            f"({str(error).splitlines()[0][:200] if str(error) else type(error).__name__})",
            hint="get it again and check it: likewise weights verify",
        ) from error


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(str(error)) from error


def _read_caffe(path: Path) -> dict[str, Tensor]:
    from backbones.caffemodel import read_caffemodel

    return {key: torch.from_numpy(value) for key, value in read_caffemodel(path).items()}


def _read_torch(path: Path) -> dict[str, Tensor]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about odd pickles, which are refused just after
        try:
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except RuntimeError as error:
            if "mmap" not in str(error):
                raise
            content = torch.load(path, map_location="cpu", weights_only=True)
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping) or not all(
        isinstance(value, Tensor) for value in content.values()
    ):
        raise ValueError("it holds no state dict")
    return dict(content)


def _check_state(module: Network, state: Mapping[str, Tensor], name: str, path: Path) -> None:
    expected: dict[str, Any] = module.state_dict()
    for key, value in expected.items():
        if key not in state:
            if key.endswith("num_batches_tracked"):  # a counter that old files lack
                continue
            raise _unfit(path, name, f"{key} {tuple(value.shape)} is missing")
        if state[key].shape != value.shape:
            found, wanted = tuple(state[key].shape), tuple(value.shape)
            raise _unfit(path, name, f"{key} has shape {found}, expected {wanted}")
    surplus = next((key for key in state if key not in expected), None)
    if surplus is not None:
        raise _unfit(path, name, f"{surplus} {tuple(state[surplus].shape)} is not part of it")


def _unfit(path: Path, name: str, difference: str) -> WeightsError:
    return WeightsError(
        f"{path} does not fit {name}: {difference}",
        hint="the file belongs to another architecture; likewise weights list shows which is which",
    )
