"""The sample that ``compare`` takes of very many pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from planted import World, study

import likewise
from likewise.config import render
from likewise.study import Study
from training.data.matrix import load_labels
from training.data.sample import sample_of
from training.data.unit import UNIT_KEY


def table_of(sizes: list[int]) -> pa.Table:
    rows = [
        {"platform": "p", "host": "h", "author_id": f"author {n}", "group_key": None}
        for n, size in enumerate(sizes)
        for _ in range(size)
    ]
    return pa.Table.from_pylist(rows, pa.schema([(name, pa.string()) for name in UNIT_KEY]))


def test_whole_groups_stay_and_fill_what_is_allowed() -> None:
    sizes = np.random.default_rng(0).integers(1, 20, 500).tolist()
    table = table_of(sizes)
    stays = sample_of(table, 1_000, 1)
    names = np.array(table["author_id"].to_pylist())
    assert not set(names[stays]) & set(names[~stays])
    assert 1_000 - 20 < stays.sum() <= 1_000
    assert (sample_of(table, 1_000, 1) == stays).all()
    assert (sample_of(table, 1_000, 2) != stays).any()
    assert sample_of(table, len(names), 1).all()
    assert sample_of(table_of([50]), 10, 1).all(), "the first one always"
    # Whether a group is drawn has nothing to do with where it stands.
    order = np.random.default_rng(1).permutation(len(names))
    assert (sample_of(table.take(pa.array(order)), 1_000, 1) == stays[order]).all()


def test_the_sample_grows_by_those_that_were_not_in_it() -> None:
    table = table_of([2] * 300)
    small, large = sample_of(table, 200, 1), sample_of(table, 400, 1)
    assert (small & ~large).sum() == 0 and small.sum() == 200 and large.sum() == 400


def test_a_rare_class_is_not_lost_by_chance() -> None:
    table = table_of([1] * 20_000)
    label = np.zeros(20_000, np.int64)
    label[[3, 4_000, 9_999]] = 1
    stays = sample_of(table, 400, 1, label=label)
    assert stays.sum() == 400 and stays[label == 1].all()
    # Classes that are frequent keep their shares.
    label = np.arange(20_000) % 10 == 0
    stays = sample_of(table, 4_000, 1, label=label.astype(np.int64))
    assert label[stays].mean() == pytest.approx(0.1, abs=0.02)


def test_compare_says_what_was_left_out(tmp_path: Path) -> None:
    opened, _ = study(tmp_path, World(authors=120, pictures=4))
    whole = load_labels(opened)
    n = len(whole.label)
    settings = opened.config.compare.model_dump() | {
        "most_pictures": n // 2,
        "classifiers": ["linear-svc"],
        "sets": ["normal"],
        "c_values": [0.01],
        "bootstrap": 100,
        "permutations": 100,
    }
    text = render({"study": {"name": "planted", "seed": 1}, "compare": settings})
    (tmp_path / "likewise.toml").write_text(text, encoding="utf-8")
    part = load_labels(Study.open(tmp_path))
    left_out = part.dropped[f"outside the sample of {n // 2:,} pictures"]
    assert len(part.label) + left_out == n and left_out == pytest.approx(n / 2, abs=4)
    assert 0 < part.n_train < len(part.label)
    assert set(part.picture_id) < set(whole.picture_id)
    manifest = likewise.compare(tmp_path)
    assert manifest.funnel["dropped"][f"outside the sample of {n // 2:,} pictures"] == left_out
