"""Filters, orders, cursors and neighbours, against DuckDB and against a plain loop."""

from __future__ import annotations

import csv
import http.client
import io
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import httpx
import numpy as np
import pyarrow as pa
import pytest
from fake_study import make, save_model
from page_server import Running

from collectors.forget import forget
from likewise.study import Study
from training.galleries.neighbours import nearest
from training.rank import rank
from web.index.build import build
from web.index.filters import Filter, Order
from web.index.reading import Index

FILTERS = [
    {},
    {"label": ["good"]},
    {"label": ["bad"], "min_faces": 2},
    {"split": ["test"], "max_faces": 1},
    {"tag": ["me"], "min_audience": 300, "max_audience": 900},
    {"tag": ["nobody"]},
    {"platform": ["pixelfed"], "author": "person7"},
    {"author": "a007"},
    {"since": "2026-04-02", "until": "2026-04-02"},
    {"until": "2026-04-01"},
    {"min_probability": 0.25, "max_probability": 0.75},
]


def by_duckdb(study: Study, asked: dict[str, Any], order: str) -> list[str]:
    """Ids of the pictures, by a query that shares nothing with the index."""
    db = duckdb.connect()
    db.execute("SET TimeZone = 'UTC'")
    for name in ("labels", "posts", "scores", "authors"):
        db.register(name, study.read(name))
    rules = {
        "label": lambda v: f"l.label IN ({','.join('1' if one == 'good' else '0' for one in v)})",
        "split": lambda v: f"l.split = '{v[0]}'",
        "platform": lambda v: f"l.platform = '{v[0]}'",
        "tag": lambda v: f"list_contains(p.tags, '{v[0]}')",
        "author": lambda v: f"(a.handle = '{v}' OR l.author_id = '{v}')",
        "min_faces": lambda v: f"l.n_faces >= {v}",
        "max_faces": lambda v: f"l.n_faces <= {v}",
        "min_audience": lambda v: f"l.audience >= {v}",
        "max_audience": lambda v: f"l.audience <= {v}",
        "since": lambda v: f"l.created_at >= DATE '{v}'",
        "until": lambda v: f"l.created_at < DATE '{v}' + 1",
        "min_probability": lambda v: f"s.probability >= {v}",
        "max_probability": lambda v: f"s.probability <= {v}",
    }
    where = " AND ".join(rules[name](value) for name, value in asked.items()) or "true"
    found = db.execute(
        f"SELECT l.picture_id FROM labels l JOIN posts p USING (platform, host, post_id) "
        f"JOIN scores s USING (picture_id) JOIN (SELECT author_id, handle FROM authors) a "
        f"ON a.author_id = l.author_id WHERE {where} ORDER BY {order}, s.score DESC, l.picture_id"
    )
    return [row[0] for row in found.fetchall()]


def walk(client: httpx.Client, asked: dict[str, Any]) -> list[str]:
    found: list[str] = []
    cursor = None
    while True:
        more = {"cursor": cursor} if cursor else {}
        page = client.get("/api/v1/rankings", params={**asked, **more, "limit": 17}).json()
        assert page["at"] == len(found)
        found += [one["id"] for one in page["items"]]
        cursor = page["next"]
        if cursor is None:
            return found


@pytest.mark.parametrize("asked", FILTERS, ids=lambda one: "-".join(one) or "all")
def test_lists_and_counts_are_duckdbs(
    server: Running, ranked_study: Study, asked: dict[str, Any]
) -> None:
    with server.client() as client:
        for sort, order in (("score", "desc"), ("likes", "asc")):
            column = {"score": "s.score", "likes": "l.likes"}[sort]
            query = {**asked, "sort": sort, "order": order}
            expected = by_duckdb(ranked_study, asked, f"{column} {order}")
            found = walk(client, query)
            assert sorted(found) == sorted(expected)
            if sort == "score":
                assert found == expected
            counts = client.get("/api/v1/rankings/counts", params=query).json()
            assert counts["total"] == len(expected)
            labels = {one["value"]: one["count"] for one in counts["facets"].get("label", [])}
            assert sum(labels.values()) == len(expected)


def test_a_page_may_begin_anywhere_and_the_last_one_is_the_end(server: Running) -> None:
    with server.client() as client:
        whole = walk(client, {"sort": "ratio"})
        assert len(whole) == len(set(whole)) == 120
        page = client.get("/api/v1/rankings", params={"sort": "ratio", "at": 100}).json()
        assert [one["id"] for one in page["items"]] == whole[100:]
        assert page["next"] is None
        beyond = client.get("/api/v1/rankings", params={"at": 10_000}).json()
        assert beyond["items"] == [] and beyond["next"] is None


