"""Architectures: sizes from the papers, numbers by hand, OpenCV and torchvision as truth."""

from __future__ import annotations

import struct
import sys
import types
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from torch import nn

import backbones
from backbones.alexnet import CaffeAlexNet
from backbones.caffemodel import read_caffemodel
from backbones.googlenet import CaffeGoogLeNet
from backbones.inception import InceptionV3
from backbones.loading import build, load, read_state_dict

# Published counts of parameters; GoogLeNet and Inception v3 without their auxiliary heads.
PARAMETERS = {
    "alexnet": 61_100_840,
    "alexnet-caffe": 60_965_224,
    "vgg16": 138_357_544,
    "vgg19": 143_667_240,
    "resnet50": 25_557_032,
    "inception-v3": 27_161_264 - 3_326_696,
    "googlenet": 6_624_904,
    "googlenet-bvlc": 6_998_552,
    "efficientnet-lite0": 4_652_008,
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_published_number_of_parameters(name):
    with torch.device("meta"):
        network = build(name)
    assert sum(p.numel() for p in network.parameters()) == PARAMETERS[name]


@pytest.mark.parametrize("name", [n for n in backbones.names() if not n.startswith("vgg")])
def test_layers_and_lengths_are_as_registered(name):
    backbone = backbones.get(name)
    network = load(name, random_weights=True)
    side = backbone.input_size
    with torch.inference_mode():
        found = network.features(torch.zeros(1, 3, side, side))
        assert torch.equal(network(torch.zeros(1, 3, side, side)), found["logits"])
    assert {layer: value.shape[1] for layer, value in found.items()} == dict(backbone.dims)
    assert list(found) == list(backbone.layers)


@pytest.mark.parametrize("name", ["alexnet", "alexnet-caffe"])
def test_pre_relu(name):
    network = load(name, random_weights=True)
    side = backbones.get(name).input_size
    x = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(4))
    with torch.inference_mode():
        before, after = network.features(x, pre_relu=True), network.features(x)
    for layer in ("fc6", "fc7"):
        assert (before[layer] < 0).any()
        assert torch.equal(before[layer].clamp(min=0), after[layer])
    assert torch.equal(before["logits"], after["logits"])


def test_random_weights_are_the_same_every_time():
    torch.manual_seed(1)
    first = load("efficientnet-lite0", random_weights=True).state_dict()
    torch.manual_seed(2)
    second = load("efficientnet-lite0", random_weights=True).state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)


# -- numbers by hand ----------------------------------------------------------------------


def test_local_response_normalisation_by_hand():
    """Krizhevsky 2012, section 3.3, with k = 1 and alpha / n as Caffe has it."""
    with torch.device("meta"):
        norm = CaffeAlexNet().norm1
    a = np.arange(1.0, 8.0)  # seven channels, one pixel
    expected = []
    for i in range(7):
        window = a[max(0, i - 2) : i + 3]
        expected.append(a[i] / (1 + 1e-4 / 5 * (window**2).sum()) ** 0.75)
    found = norm(torch.tensor(a, dtype=torch.float64).reshape(1, 7, 1, 1)).flatten()
    assert found.numpy() == pytest.approx(expected, rel=1e-12)


def test_pooling_rounds_up_by_hand():
    """Caffe pools a row of 6 at 0, 2 and 4; torch's default would stop before the last."""
    with torch.device("meta"):
        pool = CaffeAlexNet().pool1
    row = torch.tensor([[3.0, 1.0, 4.0, 1.0, 5.0, 9.0]]).repeat(6, 1)[None, None]
    assert pool(row)[0, 0, 0].tolist() == [4.0, 5.0, 9.0]


def test_groups_by_hand():
    """conv2 has two groups: an output of the first half never sees the second half's inputs."""
    network = load("alexnet-caffe", random_weights=True)
    x = torch.zeros(1, 96, 9, 9)
    x[:, 60, 4, 4] = 1.0  # input channel 60 belongs to the second group (48 ... 95)
    with torch.inference_mode():
        out = network.conv2(x) - network.conv2(torch.zeros_like(x))
    assert out[:, :128].abs().max() == 0
    # A single 1 in the input paints the kernel, mirrored in both axes, around its place.
    kernel = network.conv2.weight[200, 60 - 48].flip(0, 1)
    assert torch.allclose(out[0, 200, 2:7, 2:7], kernel, atol=1e-6)


# -- OpenCV reads Caffe's own files -------------------------------------------------------


def field(number: int, payload: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out) + bytes([value])


def blob(array: np.ndarray) -> bytes:
    shape = b"".join(varint(n) for n in array.shape)
    return field(7, field(1, shape)) + field(5, array.astype("<f4").tobytes())


def caffemodel(state: dict[str, torch.Tensor]) -> bytes:
    layers: dict[str, list[bytes]] = {}
    for key in sorted(state, key=lambda key: (key.split(".")[0], key.endswith("bias"))):
        layers.setdefault(key.split(".")[0], []).append(blob(state[key].numpy()))
    out = field(1, b"a network")
    for name, blobs in layers.items():
        kind = b"Convolution" if name.startswith("conv") else b"InnerProduct"
        body = field(1, name.encode()) + field(2, kind) + b"".join(field(7, b) for b in blobs)
        out += field(100, body)
    return out


