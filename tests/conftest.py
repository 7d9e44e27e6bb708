"""Fixtures that every room's tests share."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

ROOT = Path(__file__).resolve().parent.parent

# A shell starts background jobs with Ctrl-C ignored, and children inherit that: tests that
# interrupt a child would wait for ever.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


# Property tests take the same examples everywhere, so that nobody's change fails for a fault that
# was there before. HYPOTHESIS_PROFILE=explore looks for new ones.
hypothesis.settings.register_profile("same", derandomize=True)
hypothesis.settings.register_profile("explore", max_examples=300)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data beside the checkout; tests that need it skip without it."""
    folder = Path(os.environ.get("LIKEWISE_SHARED", ROOT.parent / "shared"))
    if not (folder / "data").is_dir():
        pytest.skip(f"no real data at {folder}: set LIKEWISE_SHARED")
    return folder / "data"


@pytest.fixture(scope="session")
def spark() -> Iterator[SparkSession]:
    """One local Spark session for the whole test run."""
    from spark_jobs.session import spark_session, stop_session

    yield spark_session(master="local[2]")
    stop_session()


@pytest.fixture(autouse=True)
def _private_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the user's own tokens, or goes out through the user's proxy."""
    monkeypatch.setenv("LIKEWISE_CONFIG_HOME", str(tmp_path / "config-home"))
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def study_folder(tmp_path: Path) -> Path:
    """A fresh study folder with a default ``likewise.toml``."""
    from likewise.config import render

    folder = tmp_path / "study"
    folder.mkdir()
    (folder / "likewise.toml").write_text(render({"study": {"name": "a test"}}), encoding="utf-8")
    return folder
