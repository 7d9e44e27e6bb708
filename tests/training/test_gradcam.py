"""Grad-CAM against pytorch-grad-cam, against hand computation, and on a planted sign.

The oracle tests need ``pip install --no-deps grad-cam==1.5.7 ttach tqdm torchvision==0.28.0``:
without ``--no-deps`` pip would change torch.
"""

from __future__ import annotations

import sys
import types
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import backbones
from likewise.errors import DataError, UsageError
from training.explanation.gradcam import explain_scorer, heatmap, overlay


class Block(nn.Module):
    """A residual sum, so that the last convolution is not the last map."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.conv(x))


class Tiny(nn.Module):
    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.ReLU(inplace=True))
        self.block = Block(8)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(8, classes)

    def features(self, x: Tensor) -> dict[str, Tensor]:
        pooled = self.pool(self.block(self.stem(x))).flatten(1)
        return {"pooled": pooled, "logits": self.head(self.drop(pooled))}

    def forward(self, x: Tensor) -> Tensor:
        return self.features(x)["logits"]


@dataclass
class Margin:
    """Just enough of a linear scorer."""

    weight: np.ndarray
    layer: str = "pooled"
    name: str = "linear-svc"
    backbone: str = "tiny"


@pytest.fixture
def net() -> Tiny:
    torch.manual_seed(0)
    return Tiny()


@pytest.fixture
def batch() -> Tensor:
    return torch.randn(4, 3, 32, 40, generator=torch.Generator().manual_seed(1))


def test_shape_range_and_repeatability(net: Tiny, batch: Tensor) -> None:
    net.train()
    heat = heatmap(net, batch, 1)
    assert heat.shape == (4, 32, 40)
    assert heat.dtype == np.float32
    assert heat.min() >= 0 and heat.max() <= 1
    assert np.array_equal(heat, heatmap(net, batch, 1))
    assert net.training
    assert all(p.grad is None for p in net.parameters())


def test_equations_by_hand(net: Tiny, batch: Tensor) -> None:
    """With a global mean before the head, the weights of equation 1 are the head's, over H x W."""
    net.eval()
    with torch.no_grad():
        maps = net.block(net.stem(batch))
        raw = torch.relu(torch.einsum("k,nkhw->nhw", net.head.weight[2], maps))
        raw -= raw.amin((1, 2), keepdim=True)
        raw /= raw.amax((1, 2), keepdim=True)
        expected = torch.nn.functional.interpolate(raw[:, None], (32, 40), mode="bilinear")[:, 0]
        expected -= expected.amin((1, 2), keepdim=True)
        expected /= expected.amax((1, 2), keepdim=True)
    assert np.allclose(heatmap(net, batch, 2), expected.numpy(), atol=1e-5)


def test_scorer_and_head_of_the_same_weights_agree(net: Tiny, batch: Tensor) -> None:
    scorer = Margin(net.head.weight[1].detach().numpy())
    assert np.allclose(explain_scorer(net, batch, scorer), heatmap(net, batch, 1), atol=1e-6)
    against = explain_scorer(net, batch, scorer, towards=0)
    assert np.allclose(against, explain_scorer(net, batch, Margin(-scorer.weight)), atol=1e-6)


def test_finds_a_planted_spot() -> None:
    """A net that answers to green finds the green square."""
    net = Tiny(2)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.zero_()
        net.stem[0].weight[0, 1] = 1.0
        net.head.weight[1, 0] = 1.0
    picture = torch.zeros(1, 3, 64, 64)
    picture[0, 1, 40:56, 8:24] = 1.0
    heat = heatmap(net, picture, 1)[0]
    assert heat[40:56, 8:24].mean() > 0.8
    heat[36:60, 4:28] = 0
    assert heat.max() < 0.05
    assert heatmap(net, picture, 0).max() == 0


def test_targets(net: Tiny, batch: Tensor) -> None:
    each = heatmap(net, batch, [0, 1, 2, 0])
    assert np.allclose(each[1], heatmap(net, batch, 1)[1], atol=1e-6)
    difference = heatmap(net, batch, lambda logits: logits[:, 1] - logits[:, 0])
    assert difference.shape == each.shape
    top = net.eval()(batch).argmax(1).tolist()
    assert np.allclose(heatmap(net, batch), heatmap(net, batch, top))


def test_refusals(net: Tiny, batch: Tensor) -> None:
    with pytest.raises(UsageError, match="2 targets for 4"):
        heatmap(net, batch, [0, 1])
    with pytest.raises(UsageError, match="class 3"):
        heatmap(net, batch, 3)
    with pytest.raises(UsageError, match="convolutions"):
        heatmap(nn.Sequential(nn.Flatten(), nn.Linear(3840, 2)), batch, 0)
    with pytest.raises(UsageError, match="layer 'fc7'"):
        explain_scorer(net, batch, Margin(np.zeros(8, np.float32), layer="fc7"))
    with pytest.raises(DataError, match="gives 8"):
        explain_scorer(net, batch, Margin(np.zeros(9, np.float32)))
    with pytest.raises(UsageError, match="no gradient"):
        explain_scorer(net, batch, types.SimpleNamespace(name="random-forest"))
    with pytest.raises(DataError):
        overlay(np.zeros((8, 8), np.uint8), np.zeros((8, 8), np.float32))