def prototxt() -> str:
    """The network of Krizhevsky 2012 in Caffe's own language, written from its description."""
    text = ['name: "a" input: "data" input_dim: 1 input_dim: 3 input_dim: 227 input_dim: 227']
    bottom = "data"

    def layer(name: str, kind: str, body: str = "", top: str | None = None) -> None:
        nonlocal bottom
        text.append(
            f'layer {{ name: "{name}" type: "{kind}" bottom: "{bottom}" '
            f'top: "{top or name}" {body} }}'
        )
        bottom = top or name

    def conv(n: int, outputs: int, kernel: int, more: str = "") -> None:
        body = f"num_output: {outputs} kernel_size: {kernel} {more}"
        layer(f"conv{n}", "Convolution", f"convolution_param {{ {body} }}")
        layer(f"relu{n}", "ReLU", top=f"conv{n}")

    def norm(n: int) -> None:
        body = "lrn_param { local_size: 5 alpha: 0.0001 beta: 0.75 }"
        layer(f"norm{n}", "LRN", body)

    def pool(n: int) -> None:
        layer(f"pool{n}", "Pooling", "pooling_param { pool: MAX kernel_size: 3 stride: 2 }")

    conv(1, 96, 11, "stride: 4")
    norm(1), pool(1)
    conv(2, 256, 5, "pad: 2 group: 2")
    norm(2), pool(2)
    conv(3, 384, 3, "pad: 1")
    conv(4, 384, 3, "pad: 1 group: 2")
    conv(5, 256, 3, "pad: 1 group: 2")
    pool(5)
    for n, outputs in ((6, 4096), (7, 4096), (8, 1000)):
        layer(f"fc{n}", "InnerProduct", f"inner_product_param {{ num_output: {outputs} }}")
        if n < 8:
            layer(f"relu{n}", "ReLU", top=f"fc{n}")
    return "\n".join(text)


def test_caffes_alexnet_equals_opencvs_reading_of_caffes_files(tmp_path):
    network = load("alexnet-caffe", random_weights=True)
    model = tmp_path / "random.caffemodel"
    model.write_bytes(caffemodel(network.state_dict()))
    (tmp_path / "deploy.prototxt").write_text(prototxt(), encoding="utf-8")
    oracle = cv2.dnn.readNetFromCaffe(str(tmp_path / "deploy.prototxt"), str(model))
    pixels = np.random.default_rng(5).normal(0, 60, (1, 3, 227, 227)).astype(np.float32)
    oracle.setInput(pixels)
    expected = dict(
        zip(("fc6", "fc7", "logits"), oracle.forward(["relu6", "relu7", "fc8"]), strict=True)
    )
    read = load("alexnet-caffe", weights=model)
    with torch.inference_mode():
        found = read.features(torch.from_numpy(pixels))
    for layer, truth in expected.items():
        error = np.abs(found[layer].numpy() - truth).max() / np.abs(truth).max()
        assert error < 1e-4, layer


def test_old_caffemodels_have_four_axes(tmp_path):
    """V1 layers (field 2, name 4, blobs 6) with num, channels, height, width instead of a shape."""
    weight = np.arange(6, dtype="<f4")
    body = b"".join(
        varint(axis << 3) + varint(size) for axis, size in ((1, 1), (2, 1), (3, 2), (4, 3))
    )
    numbers = b"".join(varint(5 << 3 | 5) + struct.pack("<f", value) for value in weight)
    layer = field(4, b"fc6") + field(6, body + numbers)
    path = tmp_path / "old.caffemodel"
    path.write_bytes(field(2, layer))
    assert read_caffemodel(path)["fc6.weight"].tolist() == [[0, 1, 2], [3, 4, 5]]


# -- real weights -------------------------------------------------------------------------

# Caltech-101 folder -> ImageNet classes (2012 numbering) that mean the same things.
COUNTERPARTS = {
    "butterfly": range(321, 327),
    "cup": (504, 647, 899, 967, 968, 969),
    "dalmatian": (251,),
    "flamingo": (130,),
    "laptop": (620, 681),
    "rooster": (7, 8),
    "strawberry": (949,),
    "umbrella": (879,),
}


def top5_rate(network: nn.Module, backbone, shared, per_class: int = 5) -> float:
    right = []
    for name, classes in COUNTERPARTS.items():
        paths = sorted((shared / "images" / "caltech101" / name).glob("*.jpg"))[:per_class]
        x = np.stack([backbones.prepare(path.read_bytes(), backbone) for path in paths])
        with torch.inference_mode():
            top = network(torch.from_numpy(x)).topk(5).indices
        right += [bool(set(row.tolist()) & set(classes)) for row in top]
    return float(np.mean(right))


