"""A study to import into, and pictures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from import_files import picture

from likewise.config import render
from likewise.study import Study


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