def test_overlay_leaves_cold_places_alone() -> None:
    rgb = np.full((30, 40, 3), 200, np.uint8)
    heat = np.zeros((3, 4), np.float32)
    heat[1, 1] = 1
    painted = overlay(rgb, heat)
    assert painted.shape == rgb.shape and painted.dtype == np.uint8
    assert np.array_equal(painted[:, 30:], rgb[:, 30:])
    assert not np.array_equal(painted[15, 15], rgb[15, 15])
    assert np.array_equal(overlay(rgb, heat, strength=0.0), rgb)


@pytest.fixture
def reference(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """pytorch-grad-cam; its import of torchvision needs a stand-in beside a CPU build of torch."""
    stand_in = "torchvision._meta_registrations"
    monkeypatch.setitem(sys.modules, stand_in, types.ModuleType(stand_in))
    return pytest.importorskip("pytorch_grad_cam")


@pytest.mark.oracle
@pytest.mark.parametrize("target", [0, 1, 2])
def test_agrees_with_pytorch_grad_cam(
    net: Tiny, batch: Tensor, reference: types.ModuleType, target: int
) -> None:
    chosen = [reference.utils.model_targets.ClassifierOutputTarget(target)] * len(batch)
    with reference.GradCAM(model=net, target_layers=[net.block]) as cam:
        expected = cam(input_tensor=batch, targets=chosen)
    assert np.abs(heatmap(net, batch, target) - expected).max() < 1e-4


class Marked(nn.Module):
    """EfficientNet-Lite0 with a name for its last maps: its one ReLU6 module is used twice."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.maps = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        maps = self.maps(self.network.extract_features(x))
        return self.network._fc(maps.mean(dim=(2, 3)))


LAST_MAPS = {
    "alexnet": "trunk.11",
    "vgg16": "trunk.29",
    "resnet50": "layer4",
    "inception-v3": "Mixed_7c",
    "googlenet": "inception5b",
    "efficientnet-lite0": "maps",
}


@pytest.mark.oracle
@pytest.mark.parametrize("name", LAST_MAPS)
def test_backbones_agree_with_pytorch_grad_cam(name: str, reference: types.ModuleType) -> None:
    """Untrained weights that keep the signal alive, the real ones where they come as a package."""
    network = backbones.load(name, random_weights=name != "efficientnet-lite0")
    if name != "efficientnet-lite0":
        torch.manual_seed(1)
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    side = backbones.get(name).input_size
    noise = torch.randn(2, 3, side // 8, side // 8, generator=torch.Generator().manual_seed(2))
    batch = nn.functional.interpolate(noise, (side, side), mode="bilinear")
    theirs = Marked(network).eval() if name == "efficientnet-lite0" else network
    with torch.no_grad():
        top = network(batch).argmax(dim=1).tolist()
    targets = [reference.utils.model_targets.ClassifierOutputTarget(c) for c in top]
    layer = theirs.get_submodule(LAST_MAPS[name])
    with reference.GradCAM(model=theirs, target_layers=[layer]) as cam:
        expected = cam(input_tensor=batch, targets=targets)
    heat = heatmap(network, batch, top)
    assert heat.max() > 0.99
    assert np.abs(heat - expected).max() < 1e-4


@pytest.mark.oracle
@pytest.mark.parametrize(("name", "layer"), [("alexnet", "fc7"), ("efficientnet-lite0", "pooled")])
def test_scorers_agree_with_pytorch_grad_cam(
    name: str, layer: str, reference: types.ModuleType
) -> None:
    """For the reference, the linear classifier takes the place of the network's last layer."""
    network = backbones.load(name, random_weights=True)
    spec = backbones.get(name)
    batch = torch.randn(2, 3, spec.input_size, spec.input_size)
    weight = np.random.default_rng(4).normal(size=spec.dims[layer]).astype(np.float32)
    heat = explain_scorer(network, batch, Margin(weight, layer=layer))
    head = nn.Linear(len(weight), 1)
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(weight)[None])
    network.set_submodule("_fc" if layer == "pooled" else "classifier.6", head)
    theirs = Marked(network).eval() if layer == "pooled" else network
    targets = [reference.utils.model_targets.ClassifierOutputTarget(0)] * 2
    with reference.GradCAM(
        model=theirs, target_layers=[theirs.get_submodule(LAST_MAPS[name])]
    ) as cam:
        expected = cam(input_tensor=batch, targets=targets)
    assert np.abs(heat - expected).max() < 1e-4