@pytest.mark.parametrize(
    "query",
    [
        {"cursor": "WyJ4IiwxXQ.forged"},
        {"cursor": "\x00"},
        {"cursor": "x" * 500},
        {"min_faces": "-1"},
        {"min_probability": "nan"},
        {"since": "yesterday"},
        {"sort": "beauty"},
        {"model": "nobody"},
        {"limit": 100_000},
        {"tag": [f"t{n}" for n in range(51)]},
    ],
    ids="-".join,
)
def test_what_cannot_be_is_a_problem(server: Running, query: dict[str, Any]) -> None:
    with server.client() as client:
        answer = client.get("/api/v1/rankings", params=query)
    assert answer.status_code in {400, 422}


def test_ten_thousand_values_are_refused_and_the_server_goes_on(server: Running) -> None:
    address = "/api/v1/rankings?" + "&".join(f"tag=t{n}" for n in range(10_000))
    host, port = server.url.removeprefix("http://").split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=20)
    connection.request("GET", address)
    assert connection.getresponse().status in {400, 414, 422, 431}
    connection.close()
    with server.client() as client:
        assert client.get("/healthz").status_code == 200


def test_a_cursor_belongs_to_its_list(server: Running) -> None:
    with server.client() as client:
        cursor = client.get("/api/v1/rankings", params={"limit": 5}).json()["next"]
        other = client.get("/api/v1/rankings", params={"cursor": cursor, "label": "good"})
        assert other.status_code == 400
        assert "another filter" in other.json()["detail"]


def test_an_etag_saves_the_answer(server: Running) -> None:
    with server.client() as client:
        for path in ("/api/v1/rankings", "/api/v1/rankings/counts"):
            first = client.get(path)
            again = client.get(path, headers={"If-None-Match": first.headers["etag"]})
            assert again.status_code == 304 and not again.content


def test_neighbours_are_those_of_a_plain_search(server: Running, ranked_study: Study) -> None:
    ids = ranked_study.read("labels", ["picture_id"])["picture_id"].to_pylist()[:10]
    expected = nearest(ranked_study, ids, k=7)
    with server.client() as client:
        for picture in ids:
            answer = client.get(f"/api/v1/pictures/{picture}/neighbours", params={"k": 7}).json()
            found = [one["picture"]["id"] for one in answer["items"]]
            assert found == [one.picture_id for one in expected[picture]]
            assert answer["items"][0]["similarity"] == pytest.approx(
                expected[picture][0].similarity, abs=1e-6
            )


def test_every_models_score_is_told_and_in_sample_ones_are_marked(
    server: Running, ranked_study: Study
) -> None:
    splits = ranked_study.read("labels", ["picture_id", "split"]).to_pylist()[:20]
    assert {one["split"] for one in splits} == {"test", "train"}
    with server.client() as client:
        for one in splits:
            said = client.get(f"/api/v1/pictures/{one['picture_id']}").json()["opinions"]
            assert {opinion["model"] for opinion in said} == {"linear-svc", "other"}
            assert {opinion["in_sample"] for opinion in said} == {one["split"] == "train"}


def test_a_training_picture_has_the_score_of_the_fit_without_its_fold(
    server: Running, ranked_study: Study
) -> None:
    folds = {row["picture_id"]: row for row in ranked_study.read("fold_scores").to_pylist()}
    own = {row["picture_id"]: row["score"] for row in ranked_study.read("scores").to_pylist()}
    honest = [folds[one]["score"] if one in folds else score for one, score in own.items()]
    with server.client() as client:
        for picture in [*list(folds)[:5], *[one for one in own if one not in folds][:5]]:
            found = client.get(f"/api/v1/pictures/{picture}").json()
            told = {one["model"]: one for one in found["opinions"]}
            assert told["other"]["out_of_fold"] is None  # nobody has compared it
            apart = told["linear-svc"]["out_of_fold"]
            if picture not in folds:
                assert apart is None and not told["linear-svc"]["in_sample"]
                continue
            row = folds[picture]
            assert found["fold"] == row["fold"] and told["linear-svc"]["in_sample"]
            assert apart["score"] == row["score"] and apart["probability"] == row["probability"]
            below = sum((one < row["score"]) + 0.5 * (one == row["score"]) for one in honest)
            assert apart["percentile"] == pytest.approx(below / len(honest))
            page = client.get(f"/picture/{picture}").text
            assert f"out of fold {row['fold']}" in page and "In-sample: " in page


def test_a_file_of_all_that_is_meant(server: Running) -> None:
    with server.client() as client:
        text = client.get("/api/v1/rankings/export", params={"label": "good"}).text
        lines = client.get("/api/v1/rankings/export", params={"form": "ndjson"}).text
    rows = list(csv.DictReader(io.StringIO(text)))
    assert len(rows) == 60 and {row["label"] for row in rows} == {"1"}
    assert len(lines.splitlines()) == 120


def test_thumbnails_are_webp_and_kept_for_ever(server: Running, ranked_study: Study) -> None:
    picture = ranked_study.read("labels", ["picture_id"])["picture_id"][0].as_py()
    with server.client() as client:
        for _ in range(2):
            answer = client.get(f"/thumbs/small/{picture}.webp")
            assert answer.status_code == 200 and answer.content[8:12] == b"WEBP"
            assert "immutable" in answer.headers["cache-control"]
        assert client.get(f"/thumbs/small/{'0' * 64}.webp").status_code == 404
        assert client.get("/thumbs/huge/x.webp").status_code == 422


