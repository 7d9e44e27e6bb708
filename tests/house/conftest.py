"""A whole study for tests that work on copies of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's study. Nobody writes into it: each test takes a copy."""
    folder = tmp_path_factory.mktemp("world")
    world = ["--authors", "80", "--posts", "220", "--seed", "5"]
    demo = [sys.executable, "-m", "infra.demo", "--folder", str(folder), *world]
    assert subprocess.run(demo, cwd=ROOT, capture_output=True, timeout=900).returncode == 0
    return folder / "study"
