"""Reviews over REST: what is next, what is taken, what is refused, what is published."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import numpy as np
import pytest
from fake_study import make
from page_server import Running

from collectors.forget import forget
from likewise.study import Study
from training.data.reviews import reviews_table
from web.reviews.queues import Queues, open_queues, path_of, prepare
from web.settings import Settings

ROOT = "/api/v1/reviews"


Ask = Callable[..., Any]


@pytest.fixture
def server_of(study: Study, run_server: Callable[..., Running]) -> Running:
    return run_server(study.root)


@pytest.fixture
def ask(server_of: Running) -> Iterator[Ask]:
    client = server_of.client()

    def post(path: str, body: Any = None, *, who: str = "ann", status: int = 200) -> Any:
        headers = {"X-Reviewer": quote(who)}
        answer = (
            client.get(ROOT + path, headers=headers)
            if body is None
            else client.post(ROOT + path, json=body, headers=headers)
        )
        assert answer.status_code == status, answer.text
        return answer.json()

    yield post
    client.close()


def write(item: dict[str, Any], verdict: str = "label", **more: Any) -> dict[str, Any]:
    label = item["label"] if verdict == "label" else None
    body = {"picture_id": item["picture_id"], "verdict": verdict, "label": label}
    return {**body, "seen": item["version"], **more}


def other(item: dict[str, Any]) -> str:
    return "bad" if item["label"] == "good" else "good"


def test_the_most_contradicted_come_first_and_are_judged_out_of_fold(made: Study) -> None:
    queues = open_queues(made)
    assert queues.beliefs is not None
    test = set(
        made.read("labels", ["picture_id", "split"])
        .filter(np.array(made.read("labels", ["split"])["split"].to_pylist()) == "test")[
            "picture_id"
        ]
        .to_pylist()
    )
    order = queues.order("contradiction")
    shown = queues.picture_id[order]
    assert not test & set(shown.tolist())  # the next model is judged on labels nobody touched
    first = len(set(queues.cluster[order].tolist()))
    belief = queues.beliefs.given[order]
    assert (np.diff(belief[:first]) >= 0).all() and (np.diff(belief[first:]) >= 0).all()
    assert len(set(queues.cluster[order[:first]].tolist())) == first  # one of each cluster
    margin = queues.beliefs.margin[queues.order("margin")]
    assert (np.diff(margin[:first]) >= 0).all()
    # Two labels: the belief in the given one and the margin say the same in other words.
    assert abs(2 * belief - 1) == pytest.approx(queues.beliefs.margin[order], abs=1e-6)
    random = queues.order("random")
    assert sorted(random) == list(range(len(queues.picture_id)))
    assert not np.array_equal(random, np.sort(random))


def test_near_copies_form_one_cluster() -> None:
    names = np.array([letter * 64 for letter in "abcd"], object)
    queues = Queues(names, np.zeros(4, np.int64), ("x",), np.array([0, 1, 0, 0]), 1)
    assert queues.copies.tolist() == [3, 1, 3, 3]


def test_a_review_is_taken_with_what_the_model_believed(ask: Ask, study: Study) -> None:
    found = ask("/next", {"n": 3})
    assert (found["labels"], found["preparing"], len(found["items"])) == (["bad", "good"], False, 3)
    first, second, third = found["items"]
    assert first["belief"] <= second["belief"] <= third["belief"] < 0.5
    assert first["rather"] == other(first)
    line = ask(
        "", write(first, label=other(first), reason="sharp", mode="contradiction"), status=201
    )
    assert (line["action"], line["old_label"], line["new_label"], line["reviewer"]) == (
        "correct", first["label"], other(first), "ann",
    )  # fmt: skip
    assert line["score"] == first["belief"] and line["model"] == "out-of-fold logistic regression"
    assert ask("", write(second), status=201)["action"] == "accept"
    ask("", write(third, "reject"), status=201)
    after = ask("/next", {"n": 3})
    assert not {one["picture_id"] for one in after["items"]} & {
        one["picture_id"] for one in found["items"]
    }
    assert after["left"] == found["left"] - 3
    said = ask("/summary")
    assert (said["reviewed"], said["accepted"], said["corrected"], said["rejected"]) == (3, 1, 1, 1)
    assert said["mine"] == 3 and "unknown" in said["error_rate_words"]
    words = ask("/publish", {})["words"]
    assert "1 labels accepted, 1 corrected, 1 rejected" in words
    rows = {
        r["picture_id"]: r["new_label"] for r in reviews_table(Study.open(study.root)).to_pylist()
    }
    assert rows == {
        first["picture_id"]: other(first),
        second["picture_id"]: second["label"],
        third["picture_id"]: None,
    }
    assert [one["id"] for one in ask("?after=1&limit=1")] == [2]
    assert len(ask(f"/pictures/{first['picture_id']}")) == 1
    [line] = ask(f"/pictures/{first['picture_id']}?blind=true")
    assert line["new_label"] is None and line["reviewer"] == ""


def test_undo_goes_back_to_the_beginning(ask: Ask) -> None:
    items = ask("/next", {"n": 3})["items"]
    for item in items:
        ask("", write(item), status=201)
    back = [ask("/undo", {})["pictures"] for _ in range(4)]
    assert back == [[one["picture_id"]] for one in reversed(items)] + [[]]
    again = ask("/next", {"n": 3})["items"]
    assert [one["picture_id"] for one in again] == [one["picture_id"] for one in items]
    assert {one["version"] for one in again} == {2}
    ask("", write(again[0]), status=201)


def test_two_reviewers(ask: Ask) -> None:
    mine = ask("/next", {"n": 3})["items"]
    theirs = ask("/next", {"n": 3}, who="böb")["items"]
    assert not {one["picture_id"] for one in mine} & {one["picture_id"] for one in theirs}
    both = ask("/next", {"n": 3, "double": True}, who="böb")["items"]
    assert [one["picture_id"] for one in both] == [one["picture_id"] for one in mine]
    ask("", write(mine[0], label=other(mine[0])), status=201)
    problem = ask("", write(mine[0]), who="böb", status=409)
    assert "stands at version 1" in problem["detail"]
    ask("", write(mine[0], independent=True), who="böb", status=201)
    said = ask("/summary")
    [conflict] = said["conflicts"]
    assert conflict["said"] == {"ann": other(mine[0]), "böb": mine[0]["label"]}
    assert "agree on 0 of 1" in said["agreement_words"][0]
    assert "1 conflicts wait" in ask("/publish", {})["words"]
    [item] = ask("/next", {"mode": "conflicts"}, who="cy")["items"]
    assert {one["reviewer"] for one in item["others"]} == {"ann", "böb"}
    ask("", write(item), who="cy", status=201)
    assert ask("/summary")["conflicts"] == []


def test_blind_hides_the_label_the_model_and_the_others(ask: Ask) -> None:
    [first] = ask("/next", {"n": 1})["items"]
    ask("", write(first), status=201)
    found = ask("/next", {"n": 2, "blind": True, "double": True}, who="bob")["items"]
    assert found[0]["picture_id"] == first["picture_id"]
    for item in found:
        assert (item["label"], item["rather"], item["belief"], item["margin"]) == (None,) * 4
        assert item["others"] == []
    line = ask("", write({**found[1], "label": "good"}, independent=True), who="bob", status=201)
    assert line["action"] in {"accept", "correct"} and line["new_label"] == "good"


NONSENSE: list[tuple[dict[str, Any], int]] = [
    ({"verdict": "label", "label": "newt"}, 422),
    ({"verdict": "label"}, 422),
    ({"verdict": "perhaps"}, 422),
    ({"picture_id": "a" * 64, "verdict": "skip"}, 400),
    ({"picture_id": "../etc", "verdict": "skip"}, 422),
    ({"verdict": "skip", "seen": -1}, 422),
    ({"verdict": "skip", "seen": 9}, 409),
    ({"verdict": "skip", "more": 1}, 422),
    ({"verdict": "reject", "reason": "x" * 3000}, 422),
]


def test_nonsense_is_refused(ask: Ask) -> None:
    [item] = ask("/next", {"n": 1})["items"]
    for body, status in NONSENSE:
        ask("", {"picture_id": item["picture_id"], "seen": 0, **body}, status=status)
        assert ask("/summary")["newest"] == 0, body


def test_a_filter_is_labelled_and_taken_back_whole(ask: Ask, server_of: Running) -> None:
    item = ask("/next", {"n": 1})["items"][0]
    ask("", write(item), who="bob", status=201)
    body = {"label": "bad", "count": 80, "reason": "all of them"}
    server_of.wait_until_ready()
    done = ask("/bulk", body)
    assert (done["count"], done["reviewed_meanwhile"]) == (80, 0)
    assert ask("/summary")["reviewed"] == 80
    assert ask("/bulk", {**body, "count": 79}, status=409)["detail"].startswith("the filter means")
    assert ask("/bulk", {**body, "label": "newt"}, status=422)
    assert ask("/bulk/undo", {"batch": done["batch"]})["count"] == 80
    assert ask("/summary")["reviewed"] == 1  # bob's stands again


def test_lists_know_what_was_reviewed(ask: Ask, server_of: Running) -> None:
    server_of.wait_until_ready()
    items = ask("/next", {"n": 3})["items"]

    def listed(reviewed: str) -> list[str]:
        with server_of.client() as client:
            query = {"reviewed": reviewed, "limit": 100}
            return [
                one["id"] for one in client.get("/api/v1/rankings", params=query).json()["items"]
            ]

    assert (len(listed("true")), len(listed("false"))) == (0, 80)
    for item in items:
        ask("", write(item), status=201)
    mine = {item["picture_id"] for item in items}
    assert set(listed("true")) == mine
    assert len(listed("false")) == 77 and not mine & set(listed("false"))
    ask("/undo", {})
    assert set(listed("true")) == mine - {items[-1]["picture_id"]}


def test_a_locked_database_is_told_and_loses_nothing(
    study: Study, run_server: Callable[..., Running], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("web.reviews.database.WAIT_S", 0.2)
    with run_server(study.root).client() as client:
        [item] = client.post(f"{ROOT}/next", json={"n": 1}).json()["items"]
        body = write(item, key="12345678-once")
        other_program = sqlite3.connect(study.root / "reviews.sqlite", isolation_level=None)
        other_program.execute("BEGIN IMMEDIATE")
        answer = client.post(ROOT, json=body)
        assert answer.status_code == 503, answer.text
        assert "locked" in answer.json()["detail"]
        assert client.get(f"{ROOT}/summary").status_code == 200  # reading goes on
        other_program.execute("ROLLBACK")
        other_program.close()
        lines = [client.post(ROOT, json=body) for _ in range(2)]  # sent twice: stored once
        assert [one.status_code for one in lines] == [201, 201]
        assert lines[0].json() == lines[1].json()
        assert client.get(f"{ROOT}/summary").json()["reviewed"] == 1


def test_a_read_only_server_takes_none(study: Study, run_server: Callable[..., Running]) -> None:
    with run_server(study.root, read_only=True).client() as client:
        assert client.post(f"{ROOT}/next", json={}).status_code == 403
        page = client.get("/review", headers={"accept": "text/html"})
        assert "read-only" in page.text
    assert not (study.root / "reviews.sqlite").exists()


def test_who_is_forgotten_leaves_no_review_behind(ask: Ask, study: Study) -> None:
    items = ask("/next", {"n": 6, "mode": "random"})["items"]
    for item in items:
        ask("", write(item), status=201)
    ask("/undo", {})
    rows = study.read("labels", ["picture_id", "author_id"]).to_pylist()
    author = {row["picture_id"]: row["author_id"] for row in rows}
    gone = author[items[-1]["picture_id"]]
    theirs = {one["picture_id"] for one in items if author[one["picture_id"]] == gone}
    erased = forget(study, gone)
    assert erased["lines of reviews"] == len(theirs) + 1
    left = {line["picture_id"] for line in ask("?limit=100")}
    assert left == {one["picture_id"] for one in items} - theirs


def test_one_database_serves_one_study(study: Study, tmp_path: Path) -> None:
    from web.reviews.desk import Desks
    from web.snapshots import Shelf

    shelf = Shelf([study.root, study.root])
    with pytest.raises(Exception, match="serves one study"):
        Desks(shelf, "postgresql://x/y")
    assert isinstance(Settings((study.root,), reviews="postgresql://x/y").reviews, str)


def test_without_features_the_random_queue_is_left(
    tmp_path: Path, run_server: Callable[..., Running]
) -> None:
    study = make(tmp_path / "bare", n_authors=6, features=False)
    prepare(study)
    assert path_of(study).is_file()
    with run_server(study.root).client() as client:
        found = client.post(f"{ROOT}/next", json={"mode": "margin"}).json()
        assert found["items"] == [] and "features" in found["why_not"]
        random = client.post(f"{ROOT}/next", json={"mode": "random"}).json()
        assert len(random["items"]) == 5 and random["items"][0]["belief"] is None


@pytest.mark.slow
def test_beliefs_are_computed_by_a_process_of_their_own(
    tmp_path: Path, run_server: Callable[..., Running]
) -> None:
    study = make(tmp_path / "fresh", n_authors=12)
    with run_server(study.root).client() as client:
        found: httpx.Response | None = None
        for _ in range(300):
            found = client.post(f"{ROOT}/next", json={})
            if not found.json()["preparing"]:
                break
            assert found.json()["items"] == []
            time.sleep(0.2)
        assert found is not None and found.json()["items"][0]["belief"] is not None
