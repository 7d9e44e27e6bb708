"""``label`` where authors are too few to be dealt: blocks of their time are."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from study_rows import NOW, author, configure, picture, post, publish, publish_pictures

from filters.labels import own_level
from likewise.errors import ConfigError, DataError
from likewise.study import Study
from likewise.tables import BLOCKS, LABELS, check_schema
from spark_jobs.clean import clean
from spark_jobs.label import label


def rows(n: int, authors: int, seed: int = 2) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """``n`` posts over 500 days, some with two pictures; likes grow."""
    rng = np.random.default_rng(seed)
    posts, pictures = [], []
    for number in range(n):
        when = NOW - dt.timedelta(days=float(rng.uniform(40, 540)))
        likes = int(rng.poisson(50 * np.exp((NOW - when).days / -200)))
        owner = f"a{number % authors}"
        posts.append(post(number, owner, likes=likes, created_at=when))
        for index in range(1 + (number % 5 == 0)):
            data = f"{number}/{index}".encode()
            pictures.append(picture(number, data, owner, media_index=index))
    return posts, pictures


def study(folder: Path, n: int = 300, authors: int = 1, **sections: Any) -> Path:
    posts, pictures = rows(n, authors)
    publish(folder, "posts", posts)
    publish(folder, "authors", [author(f"a{k}", 100) for k in range(authors)])
    publish_pictures(folder, pictures)
    settings(folder, **sections)
    clean(folder)
    return folder


def settings(folder: Path, **sections: Any) -> None:
    labels = {"require_faces": False, "target": "likes", **sections.pop("label", {})}
    configure(folder, label=labels, **sections)


def read(folder: Path) -> Any:
    table = Study.open(folder).read("labels")
    check_schema(table.schema, LABELS.schema, "labels")
    return table.sort_by([("post_id", "ascending"), ("media_index", "ascending")]).to_pandas()


def test_one_author_is_dealt_in_weeks(study_folder: Path) -> None:
    manifest = label(study(study_folder))
    found = read(study_folder)
    assert len(found) == 360
    assert manifest.extra["group"] == "time" and manifest.extra["method"] == "own-level"
    assert manifest.extra["authors"] == 1
    moments = found["created_at"].dt.tz_localize(None)
    weeks = moments.dt.to_period("W-SUN").dt.start_time.dt.date.astype(str)
    assert (found["group_key"].str.split("\x1f").str[3] == weeks).all()
    for name in ("fold", "split"):
        assert found.groupby("group_key")[name].nunique().max() == 1
    assert set(found["fold"]) == set(range(5)) and set(found["split"]) == {"train", "test"}
    assert abs((found["split"] == "test").mean() - 0.25) < 0.05
    posts = found.drop_duplicates("post_id").sort_values("created_at")
    moments = posts["created_at"].astype("int64").to_numpy().astype(np.float64)
    low, _ = own_level(
        np.zeros(len(posts), np.int64), moments, posts["likes"].to_numpy(np.float64), around=30
    )
    assert (posts["label"].to_numpy() == (posts["likes"].to_numpy() > low)).all()


def test_a_block_that_was_dealt_never_moves(study_folder: Path) -> None:
    label(study(study_folder, n=200))
    first = read(study_folder).set_index("picture_id")
    posts, pictures = rows(300, 1)
    publish(study_folder, "posts", posts)
    publish_pictures(study_folder, pictures)
    clean(study_folder)
    manifest = label(study_folder)
    later = read(study_folder).set_index("picture_id")
    assert len(later) > len(first)
    both = first.index.intersection(later.index)
    assert len(both) == len(first)
    for name in ("fold", "split", "group_key"):
        assert (first.loc[both, name] == later.loc[both, name]).all()
    places = Study.open(study_folder).read("blocks")
    check_schema(places.schema, BLOCKS.schema, "blocks")
    assert manifest.extra["blocks"] == len(set(later["group_key"]))
    settings(study_folder, label={"block_days": 14})
    assert label(study_folder).extra["block_days"] == 14


@pytest.mark.slow
def test_few_authors_are_dealt_in_blocks_of_their_own_by_both_engines(
    study_folder: Path, spark: Any
) -> None:
    manifest = label(study(study_folder, authors=4))
    found = read(study_folder)
    assert manifest.extra["authors"] == 4
    assert (found["group_key"].str.split("\x1f").str[2] == found["author_id"]).all()
    again = label(study_folder, redo=True, master="local[2]")
    # The second labelling has a first to differ from, and tells by how much: by nothing.
    assert again.extra.pop("flips")["flipped"] == 0
    assert again.extra == manifest.extra
    assert read(study_folder).equals(found)


def test_many_authors_are_dealt_themselves_unless_blocks_are_asked_for(study_folder: Path) -> None:
    assert label(study(study_folder, authors=30)).extra["group"] == "author"
    assert read(study_folder)["group_key"].isna().all()
    settings(study_folder, question={"group": "time"})
    assert label(study_folder).extra["group"] == "time"


def test_what_cannot_be_dealt_is_refused_with_a_way_out(study_folder: Path) -> None:
    study(study_folder, question={"group": "post"})
    with pytest.raises(ConfigError, match=r"\[question\] group"):
        label(study_folder)
    settings(study_folder, label={"block_days": 366})
    with pytest.raises(DataError, match="blocks of 366 days cannot fill 5 folds"):
        label(study_folder)
