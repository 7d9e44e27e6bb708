"""Scores against a hand computation, on Spark and off it; galleries without floods and copies."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fake_study import DIM, make, save_model
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from likewise import cli
from likewise.errors import DataError, MissingTableError
from likewise.study import Study
from training.data.layers import matrix
from training.galleries import gallery
from training.models.scoring import PART_SCHEMA, saved_model, score_part
from training.rank import rank, ranked


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return make(tmp_path_factory.mktemp("rank") / "study")


@pytest.fixture(autouse=True)
def _no_spark(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other tests may have left a Spark session: these score in this process unless they ask."""
    if "spark" not in request.fixturenames:
        monkeypatch.setattr("training.rank._wants_spark", lambda *_: False)


def by_hand(study: Study) -> dict[str, float]:
    """The model reads feature 0: the mean of both views of it."""
    rows = study.read("features", ["picture_id", "pooled"]).to_pylist()
    views: dict[str, list[float]] = {}
    for row in rows:
        views.setdefault(row["picture_id"], []).append(row["pooled"][0])
    return {key: float(np.mean(np.float64(values))) for key, values in views.items()}


def test_scores_are_the_means_of_both_views_and_ranks_follow(study: Study) -> None:
    manifest = rank(study)
    rows = study.read("scores").to_pylist()
    truth = by_hand(study)
    assert {row["picture_id"]: row["score"] for row in rows} == pytest.approx(truth, abs=1e-6)
    assert [row["rank"] for row in rows] == list(range(1, len(truth) + 1))
    assert [row["score"] for row in rows] == sorted(truth.values(), reverse=True)
    assert manifest.funnel is not None
    assert manifest.funnel["rows_in"] == manifest.funnel["rows_out"] == len(truth)


def test_rank_within_the_author(study: Study) -> None:
    rank(study)
    seen: dict[str, int] = {}
    for row in study.read("scores").to_pylist():
        seen[row["author_id"]] = seen.get(row["author_id"], 0) + 1
        assert row["rank_in_author"] == seen[row["author_id"]]


def test_probability_is_the_cards_sigmoid(study: Study) -> None:
    rank(study)
    rows = study.read("scores")
    score, probability = rows["score"].to_numpy(), rows["probability"].to_numpy()
    assert probability == pytest.approx(1 / (1 + np.exp(-(4 * score - 2))))


def test_ties_go_by_picture_id_whatever_the_order(study: Study) -> None:
    scorer = saved_model(study)
    ids = ["d", "a", "c", "b"]
    labels = pa.table(
        {
            "picture_id": ids,
            "platform": ["p"] * 4,
            "host": ["h"] * 4,
            "author_id": ["x", "x", "y", "y"],
        }
    )
    for order in ([0, 1, 2, 3], [3, 1, 0, 2]):
        views = pa.table({"picture_id": ids, "status": ["ok"] * 4, "score": [1.0, 0.5, 0.5, 0.5]})
        table, _ = ranked(views.take(order), labels.take(order[::-1]), scorer)
        assert table["picture_id"].to_pylist() == ["d", "a", "b", "c"]
        assert table["rank_in_author"].to_pylist() == [1, 2, 1, 2]


def test_pictures_without_features_are_counted_under_their_reasons(study: Study) -> None:
    labels = pa.table({k: ["a", "b", "c"] for k in ("picture_id", "platform", "host", "author_id")})
    views = pa.table({"picture_id": ["a", "b"], "status": ["ok", "failed"], "score": [1.0, None]})
    table, funnel = ranked(views, labels, saved_model(study))
    assert table["picture_id"].to_pylist() == ["a"]
    assert funnel.dropped == {"features_failed": 1, "no_features": 1}
    with pytest.raises(DataError, match="not one labelled picture"):
        ranked(views.slice(1), labels, saved_model(study))


@pytest.mark.slow
def test_spark_gives_the_very_same_rows(study: Study, spark: object) -> None:
    from spark_jobs.rank import score_parts

    parts = study.parts("features")
    scorer = saved_model(study)
    here = pa.Table.from_batches([b for part in parts for b in score_part(part, scorer)])
    score = partial(score_part, scorer=scorer)
    there = score_parts(study.config, parts, score, PART_SCHEMA)
    order = [("picture_id", "ascending"), ("score", "ascending")]
    assert there.sort_by(order).equals(here.sort_by(order))
    rank(study)
    before = study.read("scores")
    rank(study, redo=True)
    assert study.read("scores").equals(before)


