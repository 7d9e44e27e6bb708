"""Sentences are no stronger than their verdicts, in every combination of them."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest

from training.comparison import results, sentences
from training.comparison.results import Comparison, Difference, Score, Verdict

CLAIMS = (
    "It beats",
    "alone beats",
    "times out of 100",
    "The network sees more than",
    "0.70), above chance",
)
VERDICTS: tuple[Verdict, ...] = ("above", "below", "alike", "open")


def difference(verdict: Verdict) -> Difference:
    return Difference(0.1, 0.05, 0.15, 0.01, verdict)


def comparison(chance: Verdict, other: Verdict, gain: Verdict | None) -> Comparison:
    score = Score(0.6, 0.5, 0.7)
    row = results.Result(
        layer="fc7",
        set="normal",
        classifier="linear-svc",
        model="one",
        parameters={},
        cv_average_precision=0.6,
        metrics=dict.fromkeys(("average_precision", "roc_auc"), score),
        p_value=0.01,
        against={
            "chance": difference(chance),
            "author-history": difference(other),
            "picture-properties": difference(other),
        },
        calibrated=False,
        confusion=None,
        threshold=None,
        pr_curve=results.PrecisionRecall([0, 1], [1, 0.5]),
        curve=[],
        made_by={},
        checks={},
        notes=[],
    )
    worth = gain and results.Worth(
        ["followers", "time"], score, score, score, difference(gain), 100, 20
    )
    limit = results.Chance(0.52, 0.5)
    return Comparison(
        study="s",
        fingerprint="f",
        backbone="alexnet",
        data=results.Data(400, 300, 60, 100, 20, 0.5, 5, "", ""),
        best="one",
        results=[row],
        baselines=[],
        differences=[],
        learning_curves={},
        chance=limit,
        margin=0.02,
        worth=worth or None,
        by_time=results.ByTime("2026-01-01", 9, 9, 9, 9, limit, score, difference(chance)),
        looks=results.Looks(2, 7),
        left_out=20,
        permutations=99,
    )


@pytest.mark.parametrize(
    ("chance", "other", "gain"), list(product(VERDICTS, VERDICTS, (*VERDICTS, None)))
)
def test_pictures_beat_something_only_where_they_add_something(
    chance: Verdict, other: Verdict, gain: Verdict | None
) -> None:
    found = comparison(chance, other, gain)
    text = " ".join([*sentences.answer(found), sentences.of_result(found.results[0], found)])
    sure = gain in ("above", None)
    claimed = [words for words in CLAIMS if words in text]
    if not sure or "above" not in (chance, other):
        assert claimed == []
    if chance == "above" and sure:
        assert "times out of 100" in text and "It beats chance" in text
    assert ("about as well" in text) == (other == "alike")
    assert "no probabilities" in text


def test_the_gain_is_said_first_and_always_with_its_size() -> None:
    for gain in VERDICTS:
        first = sentences.answer(comparison("open", "open", gain))[0]
        assert first.startswith("Followers and time alone reach an average precision of 0.60")
        assert "+0.10, +0.05 to +0.15" in first
        assert ("adds +0.10" in first) == (gain == "above")


def test_looks_are_counted_in_words() -> None:
    text = " ".join(sentences.answer(comparison("open", "open", "open")))
    assert "looked at 2 times, by 7 models in all" in text


def test_a_file_of_another_version_is_a_clear_error(tmp_path: object) -> None:
    from pathlib import Path

    import likewise
    from likewise.errors import DataError

    study = likewise.init(Path(str(tmp_path)) / "s")
    assert results.load(study) is None
    found = replace(comparison("above", "open", "above"), notes=["\u00e4"])
    results.save(study, found)
    again = results.load(study)
    assert again is not None
    assert again.results[0].against["chance"] == difference("above")
    assert again.worth == found.worth and again.notes == ["\u00e4"]
    path = study.root / "reports" / results.FILE
    path.write_text('{"results": []}')
    with pytest.raises(DataError, match="another version: study"):
        results.load(study)
