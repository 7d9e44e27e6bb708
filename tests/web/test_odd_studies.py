"""Studies that are empty, tiny, damaged or of another question: pages say so, and none breaks."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pytest
from fake_study import make, save_model
from page_server import Running

from likewise.config import render
from likewise.study import Study
from training.rank import rank
from web.index.build import _disagreement, build
from web.index.filters import Filter, Order
from web.index.reading import Index

PAGES = ("/", "/gallery", "/compare", "/map", "/runs")
HTML = {"Accept": "text/html"}


def replace(study: Study, table: str, **columns: pa.Array) -> None:
    """Publish the table again with other columns."""
    rows = study.read(table)
    for name, values in columns.items():
        at = rows.schema.get_field_index(name)
        rows = rows.set_column(at, rows.schema.field(name), values)
    extra = dict(study.require(table).extra)
    stage = study.begin(table, redo=True)
    stage.write(rows)
    stage.publish(**{k: v for k, v in extra.items() if k not in {"maker", "views"}})


def index_of(study: Study, folder: Path) -> Index:
    folder.mkdir(exist_ok=True)
    build(Study.open(study, at="now"), folder / "index.sqlite", folder)
    return Index(folder / "index.sqlite")


@pytest.fixture(scope="module")
def little(tmp_path_factory: pytest.TempPathFactory) -> Study:
    study = make(tmp_path_factory.mktemp("odd") / "study", n_authors=8)
    rank(study)
    return study


@pytest.fixture
def ranked(little: Study, tmp_path: Path) -> Study:
    """A ranked study that the test may change."""
    shutil.copytree(little.root, tmp_path / "study")
    return Study.open(tmp_path / "study")


@pytest.fixture
def odd_client(run_server: Callable[..., Running]) -> Iterator[Callable[[Path], httpx.Client]]:
    opened: list[httpx.Client] = []

    def serve(root: Path) -> httpx.Client:
        running = run_server(root)
        running.wait_until_ready()
        client = running.client(headers=HTML)
        opened.append(client)
        return client

    yield serve
    for client in opened:
        client.close()


def test_an_empty_study(tmp_path: Path, odd_client: Callable[[Path], httpx.Client]) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "likewise.toml").write_text(render({}))
    client = odd_client(tmp_path / "empty")
    for path in PAGES:
        assert client.get(path).status_code == 200, path
    assert "Nothing has been collected yet" in client.get("/").text
    assert "Nothing has been compared yet" in client.get("/compare").text
    page = client.get("/api/v1/rankings").json()
    assert page["items"] == [] and page["next"] is None
    assert client.get("/api/v1/rankings/counts").json()["total"] == 0
    assert client.get("/api/v1/runs/changes").status_code == 404
    token = re.search(r'name="csrf" content="(\w+)"', client.get("/map").text)
    assert token
    assert client.post("/map", headers={"X-CSRF-Token": token[1]}).status_code == 404


@pytest.mark.slow
def test_one_picture_that_cannot_be_shown_and_a_comparison_that_cannot_be_read(
    tmp_path: Path, odd_client: Callable[[Path], httpx.Client]
) -> None:
    study = make(tmp_path / "one", n_authors=1, per_author=1)
    content = b"<html>not a picture</html>"
    for table in ("pictures", "fetches", "labels", "features", "faces"):
        ids = pa.array([hashlib.sha256(content).hexdigest()] * study.require(table).rows)
        more = {"bytes": pa.array([content], pa.binary())} if table == "pictures" else {}
        replace(study, table, picture_id=ids, **more)
    (study.folder("reports") / "comparison.json").write_text("{")
    client = odd_client(study.root)
    for path in PAGES:
        assert client.get(path).status_code == 200, path
    assert "is damaged" in client.get("/compare").text
    picture = client.get("/api/v1/rankings").json()["items"][0]["id"]
    assert client.get(f"/picture/{picture}").status_code == 200
    shown = client.get(f"/thumbs/small/{picture}.webp")
    assert shown.status_code == 422 and "cannot be shown" in shown.text
    near = client.get(f"/api/v1/pictures/{picture}/neighbours").json()
    assert near["items"] == []


def test_all_scores_equal_or_not_numbers(ranked: Study, tmp_path: Path) -> None:
    study = ranked
    n = study.require("scores").rows
    replace(study, "scores", score=pa.array(np.ones(n)), probability=pa.array(np.full(n, 0.5)))
    index = index_of(study, tmp_path / "equal")
    rows = index.find(Filter(), Order("score")).rows
    assert sorted(rows.tolist()) == list(range(n))
    assert index.opinions(0)[0]["percentile"] == pytest.approx(0.5)
    ids = [index.id_of(row) for row in rows]
    assert ids == sorted(ids)  # ties go by picture_id
    bad = np.full(n, np.nan)
    replace(study, "scores", score=pa.array(bad), probability=pa.array(bad))
    index = index_of(study, tmp_path / "nan")
    assert index.facts["known"]["score"] == 0
    assert len(index.find(Filter(), Order("uncertainty", ascending=True)).rows) == n
    assert all('"score":null' in card for card in index.cards(range(5)))


@pytest.mark.slow
def test_classes_in_place_of_likes(
    tmp_path: Path, odd_client: Callable[[Path], httpx.Client]
) -> None:
    study = make(tmp_path / "classes", n_authors=6)
    n = study.require("labels").rows
    names = ["cat", "dog", 'a "quoted" <b>']
    replace(
        study,
        "labels",
        label=pa.array(np.arange(n) % 3, pa.int16()),
        **{"class": pa.array([names[k % 3] for k in range(n)])},
    )
    client = odd_client(study.root)
    assert "&lt;b&gt;" in client.get("/gallery").text
    counts = client.get("/api/v1/rankings/counts", params={"class": "cat"}).json()
    assert counts["total"] == n // 3
    two = client.get("/api/v1/rankings/counts", params={"class": ["cat", "dog"]}).json()
    assert two["total"] == 2 * n // 3


def test_classes_are_found_by_what_the_model_says(ranked: Study, tmp_path: Path) -> None:
    study = ranked
    names, rng = ["cat", "dog", "newt"], np.random.default_rng(2)
    n = study.require("labels").rows
    ids = study.read("labels", ["picture_id"])["picture_id"].to_pylist()
    truth = dict(zip(ids, rng.choice(names, n).tolist(), strict=True))
    replace(study, "labels", **{"class": pa.array(list(truth.values()))})
    by_rank = study.read("scores", ["picture_id"])["picture_id"].to_pylist()
    said = dict(zip(by_rank, rng.choice(names[:2], n).tolist(), strict=True))
    sure = dict(zip(by_rank, rng.uniform(0.5, 1, n).tolist(), strict=True))
    own = {one: sure[one] if said[one] == truth[one] else 1 - sure[one] for one in by_rank}
    replace(
        study,
        "scores",
        said=pa.array([said[one] for one in by_rank]),
        certainty=pa.array([sure[one] for one in by_rank]),
        probability=pa.array([own[one] for one in by_rank]),
    )
    index = index_of(study, tmp_path / "index")

    def found(asked: Filter, order: Order = Order()) -> list[str]:  # noqa: B008
        return [index.id_of(row) for row in index.find(asked, order).rows]

    for name in names:
        wanted = {one for one in ids if said[one] == name}
        assert set(found(Filter(said=[name]))) == wanted
        both = found(Filter.model_validate({"class": ["cat"], "said": [name]}))
        assert set(both) == {one for one in wanted if truth[one] == "cat"}
    wrong = {one for one in ids if said[one] != truth[one]}
    assert set(found(Filter(contradicted=True))) == wrong
    assert set(found(Filter(contradicted=False))) == set(ids) - wrong
    assert found(Filter(), Order("disagreement")) == sorted(ids, key=lambda one: own[one])
    assert found(Filter(), Order("uncertainty")) == sorted(ids, key=lambda one: sure[one])


@pytest.mark.slow
def test_a_damaged_index_is_made_again(
    tmp_path: Path, odd_client: Callable[[Path], httpx.Client]
) -> None:
    study = make(tmp_path / "study", n_authors=4)
    client = odd_client(study.root)
    (path,) = (study.root / "cache/serve").glob("*.sqlite")
    path.write_bytes(b"SQLite format 3\0 and no more")
    again = odd_client(study.root)
    assert again.get("/api/v1/rankings").json()["items"]
    del client


def test_disagreement_is_that_of_the_models_ranks(ranked: Study, tmp_path: Path) -> None:
    study = ranked
    save_model(study, "same", scores={"cv_average_precision": 0.1})
    index = index_of(study, tmp_path / "index")
    values = index.column("by:disagreement")
    assert values == pytest.approx(0)  # the same weights rank alike
    ranks: dict[str, Any] = {"a": [0.25, 0.75], "b": [0.75, 0.25]}
    spread = _disagreement([np.array([1.0, 2.0]), np.array([2.0, 1.0])])
    assert spread == pytest.approx(np.std(np.array(list(ranks.values())), axis=0))
