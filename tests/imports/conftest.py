"""A study to import into, and pictures."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from likewise.config import render
from likewise.study import Study


def picture(seed: int, side: int = 240) -> bytes:
    """A JPEG that no hygiene rule refuses, another one for each seed."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 255, (8, 8, 3), np.uint8)
    out = io.BytesIO()
    Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC).save(out, "JPEG")
    return out.getvalue()


@pytest.fixture
def study(tmp_path: Path) -> Study:
    folder = tmp_path / "study"
    folder.mkdir()
    values = {
        "label": {"require_faces": False, "target": "likes"},
        "download": {"buckets": 2, "workers": 1},
    }
    (folder / "likewise.toml").write_text(render(values), encoding="utf-8")
    return Study.open(folder)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    return folder


@pytest.fixture
def pictures(source: Path) -> Callable[..., list[str]]:
    """Makes pictures in the source; answers with their names."""

    def make(*names: str) -> list[str]:
        for seed, name in enumerate(names):
            path = source / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(picture(seed))
        return list(names)

    return make
