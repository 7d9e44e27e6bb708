"""Precision and recall of thresholds, against scikit-learn and by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import precision_score, recall_score

from filters.faces.calibration import NO_BOX, curve, labelled_pictures, threshold_for
from likewise.commands.faces import command
from likewise.errors import DataError, UsageError

scores = st.lists(
    st.one_of(st.just(NO_BOX), st.integers(-8, 8).map(float)), min_size=1, max_size=40
)


@settings(deadline=None)
@given(scores.filter(lambda s: max(s) > NO_BOX), scores)
def test_every_point_is_what_scikit_learn_counts(people: list[float], others: list[float]) -> None:
    seen = np.array([*people, *others])
    truth = np.array([1] * len(people) + [0] * len(others))
    for point in curve(np.array(people), np.array(others)):
        answer = (seen >= point.threshold).astype(int)
        assert point.recall == pytest.approx(recall_score(truth, answer))
        assert point.precision == pytest.approx(
            precision_score(truth, answer, zero_division=np.nan)
        )
        assert (
            point.recall_low <= point.recall + 1e-12 and point.recall <= point.recall_high + 1e-12
        )


def test_the_threshold_with_most_recall_is_chosen() -> None:
    people, others = np.array([1.0, 2.0, 3.0, 4.0, NO_BOX]), np.array([0.5, 2.5, NO_BOX])
    points = curve(people, others)
    strict, loose = threshold_for(points, 1.0), threshold_for(points, 0.8)
    assert strict is not None and strict.threshold == 2.75 and strict.recall == 0.4
    assert loose is not None and loose.threshold == 0.75 and loose.recall == 0.8
    assert threshold_for(curve(np.array([1.0]), np.array([2.0])), 0.9) is None


def test_nothing_seen_is_an_error() -> None:
    with pytest.raises(DataError, match="no face"):
        curve(np.array([NO_BOX]), np.array([1.0]))


@pytest.mark.parametrize("names", [("people", "background"), ("a_positive", "a_negative")])
def test_folders_are_known_by_their_names(tmp_path: Path, names: tuple[str, str]) -> None:
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / "one.jpg").write_bytes(b"x")
    people, others = labelled_pictures(tmp_path)
    assert [people[0].parent.name, others[0].parent.name] == list(names)


def test_missing_and_empty_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="expected one folder named people"):
        labelled_pictures(tmp_path)
    (tmp_path / "people").mkdir()
    with pytest.raises(UsageError, match="holds no pictures"):
        labelled_pictures(tmp_path)


def test_the_command_prints_the_threshold(shared: Path, tmp_path: Path) -> None:
    for name in ("people", "background"):
        (tmp_path / name).mkdir()
        for path in sorted((shared / "faces" / f"caltech_{name}").glob("*.jpg"))[:12]:
            (tmp_path / name / path.name).write_bytes(path.read_bytes())
    arguments = ["--calibrate", str(tmp_path), "--detector", "dlib-hog", "--side", "320"]
    answer = CliRunner().invoke(command, [*arguments, "--plot", str(tmp_path / "curve.png")])
    assert answer.exit_code == 0, answer.output
    assert "set [faces] min_confidence" in answer.output
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