def test_same_model_is_skipped_and_another_makes_a_version(tmp_path: Path) -> None:
    study = make(tmp_path / "study", n_authors=8)
    first = rank(study)
    assert rank(study).published_at == first.published_at
    save_model(study, "other")
    second = rank(study, model="other")
    assert second.extra["model"] == "other"
    save_model(study, "other", calibration={"slope": 1.0, "intercept": 0.0})
    assert rank(study, model="other").made != second.made


def test_a_model_of_another_backbone_or_layer_is_refused(tmp_path: Path) -> None:
    study = make(tmp_path / "study", n_authors=8)
    save_model(study, "alien", backbone="alexnet", layer="fc7")
    with pytest.raises(DataError) as error:
        rank(study, model="alien")
    for name in ("alien", "fc7", "alexnet", "pooled", "efficientnet-lite0"):
        assert name in str(error.value)
    save_model(study, "wide", dim=DIM + 1)
    with pytest.raises(DataError, match=f"{DIM + 1}"):
        rank(study, model="wide")


def test_missing_tables_and_models_name_their_stage(tmp_path: Path) -> None:
    study = make(tmp_path / "study", n_authors=8, features=False)
    with pytest.raises(MissingTableError) as error:
        rank(study)
    assert "compare" in (error.value.hint or "")
    save_model(study)
    with pytest.raises(MissingTableError) as error:
        rank(study)
    assert "extract" in (error.value.hint or "")


def test_a_feature_that_is_not_finite_is_named(tmp_path: Path) -> None:
    study = make(tmp_path / "study", n_authors=8)
    path = study.parts("features")[0]
    rows = pq.read_table(path).to_pylist()
    rows[3]["pooled"][0] = float("nan")
    pq.write_table(pa.Table.from_pylist(rows, pq.read_schema(path)), path)
    with pytest.raises(DataError, match=rows[3]["picture_id"]):
        rank(study)


def test_matrix_refuses_ragged_lists() -> None:
    ragged = pa.record_batch({"x": pa.array([[1.0, 2.0], [1.0], [3.0]], pa.list_(pa.float32()))})
    with pytest.raises(DataError, match="differ in length"):
        matrix(ragged, "x")
    even = pa.record_batch({"x": pa.array([[9, 9], [1, 2], [3, 4]], pa.list_(pa.float32()))})
    assert matrix(even.slice(1), "x").tolist() == [[1, 2], [3, 4]]


@given(
    st.lists(st.tuples(st.sampled_from("abcde"), st.integers(0, 15)), max_size=40),
    st.integers(1, 8),
    st.integers(1, 3),
    st.integers(0, 2),
)
def test_pick_is_the_greedy_choice_under_its_rules(
    rows: list[tuple[str, int]], n: int, per_author: int, radius: int
) -> None:
    authors = [author for author, _ in rows]
    hashes = np.array([bits for _, bits in rows], dtype=np.int64)
    chosen, passed = gallery.pick(authors, hashes, n=n, per_author=per_author, radius=radius)
    assert chosen == sorted(set(chosen)) and len(chosen) <= n

    def allowed(row: int, before: list[int]) -> bool:
        apart = all(bin(rows[row][1] ^ rows[other][1]).count("1") > radius for other in before)
        return apart and sum(authors[other] == authors[row] for other in before) < per_author

    for row in range(chosen[-1] + 1 if len(chosen) == n else len(rows)):
        before = [other for other in chosen if other < row]
        assert (row in chosen) == allowed(row, before)
    looked_at = chosen[-1] + 1 if len(chosen) == n else len(rows)
    assert passed.total() == looked_at - len(chosen)


