"""Other splits of the same question: by time, by picture; and looks at the held-out authors."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from planted import World, features_table, study

from backbones import registry
from likewise.errors import DataError
from likewise.study import Study
from training.compare import compare
from training.comparison import results
from training.comparison.looks import look, looks
from training.comparison.splits import Later, later
from training.data.by_time import cut_of, split_by_time
from training.data.matrix import Labels, load_labels

SETTINGS = {
    "classifiers": ["linear-svc"],
    "c_values": [0.001, 0.1],
    "sets": ["normal"],
    "permutations": 99,
    "by_picture": True,
}


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Authors that are alike, and pictures that say nothing."""
    world = World(
        authors=120,
        pictures=4,
        strength=0.0,
        author_effect=3.0,
        author_trace=3.0,
        settings=SETTINGS,
    )
    found, _ = study(tmp_path_factory.mktemp("splits"), world)
    compare(found)
    return found


def comparison(opened: Study) -> results.Comparison:
    found = results.load(opened)
    assert found is not None
    return found


def test_folds_by_picture_leak_and_are_said_to(opened: Study) -> None:
    """Features that tell who the author is: worth much by picture, nothing by author."""
    found = comparison(opened).by_picture[0]
    assert found.by_picture > found.by_author + 0.1
    words = [s for s in comparison(opened).answer if s.startswith("Leaking")]
    assert len(words) == 1 and f"{found.by_picture:.3f}" in words[0]


def test_the_split_by_time_is_reported_with_its_own_chance(opened: Study) -> None:
    found = comparison(opened).by_time
    assert found is not None
    labels = load_labels(opened)
    after = labels.created[labels.n_train :] >= np.quantile(labels.created, 0.75)
    assert found.held_out_pictures == int(after.sum())
    assert found.chance.good_share == pytest.approx(labels.label[labels.n_train :][after].mean())
    assert any(found.cut in words for words in comparison(opened).answer)


@pytest.fixture
def labels(opened: Study) -> Labels:
    return load_labels(opened)


def test_the_split_by_time_keeps_the_past_of_some_and_the_future_of_others(labels: Labels) -> None:
    cut = cut_of(labels.created, 0.25)
    found = split_by_time(labels, 0.25)
    assert (found.created[: found.n_train] < cut).all()
    assert (found.created[found.n_train :] >= cut).all()
    assert len(found.label) + sum(found.dropped.values()) == len(labels.label)
    assert found.n_train < labels.n_train
    with pytest.raises(DataError, match="no dates"):
        split_by_time(replace(labels, created=np.full(len(labels.label), np.nan)), 0.25)


def test_compare_can_be_split_by_time(tmp_path: Path) -> None:
    settings = {**SETTINGS, "by_picture": False, "split": "time"}
    opened, _ = study(tmp_path, World(authors=120, settings=settings))
    manifest = compare(opened)
    assert manifest.funnel is not None
    assert {"training author, after the cut", "held-out author, before the cut"} <= set(
        manifest.funnel["dropped"]
    )


def test_dates_that_do_not_allow_it_are_said(labels: Labels) -> None:
    assert isinstance(later(labels, 0.25), Later)
    same = replace(labels, created=np.ones(len(labels.label)))
    assert later(same, 0.25) == (
        "before the cut in time the pictures are of one class, or none have a date"
    )


def test_another_network_than_the_papers_is_said_first(tmp_path: Path) -> None:
    world = World(authors=60, settings={**SETTINGS, "by_picture": False})
    opened, planted = study(tmp_path, world)
    stage = opened.begin("features", params={"again": 1}, redo=True)
    stage.write(features_table(world, planted))
    stage.publish(reason=registry.NOT_THE_PAPERS)
    compare(opened)
    assert comparison(opened).answer[0].startswith("This is not the paper's network")


def test_looks_add_up_over_runs_and_a_repeated_run_counts_once(opened: Study) -> None:
    first = comparison(opened).looks
    assert (first.runs, first.models) == (1, 1)
    assert look(opened, "finetune", "f1", 3).runs == 2
    assert look(opened, "finetune", "f1", 3) == results.Looks(2, 4)
    with (opened.root / "logs" / "held-out.jsonl").open("a") as file:
        file.write('{"at": "2026')
    assert looks(opened) == results.Looks(2, 4)
