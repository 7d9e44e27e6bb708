"""A small whole study, ranked, and a real server on loopback that shows it."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "training"))

from fake_study import make, save_model
from page_server import Running

from likewise.nights import end_night
from likewise.study import Study
from training.rank import rank
from web.reviews.queues import prepare
from web.settings import Settings


@pytest.fixture(scope="session")
def ranked_study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """120 pictures of 30 authors, two models, scores, one night. Not to be changed."""
    study = make(tmp_path_factory.mktemp("served") / "likes")
    save_model(study, "other", scores={"cv_average_precision": 0.6})
    rank(study)
    end_night(study)
    return study


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """80 pictures of 20 authors, with the beliefs that reviewers see. Not to be changed."""
    study = make(tmp_path_factory.mktemp("reviews") / "likes", n_authors=20)
    prepare(study)
    return study


@pytest.fixture
def study(made: Study, tmp_path: Path) -> Study:
    """A copy of ``made``, which a test may change."""
    shutil.copytree(made.root, tmp_path / "likes")
    return Study.open(tmp_path / "likes")


@pytest.fixture(scope="session")
def server(ranked_study: Study) -> Iterator[Running]:
    """A server on ``ranked_study``, for tests that change nothing."""
    running = Running(Settings((ranked_study.root,)))
    running.start()
    running.wait_until_ready()
    yield running
    running.stop()


@pytest.fixture
def run_server() -> Iterator[Callable[..., Running]]:
    """Starts servers of its own: ``run_server(root, read_only=True)``."""
    started: list[Running] = []

    def start(*roots: Path, **settings: Any) -> Running:
        running = Running(Settings(tuple(roots), **settings))
        running.start()
        started.append(running)
        return running

    yield start
    for running in started:
        running.stop()
