"""Two states compared: a study with itself, with a planted better model, and across nights."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from fake_study import make, save_model
from sklearn.metrics import average_precision_score

from likewise import cli
from likewise.errors import StudyError, UsageError
from likewise.nights import end_night
from likewise.study import Study
from likewise.tables import TABLES
from training.changes import Growth, since_last_night
from training.diff import diff
from training.models.saved import LinearScorer, load, save
from training.rank import rank


@pytest.fixture(autouse=True)
def _no_spark(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.rank._wants_spark", lambda *_: False)


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Study, Study]:
    """The same world twice; the second one's model reads noise instead of the signal."""
    made = []
    for name in ("a", "b"):
        study = make(tmp_path / name, n_authors=24)
        if name == "b":
            card = dict(load(study, "linear-svc").card)
            weight = np.zeros(32, np.float32)
            weight[7] = 1
            save(study, LinearScorer({**card, "name": "noise"}, weight, 0.0))
        rank(study, model="noise" if name == "b" else None)
        made.append(study)
    return made[0], made[1]


def test_a_study_does_not_differ_from_itself(pair: tuple[Study, Study]) -> None:
    found = diff(pair[0], pair[0])
    assert found.flipped_labels == 0
    assert found.shared_pictures == pair[0].require("labels").rows
    assert found.pictures == [] and found.tags == []
    assert found.model is not None and found.model.difference == 0
    assert all(a == b for counts in found.funnel.values() for a, b in counts.values())


def test_a_worse_model_is_told_with_its_interval(pair: tuple[Study, Study]) -> None:
    found = diff(*pair)
    labels = [r for r in pair[1].read("labels").to_pylist() if r["split"] == "test"]
    truth = []
    for study in pair:
        score = {r["picture_id"]: r["score"] for r in study.read("scores").to_pylist()}
        truth.append(
            average_precision_score(
                [r["label"] for r in labels], [score[r["picture_id"]] for r in labels]
            )
        )
    model = found.model
    assert model is not None
    assert (model.before, model.after) == ("linear-svc", "noise")
    assert (model.before_value, model.after_value) == pytest.approx(truth)
    assert model.difference < 0
    assert model.low is not None and model.low <= model.difference <= model.high
    assert model.pictures == len(labels)
    assert any("average precision went from" in line for line in found.sentences())
    assert "The model was linear-svc, is noise." in found.notes


def test_what_moved(tmp_path: Path) -> None:
    before = make(tmp_path / "a", n_authors=24)
    after = make(tmp_path / "b", n_authors=24)
    rows = after.read("labels")
    ratio = np.array(rows["ratio"].to_pylist())
    best = int(np.argmin(ratio))
    ratio[best] = ratio.max() * 2
    changed = rows.set_column(
        rows.schema.get_field_index("ratio"), rows.schema.field("ratio"), [ratio]
    )
    stage = after.begin("labels", params={"moved": 1})
    stage.write(changed)
    stage.publish(**before.require("labels").extra)
    found = diff(before, after)
    up = [one for one in found.pictures if one.after > one.before]
    assert up[0].name == rows["picture_id"][best].as_py()[:12]
    assert up[0].before == 0 and up[0].after > 0.95


def test_two_nights_of_one_study(tmp_path: Path) -> None:
    from likewise.nights import end_night

    study = make(tmp_path / "s", n_authors=24)
    rank(study)
    first = end_night(study)
    save_model(study, "other")
    rank(study, model="other")
    second = end_night(study)
    found = diff(study, at=(first, second))
    assert found.notes == ["The model was linear-svc, is other."]
    assert found.model is not None and found.model.difference == pytest.approx(0)
    with pytest.raises(StudyError):
        diff(study, at=(first, 99))


def counts(study: Study, likes: dict[str, tuple[int, ...]]) -> None:
    """Readings of posts, a day apart."""
    start = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    rows = [
        {
            "platform": "mastodon", "host": "h", "post_id": post, "author_id": "a",
            "read_at": start + dt.timedelta(days=day), "source": "asked", "likes": one,
        }
        for post, readings in likes.items()
        for day, one in enumerate(readings)
    ]  # fmt: skip
    stage = study.begin("post_counts", params={"n": len(rows)})
    stage.write(pa.Table.from_pylist(rows, TABLES["post_counts"].schema))
    stage.publish()


@pytest.mark.slow
def test_what_moved_since_the_last_night(tmp_path: Path) -> None:
    study = make(tmp_path / "study", n_authors=24)
    rank(study)
    counts(study, {"p": (5,), "q": (7,), "r": (1,), "same": (3,)})
    assert since_last_night(study) is None, "there was no night"
    end_night(study)
    assert since_last_night(study) is None, "nothing is new since"

    def best() -> list[str]:
        rows = study.read("scores").sort_by("rank")["picture_id"].to_pylist()
        return list(rows[:20])

    before = best()
    card = dict(load(study, "linear-svc").card)
    weight = np.zeros(32, np.float32)
    weight[7] = 1
    save(study, LinearScorer({**card, "name": "noise"}, weight, 0.0))
    rank(study, model="noise")
    counts(study, {"p": (5, 9), "q": (7, 8), "r": (1, 101), "same": (3,), "new": (4,)})
    found = since_last_night(study)
    assert found is not None and found.before.startswith("night 1, ")
    assert found.entered == [one for one in best() if one not in before] != []
    assert found.left == [one for one in before if one not in best()]
    assert found.gone == 0
    [growth] = [one for one in found.growth if one.what == "posts"]
    # Of +4, +1 and +100; what was read once only, on either side, says nothing.
    assert growth == Growth("posts", "likes", 3, 2.5, 4, 52)
    said = found.sentences()
    assert (
        "3 posts were read again: likes changed by +4 in the middle (half of them by +2 to +52)."
        in said
    )
    end_night(study)
    again = since_last_night(study)
    assert again is not None and again.before == found.before, "the last night that was another"
    assert again.sentences() == said


def test_the_command_and_the_section(pair: tuple[Study, Study], capsys: Any) -> None:
    from training.report.context import Context
    from training.report.sections import changes

    assert cli.run(["diff", str(pair[0].root), str(pair[1].root), "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["sentences"]
    assert cli.run(["diff", str(pair[0].root), str(pair[1].root)]) == 0
    assert "average precision went from" in capsys.readouterr().out
    section = changes.section(Context(pair[1], pair[1].folder("reports", "figures")))
    assert section.data["diff"]["sentences"] == content["sentences"]
    nothing = changes.section(Context(pair[0], pair[0].root)).data
    assert nothing == {"night": None, "diff": None}
    with pytest.raises(UsageError, match="give two studies"):
        diff(pair[0])
    assert cli.run(["diff", str(pair[0].root), "--at", "1"]) == 2
