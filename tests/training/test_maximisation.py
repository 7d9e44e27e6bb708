"""Activation maximisation on filters whose answer is known, and on a real first layer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import backbones
from backbones.registry import BACKBONES
from training.explanation.maximisation import as_input, maximise

FILLS = (torch.zeros, torch.ones)


def test_a_filter_for_red_looks_for_red() -> None:
    kernel = torch.tensor([1.0, -0.5, -0.5]).view(1, 3, 1, 1)

    def score(rgb: Tensor) -> Tensor:
        return torch.relu(torch.nn.functional.conv2d(rgb, kernel)).mean(dim=(1, 2, 3))

    red, green, blue = maximise(score, 48, seed=0).mean(axis=(0, 1))
    assert red > 0.9 and green < 0.1 and blue < 0.1


@pytest.mark.parametrize("angle", [0.0, 45.0, 90.0])
def test_a_gabor_filter_looks_for_waves_of_its_length_and_direction(angle: float) -> None:
    side, length = 64, 8.0
    at = torch.arange(-10.0, 11.0)
    y, x = torch.meshgrid(at, at, indexing="ij")
    turned = x * np.cos(np.radians(angle)) + y * np.sin(np.radians(angle))
    gabor = torch.exp(-(x**2 + y**2) / (2 * 4.0**2)) * torch.cos(2 * np.pi * turned / length)
    kernel = (gabor - gabor.mean()).expand(1, 3, -1, -1)

    def score(rgb: Tensor) -> Tensor:
        return torch.relu(torch.nn.functional.conv2d(rgb, kernel)).mean(dim=(1, 2, 3))

    found = maximise(score, side, seed=1).mean(axis=2)
    power = np.abs(np.fft.rfft2(found - found.mean()))
    row, column = np.unravel_index(power.argmax(), power.shape)
    down, across = np.fft.fftfreq(side)[row], np.fft.rfftfreq(side)[column]
    assert np.hypot(down, across) == pytest.approx(1 / length, abs=1.5 / side)
    # A wave has no sense of direction: 10 and 190 degrees are the same.
    off = (np.degrees(np.arctan2(down, across)) - angle + 90) % 180 - 90
    assert abs(off) < 12


def test_a_unit_of_the_first_layer_looks_for_its_own_filter(shared: Path) -> None:
    file = shared / "weights" / "googlenet_bvlc_fp16.safetensors"
    network = backbones.load("googlenet-bvlc", weights=file)
    first = next(m for m in network.modules() if isinstance(m, torch.nn.Conv2d))
    spec = BACKBONES["googlenet-bvlc"].preprocess
    strongest = first.weight.detach().flatten(1).std(dim=1).argsort(descending=True)[:3]
    size = first.kernel_size[0]
    for unit in strongest.tolist():

        def score(rgb: Tensor, unit: int = unit) -> Tensor:
            # One place, without the padding: the best patch of bounded pixels is the filter.
            maps = torch.nn.functional.conv2d(as_input(rgb, spec), first.weight)
            return maps[:, unit, 0, 0]

        found = maximise(score, size, seed=2, moves=False)
        shown = torch.from_numpy(found).permute(2, 0, 1)[None]
        # The largest value that bounded pixels can give is white where the filter is positive.
        dark, white = (as_input(fill((1, 3, size, size)), spec)[0] for fill in FILLS)
        kernel = first.weight[unit].detach()
        largest = torch.maximum(kernel * dark, kernel * white).sum().item()
        assert score(shown).item() == pytest.approx(largest, rel=0.02)