def test_what_has_no_value_comes_last_both_ways(tmp_path: Path) -> None:
    study = make(tmp_path / "study", n_authors=6, features=False)
    labels = study.read("labels")
    ratio = labels["ratio"].to_numpy().copy()
    ratio[:3], ratio[3] = np.nan, np.inf
    at = labels.schema.get_field_index("ratio")
    stage = study.begin("labels", inputs=["pictures"], redo=True)
    stage.write(labels.set_column(at, labels.schema.field("ratio"), pa.array(ratio)))
    stage.publish()
    path = tmp_path / "index.sqlite"
    build(Study.open(study, at="now"), path, tmp_path)
    index = Index(path)
    unknown = set(labels["picture_id"].to_pylist()[:4])
    for ascending in (False, True):
        rows = index.find(Filter(), Order("ratio", ascending)).rows
        assert {index.id_of(row) for row in rows[-4:]} == unknown
    assert index.facts["known"]["score"] == 0  # labels without scores
    assert len(index.find(Filter(), Order("score")).rows) == 24


def test_what_was_reviewed_is_looked_up_once_a_version(tmp_path: Path) -> None:
    study = make(tmp_path / "study", n_authors=6, features=False)
    build(Study.open(study, at="now"), tmp_path / "index.sqlite", tmp_path)
    index, asked = Index(tmp_path / "index.sqlite"), []

    def reviewed() -> list[int]:
        asked.append(1)
        return [0, 5]

    for version in (7, 7, 8):
        rows = index.find(Filter(reviewed=True), Order("likes"), reviewed, version).rows
        assert sorted(rows.tolist()) == [0, 5]
    assert len(index.find(Filter(reviewed=False), Order("likes"), reviewed, 8).rows) == 22
    index.find(Filter(), Order("likes"), reviewed, 8)
    assert len(asked) == 3


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.1)


@pytest.mark.slow
def test_a_new_state_is_announced_and_the_old_one_stays(
    tmp_path: Path, run_server: Callable[..., Running]
) -> None:
    study = make(tmp_path / "study", n_authors=8)
    rank(study)
    running = run_server(study.root)
    with running.client(headers={"Accept": "text/html"}) as reader, running.client() as program:
        wait_for(lambda: program.get("/readyz").status_code == 200)
        reader.get("/")
        before = program.get("/api/v1/snapshot").json()
        page = reader.get("/api/v1/rankings", params={"limit": 5}).json()
        save_model(study, "other", scores={"cv_average_precision": 0.9})
        rank(study, model="other")
        wait_for(lambda: program.get("/api/v1/snapshot").json()["newest"] != before["newest"])
        seen = reader.get("/api/v1/snapshot").json()
        assert seen["snapshot"] == before["snapshot"] != seen["newest"]
        query = {"limit": 5, "cursor": page["next"]}
        assert reader.get("/api/v1/rankings", params=query).status_code == 200
        shown = reader.get("/")
        assert 'id="news" role="status">' in shown.text
        reader.get("/", params={"snapshot": "newest"})
        assert reader.get("/api/v1/snapshot").json()["snapshot"] == seen["newest"]
        assert reader.get("/api/v1/rankings", params=query).status_code == 400


@pytest.mark.slow
def test_who_is_forgotten_is_gone_from_lists_neighbours_and_caches(
    tmp_path: Path, run_server: Callable[..., Running]
) -> None:
    study = make(tmp_path / "study", n_authors=8)
    rank(study)
    running = run_server(study.root)
    with running.client(headers={"Accept": "text/html"}) as reader:
        wait_for(lambda: reader.get("/readyz").status_code == 200)
        mine = walk(reader, {"author": "a003"})
        other = walk(reader, {"author": "a002"})
        assert len(mine) == 4
        assert reader.get(f"/thumbs/small/{mine[0]}.webp").status_code == 200
        forget(study, "a003")
        wait_for(lambda: reader.get(f"/api/v1/pictures/{mine[0]}").status_code in {404, 410})
        for path in (
            "/api/v1/pictures/{}",
            "/api/v1/pictures/{}/neighbours",
            "/thumbs/small/{}.webp",
        ):
            for picture in mine:
                assert reader.get(path.format(picture)).status_code in {404, 410}
        assert not set(walk(reader, {})) & set(mine)
        for picture in other:
            near = reader.get(f"/api/v1/pictures/{picture}/neighbours", params={"k": 100}).json()
            assert not {one["picture"]["id"] for one in near["items"]} & set(mine)
        wait_for(lambda: reader.get("/readyz").status_code == 200)
        kept = [path.name for path in (study.root / "cache/serve").rglob("*.webp")]
        assert not {f"{picture}.webp" for picture in mine} & set(kept)
