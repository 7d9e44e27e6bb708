"""A small whole study, ranked, and a real server on loopback that shows it."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "training"))

from fake_study import make, save_model
from page_server import Running, index_now
from throwaway_postgres import cluster

from likewise.nights import end_night
from likewise.study import Study
from likewise.tables import AUTHOR_KEY, FOLD_SCORES
from training.rank import rank
from web.reviews.queues import prepare
from web.settings import Settings


@pytest.fixture(scope="session")
def ranked_study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """120 pictures of 30 authors, two models, scores, one night. Not to be changed."""
    study = make(tmp_path_factory.mktemp("served") / "likes")
    save_model(study, "other", scores={"cv_average_precision": 0.6})
    rank(study)
    _out_of_fold(study, "linear-svc")
    end_night(study)
    return study


def _out_of_fold(study: Study, model: str) -> None:
    """Scores of the training pictures as a comparison leaves them; drawn, for nothing asks more."""
    columns = ["picture_id", *AUTHOR_KEY, "fold"]
    rows = study.read("labels", columns, filter=pc.field("split") == "train").to_pylist()
    rng = np.random.default_rng(3)
    for row in rows:
        score = float(rng.normal())
        row |= {"model": model, "score": score, "probability": 1 / (1 + np.exp(-score))}
    stage = study.begin("fold_scores")
    stage.write(pa.Table.from_pylist(rows, FOLD_SCORES.schema))
    stage.publish()


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """Address of a PostgreSQL server of this session's own."""
    with cluster() as server:
        yield server.url


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """80 pictures of 20 authors, with the beliefs that reviewers see. Not to be changed."""
    study = make(tmp_path_factory.mktemp("reviews") / "likes", n_authors=20)
    prepare(study)
    index_now(study.root)  # copies have it, too
    return study


@pytest.fixture
def study(made: Study, tmp_path: Path) -> Study:
    """A copy of ``made``, which a test may change."""
    shutil.copytree(made.root, tmp_path / "likes")
    return Study.open(tmp_path / "likes")


@pytest.fixture(scope="session")
def server(ranked_study: Study) -> Iterator[Running]:
    """A server on ``ranked_study``, for tests that change nothing; it makes the index itself."""
    running = Running(Settings((ranked_study.root,), workers=1))
    running.start()
    running.wait_until_ready()
    yield running
    running.stop()


@pytest.fixture
def run_server() -> Iterator[Callable[..., Running]]:
    """Starts servers of its own, their index made: ``run_server(root, read_only=True)``."""
    started: list[Running] = []

    def start(*roots: Path, **settings: Any) -> Running:
        for root in roots:
            index_now(root)
        running = Running(Settings(tuple(roots), workers=1, **settings))
        running.start()
        started.append(running)
        return running

    yield start
    for running in started:
        running.stop()