def wrong_preprocessings(backbone):
    spec = backbone.preprocess
    other = "rgb" if spec.colour == "bgr" else "bgr"
    if spec.std[0] == 1.0:
        scale = {"mean": (0.485, 0.456, 0.406), "std": (58.0, 57.0, 57.0)}
    else:
        scale = {"mean": (104.007, 116.669, 122.679), "std": (1.0, 1.0, 1.0)}
    for change in ({"colour": other}, scale):
        yield replace(backbone, preprocess=replace(spec, **change))


@pytest.mark.parametrize(
    "name", [pytest.param("googlenet-bvlc", marks=pytest.mark.slow), "efficientnet-lite0"]
)
def test_real_weights_know_what_is_in_the_picture(name, shared):
    files = {"googlenet-bvlc": shared / "weights" / "googlenet_bvlc_fp16.safetensors"}
    network = load(name, weights=files.get(name))
    backbone = backbones.get(name)
    right = top5_rate(network, backbone, shared)
    assert right >= 0.9
    for wrong in wrong_preprocessings(backbone):
        assert top5_rate(network, wrong, shared, per_class=3) < right


def test_inception_trunk_with_real_weights(shared):
    """94 convolutions; though tuned for another task, neighbours share their class."""
    state = read_state_dict(shared / "weights" / "inception_v3_nsfwjs_backbone_fp16.safetensors")
    network = InceptionV3(count_include_pad=False).eval()
    state = {key: value.float() for key, value in state.items()}
    answer = network.load_state_dict(state, strict=False)
    left = [k for k in answer.missing_keys if not k.endswith("num_batches_tracked")]
    assert left == ["fc.weight", "fc.bias"] and not answer.unexpected_keys
    assert sum(key.endswith("conv.weight") for key in state) == 94
    official = backbones.get("inception-v3")
    # This file was trained on pictures in 0 ... 1, squeezed to the square.
    spec = replace(official.preprocess, fit="warp", resize=299, mean=(0, 0, 0), std=(255,) * 3)
    backbone = replace(official, preprocess=spec)
    rows, classes = [], []
    for name in ("flamingo", "laptop", "dalmatian", "strawberry"):
        for path in sorted((shared / "images" / "caltech101" / name).glob("*.jpg"))[:5]:
            rows.append(backbones.prepare(path.read_bytes(), backbone))
            classes.append(name)
    with torch.inference_mode():
        pooled = network.features(torch.from_numpy(np.stack(rows)))["pooled"].numpy()
    assert pooled.shape == (20, 2048)
    unit = pooled / np.linalg.norm(pooled, axis=1, keepdims=True)
    near = (unit @ unit.T - 2 * np.eye(len(unit))).argmax(axis=1)
    assert np.mean([classes[i] == classes[j] for i, j in enumerate(near)]) >= 0.5  # chance: 0.2


def test_official_names_are_taken():
    """Auxiliary heads are left out, Caffe's layer names become ours."""
    state = {
        "conv1/7x7_s2.weight": torch.zeros(64, 3, 7, 7),
        "inception_4e/5x5_reduce.bias": torch.zeros(32),
        "loss3/classifier.weight": torch.zeros(1000, 1024, 1, 1),
        "loss1/fc.weight": torch.zeros(1),
    }
    adapted = CaffeGoogLeNet.adapt(state)
    assert set(adapted) == {"conv1.weight", "inception_4e.reduce5.bias", "classifier.weight"}
    assert adapted["classifier.weight"].shape == (1000, 1024)


# -- torchvision --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def torchvision_models():
    """torchvision's wheel does not import beside a CPU torch without this empty module."""
    sys.modules.setdefault(
        "torchvision._meta_registrations", types.ModuleType("torchvision._meta_registrations")
    )
    return pytest.importorskip("torchvision.models", reason="torchvision is not installed")


@pytest.mark.oracle
@pytest.mark.parametrize(
    ("name", "theirs", "options"),
    [
        ("alexnet", "alexnet", {}),
        ("vgg16", "vgg16", {}),
        ("vgg19", "vgg19", {}),
        ("resnet50", "resnet50", {}),
        ("inception-v3", "inception_v3", {"transform_input": False, "init_weights": False}),
        ("googlenet", "googlenet", {"transform_input": False, "init_weights": False}),
    ],
)
def test_equal_to_torchvision(name, theirs, options, torchvision_models, tmp_path):
    torch.manual_seed(3)
    oracle = getattr(torchvision_models, theirs)(weights=None, **options).eval()
    for module in oracle.modules():
        if isinstance(module, nn.BatchNorm2d):  # statistics of their own, as after training
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
    torch.save(oracle.state_dict(), tmp_path / "official.pth")
    ours = load(name, weights=tmp_path / "official.pth")
    side = backbones.get(name).input_size
    x = torch.randn(2, 3, side, side)
    with torch.inference_mode():
        truth, found = oracle(x), ours.features(x)
    assert torch.allclose(found["logits"], truth, rtol=1e-5, atol=1e-5 * truth.abs().max().item())
    if "fc7" in found:
        with torch.inference_mode():
            fc7 = oracle.classifier[:-1](torch.flatten(oracle.avgpool(oracle.features(x)), 1))
        assert torch.allclose(found["fc7"], fc7, rtol=1e-5, atol=1e-6)
