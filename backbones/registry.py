"""Which networks there are: their layers, their input and the weights that belong to them."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from likewise import weights
from likewise.errors import UsageError

__all__ = ["BACKBONES", "Backbone", "Choice", "Preprocess", "choose", "get", "names"]

Triple = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Preprocess:
    """From an upright RGB picture to the network's input.

    ``fit`` says what is resized to what:

    * ``short-side``: the short side becomes ``resize``, then the centre ``size`` x ``size``;
    * ``warp``: the picture becomes ``resize`` x ``resize`` whatever its shape (Caffe's
      ``convert_imageset``), then the centre ``size`` x ``size``;
    * ``crop-first``: the centre square of ``size / resize`` of the short side becomes ``size``.

    The input is ``(pixel - mean) / std`` with pixels 0 ... 255, channels in ``colour`` order.
    """

    size: int
    resize: int
    fit: Literal["short-side", "warp", "crop-first"] = "short-side"
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    colour: Literal["rgb", "bgr"] = "rgb"
    mean: Triple = (255 * 0.485, 255 * 0.456, 255 * 0.406)
    std: Triple = (255 * 0.229, 255 * 0.224, 255 * 0.225)


@dataclass(frozen=True, slots=True)
class Backbone:
    """A network: ``dims`` maps each feature layer to its length, the default layers first.

    ``dims`` always ends with ``logits``, the 1000 ImageNet scores before the softmax.
    ``weights`` names an entry of ``likewise.weights.WEIGHTS``. ``batch`` is how many pictures go
    into one forward pass on a CPU: as few as keep the matrix products efficient, since activations
    (9 MB a view in EfficientNet-Lite0) are what a worker's memory is made of.
    """

    name: str
    title: str
    dims: Mapping[str, int]
    preprocess: Preprocess
    weights: str
    defaults: tuple[str, ...]
    batch: int = 4

    @property
    def layers(self) -> tuple[str, ...]:
        """Feature layers that can be asked for."""
        return tuple(self.dims)

    @property
    def input_size(self) -> int:
        """Side of the square input, pixels."""
        return self.preprocess.size

    def resolve(self, layers: list[str] | tuple[str, ...] = ()) -> tuple[str, ...]:
        """The asked layers, or the default ones. Raises UsageError for an unknown layer."""
        for layer in layers:
            if layer not in self.dims:
                raise UsageError(
                    f"backbone {self.name} has no layer {layer!r}",
                    hint=f"its layers are: {', '.join(self.layers)}",
                )
        return tuple(dict.fromkeys(layers)) or self.defaults


class Choice(NamedTuple):
    """Which backbone runs, and why."""

    name: str
    reason: str


_FC = {"fc6": 4096, "fc7": 4096, "logits": 1000}
_TORCHVISION = Preprocess(size=224, resize=256)
_CAFFE_MEAN: Triple = (104.007, 116.669, 122.679)
_UNIT: Triple = (1.0, 1.0, 1.0)
_HALF: Triple = (127.5, 127.5, 127.5)


def _lite(level: int, size: int) -> Backbone:
    return Backbone(
        name=f"efficientnet-lite{level}",
        title=f"EfficientNet-Lite{level}",
        dims={"pooled": 1280, "logits": 1000},
        preprocess=Preprocess(
            size=size,
            resize=size + 32,
            fit="crop-first",
            interpolation="bicubic",
            mean=(127.0, 127.0, 127.0),
            std=(128.0, 128.0, 128.0),
        ),
        weights=f"efficientnet-lite{level}",
        defaults=("pooled",),
    )


def _pooled(name: str, title: str, width: int, preprocess: Preprocess) -> Backbone:
    dims = {"pooled": width, "logits": 1000}
    return Backbone(name, title, dims, preprocess, name, ("pooled",))


def _fully_connected(name: str, title: str, preprocess: Preprocess) -> Backbone:
    # The fully connected weights are read once a pass: more pictures share that reading.
    batch = 8 if name.startswith("alexnet") else 4
    return Backbone(name, title, _FC, preprocess, name, ("fc6", "fc7"), batch)


_ALL = (
    _fully_connected("alexnet", "AlexNet (torchvision)", _TORCHVISION),
    _fully_connected(
        "alexnet-caffe",
        "AlexNet (Caffe, the paper's)",
        Preprocess(227, 256, "warp", colour="bgr", mean=_CAFFE_MEAN, std=_UNIT),
    ),
    _fully_connected("vgg16", "VGG-16", _TORCHVISION),
    _fully_connected("vgg19", "VGG-19", _TORCHVISION),
    _pooled("resnet50", "ResNet-50", 2048, _TORCHVISION),
    _pooled("inception-v3", "Inception v3", 2048, Preprocess(299, 342, mean=_HALF, std=_HALF)),
    _pooled("googlenet", "GoogLeNet", 1024, Preprocess(224, 256, mean=_HALF, std=_HALF)),
    _pooled(
        "googlenet-bvlc",
        "GoogLeNet (Caffe)",
        1024,
        Preprocess(224, 256, "warp", colour="bgr", mean=(104.0, 117.0, 123.0), std=_UNIT),
    ),
    _lite(0, 224),
    _lite(1, 240),
    _lite(2, 260),
)

BACKBONES: dict[str, Backbone] = {backbone.name: backbone for backbone in _ALL}

OFFLINE = "efficientnet-lite0"
"""The backbone whose weights come as a Python package that likewise depends on."""

PAPER = "alexnet-caffe"
NOT_THE_PAPERS = (
    "this is not the paper's network: the weights of Caffe's AlexNet are not here, so "
    "EfficientNet-Lite0 describes the pictures; with bvlc_alexnet.caffemodel at hand: likewise "
    "weights import bvlc_alexnet.caffemodel"
)

_PREFERRED = ("alexnet", "alexnet-caffe", OFFLINE)


def names() -> list[str]:
    """Names of all backbones."""
    return list(BACKBONES)


def get(name: str) -> Backbone:
    """The backbone of that name. Raises UsageError that names the nearest one."""
    if name in BACKBONES:
        return BACKBONES[name]
    close = difflib.get_close_matches(name, BACKBONES, n=1)
    mend = f"did you mean {close[0]!r}? " if close else ""
    raise UsageError(
        f"there is no backbone {name!r}", hint=f"{mend}known backbones: {', '.join(BACKBONES)}"
    )


def choose(name: str = "auto") -> Choice:
    """The backbone that would run: ``auto`` is AlexNet as soon as its weights are at hand.

    ``paper`` is the paper's very network, Caffe's AlexNet, and where its weights are not at hand
    the one that comes with likewise. Nothing is fetched here. Raises UsageError for an unknown
    name.
    """
    if name == "paper":
        if weights.at_hand(BACKBONES[PAPER].weights) is not None:
            return Choice(PAPER, "the paper's network; its weights are at hand")
        return Choice(OFFLINE, NOT_THE_PAPERS)
    if name != "auto":
        return Choice(get(name).name, "asked for")
    for candidate in _PREFERRED:
        if weights.at_hand(BACKBONES[candidate].weights) is not None:
            missing = candidate not in ("alexnet", "alexnet-caffe")
            why = "AlexNet's weights are not here; these come with likewise" if missing else ""
            return Choice(candidate, why or "its weights are at hand")
    return Choice("alexnet", "no weights are at hand; the paper's network would be fetched")
