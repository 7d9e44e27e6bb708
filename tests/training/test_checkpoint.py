"""Checkpoints: whole or not at all, refused by name, and nothing in them is executed."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch

from likewise.errors import DataError, FingerprintError, WeightsError
from training.tuning import checkpoint

CONTENT = {"backbone": "alexnet", "fingerprint": "f", "network": {"w": torch.arange(3.0)}}


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "checkpoint.pt"
    assert checkpoint.read(path, backbone="alexnet", fingerprint="f") is None
    checkpoint.write(path, CONTENT)
    back = checkpoint.read(path, backbone="alexnet", fingerprint="f")
    assert back is not None
    assert torch.equal(back["network"]["w"], torch.arange(3.0))
    assert [p.name for p in path.parent.iterdir()] == ["checkpoint.pt"]


def test_a_write_that_fails_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    checkpoint.write(path, CONTENT)
    before = path.read_bytes()
    with pytest.raises((AttributeError, pickle.PicklingError)):
        checkpoint.write(path, {**CONTENT, "state": lambda: None})
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_refusals(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    checkpoint.write(path, CONTENT)
    with pytest.raises(WeightsError, match="checkpoint of alexnet, expected vgg19"):
        checkpoint.read(path, backbone="vgg19", fingerprint="f")
    with pytest.raises(FingerprintError, match="other data or parameters"):
        checkpoint.read(path, backbone="alexnet", fingerprint="g")
    checkpoint.write(path, {**CONTENT, "format": 99})
    with pytest.raises(DataError, match="format 99"):
        checkpoint.read(path, backbone="alexnet", fingerprint="f")


@pytest.mark.parametrize("keep", [0, 10, 0.5])
def test_half_a_file_is_named(tmp_path: Path, keep: float) -> None:
    path = tmp_path / "checkpoint.pt"
    checkpoint.write(path, CONTENT)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep) if keep < 1 else int(keep)])
    with pytest.raises(DataError, match="not a whole checkpoint"):
        checkpoint.read(path, backbone="alexnet", fingerprint="f")


class Attack:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, ("raise SystemExit('executed')",)


def test_a_pickle_with_code_is_not_executed(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    torch.save({"format": 1, "x": Attack()}, path)
    with pytest.raises(DataError, match="not a whole checkpoint"):
        checkpoint.read(path, backbone="alexnet", fingerprint="f")