def test_galleries_show_held_out_authors_and_both_ends(study: Study) -> None:
    rank(study, n=5)
    content = json.loads((study.root / "reports" / "galleries.json").read_text())
    assert content["split"] == "test" and len(content["top"]) == len(content["bottom"]) == 5
    top = [one["score"] for one in content["top"]]
    bottom = [one["score"] for one in content["bottom"]]
    assert top == sorted(top, reverse=True) and bottom == sorted(bottom)
    assert min(top) > max(bottom)
    test = study.read("labels", ["picture_id", "split"]).to_pylist()
    held_out = {row["picture_id"] for row in test if row["split"] == "test"}
    assert {one["picture_id"] for end in ("top", "bottom") for one in content[end]} <= held_out
    page = (study.root / "reports" / "galleries" / "index.html").read_text(encoding="utf-8")
    for end in ("top", "bottom"):
        for one in content[end]:
            assert one["url"] is None or f'href="{one["url"]}"' in page
    for end in ("top", "bottom"):
        with Image.open(study.root / "reports" / "galleries" / f"{end}.png") as sheet:
            assert sheet.width == 16 + 5 * (240 + 16)


def test_too_few_held_out_pictures_fall_back_to_all_and_never_overlap(tmp_path: Path) -> None:
    study = make(tmp_path / "study", n_authors=5, per_author=2)
    rank(study)
    chosen = gallery.load(study)
    assert chosen.split == "all" and chosen.n == 2
    both = [*chosen.top, *chosen.bottom]
    ids = [one.picture_id for one in both]
    assert len(ids) == len(set(ids)) <= 4
    labels = study.read("labels", ["picture_id", "split"]).to_pylist()
    splits = {row["picture_id"]: row["split"] for row in labels}
    assert [one.held_out for one in both] == [splits[key] == "test" for key in ids]
    page = (study.root / "reports" / "galleries" / "index.html").read_text(encoding="utf-8")
    assert page.count("fitted on</p>") == sum(not one.held_out for one in both) > 0


@pytest.mark.parametrize(("n_authors", "most"), [(12, 2), (40, 8)])
def test_an_end_of_few_pictures_shows_a_fifth_of_them(
    tmp_path: Path, n_authors: int, most: int
) -> None:
    study = make(tmp_path / "study", n_authors=n_authors)
    rank(study)
    chosen = gallery.load(study)
    held_out = sum(row == "test" for row in study.read("labels", ["split"])["split"].to_pylist())
    assert chosen.split == "test" and chosen.n == int(0.2 * held_out) == most
    assert all(one.held_out for one in [*chosen.top, *chosen.bottom])


@pytest.mark.parametrize(
    "url",
    ["javascript:alert(1)", "data:text/html,x", "//host/x", "https://", "http://[bad", "", None],
)
def test_addresses_that_a_browser_must_not_follow(url: str | None) -> None:
    assert gallery.safe_url(url) is None


def test_a_fine_tuned_network_ranks_from_the_pictures(tmp_path: Path) -> None:
    from likewise.pictures import picture_bytes
    from training.models import saved as models
    from training.tuning.network import build
    from training.tuning.saved import FinetunedScorer

    study = make(tmp_path / "study", n_authors=4, per_author=2)
    built = build("efficientnet-lite0", 2, seed=1, random_weights=True)
    card = {
        "name": "finetuned",
        "kind": "finetuned",
        "backbone": "efficientnet-lite0",
        "layer": "pixels",
        "dim": 1,
        "classes": 2,
        "head": built.head,
        "calibration": {"slope": 1.0, "intercept": 0.0},
    }
    models.save(study, FinetunedScorer(card, built.network))
    rank(study, model="finetuned")
    rows = study.read("scores").to_pylist()
    assert len(rows) == 8
    scorer = saved_model(study, "finetuned")
    data = dict(picture_bytes(study, [rows[0]["picture_id"]]))
    alone = scorer.score_pictures(data.values())
    assert rows[0]["score"] == pytest.approx(float(alone[0]), abs=1e-4)


def test_the_command_prints_json(study: Study, capsys: pytest.CaptureFixture[str]) -> None:
    rank(study)
    assert cli.run(["rank", str(study.root), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["table"] == "scores"
    assert cli.run(["rank", str(study.root), "--model", "none-such"]) == 6
    assert "none-such" in capsys.readouterr().err
