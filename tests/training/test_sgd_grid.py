"""The grid of SVMWithSGD without Spark: every number again by the documented steps, one by one.

The last fit is MLlib's (``test_sgd.py``); here its weights are a finished point of the store.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from spark_jobs import train_svm
from training.classifiers import sgd
from training.classifiers.sgd import Scaling, batched_sgd, fit, fit_classes, grid_points
from training.data.labels import Labels
from training.data.matrix import Matrix
from training.fitting.classes import ClassProblem, choose_class, judged
from training.fitting.fitted import Problem
from training.fitting.grid import GridStore

N_TRAIN, N_REST, DIM = 60, 20, 6
REGS, STEPS, SCALINGS, ITERATIONS = [0.01, 0.5], [0.1, 1.0], ["standardised", "none"], 11
CARD = {"name": "x", "dim": DIM}


def by_hand(
    rows: np.ndarray, sign: np.ndarray, scaling: Scaling, reg: float, step: float, most: int
) -> tuple[np.ndarray, int]:
    """spark.mllib's GradientDescent in float64: weights of the scaled rows, and steps taken."""
    scaled = (rows.astype(np.float64) - scaling.mean) / scaling.scale
    weight = np.zeros(rows.shape[1])
    for t in range(1, most + 1):
        inside = sign * (scaled @ weight) < 1
        size = step / np.sqrt(t)
        new = weight * (1 - size * reg) + size * (sign * inside) @ scaled / len(rows)
        moved, weight = np.linalg.norm(new - weight), new
        if t > 1 and moved < 1e-3 * max(np.linalg.norm(new), 1):
            return weight, t
    return weight, most


def problem_of(
    kind: type[Problem], classes: int = 2, *, weight: float = 1.0, folds: bool = True
) -> Problem:
    """Two views of pictures whose class shows in the features; the last column is constant."""
    rng = np.random.default_rng(classes)
    n = N_TRAIN + N_REST
    label = np.arange(n) % classes
    upright = rng.normal(size=(n, DIM)) + 0.9 * np.eye(DIM)[label] + 0.4
    views = [upright, upright + 0.1 * rng.normal(size=(n, DIM))]
    parts = [view[part] for part in (slice(N_TRAIN), slice(N_TRAIN, n)) for view in views]
    rows = np.concatenate(parts).astype(np.float32)
    rows[:, -1] = 2.5
    fold = np.where(np.arange(n) < N_TRAIN, rng.integers(0, 3, n), -1)
    labels = Labels(
        picture_id=np.arange(n).astype(object), author=np.arange(n), group=np.arange(n),
        label=label, weight=np.full(n, weight), fold=fold, followers=np.ones(n),
        created=np.zeros(n), n_train=N_TRAIN, classes=("a", "b", "c")[:classes],
        n_validation=0 if folds else 12,
    )  # fmt: skip
    matrix = Matrix("fc", "tiny", "m", rows, N_TRAIN, N_REST, 2, Path("rows.npy"))
    return kind(matrix, labels, views=2, seed=0, jobs=1)


def never() -> None:
    raise AssertionError("Spark was asked for a point that is there")


@pytest.fixture
def store(tmp_path: Path) -> GridStore:
    """A store whose last fit is there."""
    found = GridStore(tmp_path / "store")
    final = {"weight": np.arange(DIM) - 2.0, "gap": np.array(0.25)}
    for one in (found, *(found.below(f"class={k}") for k in range(3))):
        one.point("mllib", lambda: final)
    return found


def held_out(problem: Problem, scaling: Scaling, reg: float, step: float) -> np.ndarray:
    """Scores of every training picture by the model of the other folds, views averaged."""
    labels, rows = problem.labels, problem.matrix.all_train
    fold, sign = np.tile(labels.fold[:N_TRAIN], 2), np.tile(labels.sign[:N_TRAIN], 2)
    scores = np.empty(N_TRAIN)
    for left_out in range(3):
        keep = fold != left_out
        weight, _ = by_hand(rows[keep], sign[keep], scaling, reg, step, ITERATIONS)
        own = ((rows - scaling.mean) / scaling.scale) @ weight
        here = labels.fold[:N_TRAIN] == left_out
        scores[here] = own.reshape(2, N_TRAIN).mean(axis=0)[here]
    return scores


def test_every_point_of_the_grid_by_hand(store: GridStore) -> None:
    problem = problem_of(Problem)
    before = len(list(store.folder.rglob("*.npz")))
    found = fit(problem, store, REGS, STEPS, SCALINGS, ITERATIONS, never)  # type: ignore[arg-type]
    assert len(list(store.folder.glob("*.npz"))) == grid_points(STEPS, SCALINGS) == 5
    assert before == 4 and not store.path("vectors").exists()  # nobody asked for them
    expected = []
    for name in SCALINGS:
        scaling = Scaling.named(name, problem.matrix.all_train)
        for step in STEPS:
            for reg in REGS:
                scores = held_out(problem, scaling, reg, step)
                expected.append(({"regParam": reg, "stepSize": step, "scaling": name}, scores))
    assert [point.parameters for point in found.curve] == [one for one, _ in expected]
    label, fold = problem.train_label, problem.train_fold
    for point, (_, scores) in zip(found.curve, expected, strict=True):
        for left_out, value in point.fold_ap.items():
            here = fold == left_out
            truth = average_precision_score(label[here], scores[here])
            assert value == pytest.approx(truth, abs=1e-9)
    best = int(np.argmax([point.mean for point in found.curve]))
    np.testing.assert_allclose(found.out_of_fold, expected[best][1], atol=1e-5)
    assert found.cv_ap == found.curve[best].mean
    assert found.parameters == {**expected[best][0], "iterations": ITERATIONS}
    assert found.checks == {"weight_gap": 0.25} and (found.classifier, found.kind) == (
        "svm-with-sgd", "linear",
    )  # fmt: skip


def test_the_last_model_scores_the_held_out_pictures(store: GridStore) -> None:
    problem = problem_of(Problem)
    found = fit(problem, store, REGS, [1.0], ["standardised"], ITERATIONS, never)  # type: ignore[arg-type]
    scaling = Scaling.standard(problem.matrix.all_train)
    scaled = (problem.matrix.test - scaling.mean) / scaling.scale
    expected = (scaled @ (np.arange(DIM) - 2.0)).reshape(2, N_REST).mean(axis=0)
    np.testing.assert_allclose(found.test, expected, atol=1e-5)
    scorer = found.build(CARD)
    own = scorer.score(problem.matrix.test).reshape(2, N_REST).mean(axis=0)
    np.testing.assert_allclose(own, expected, atol=1e-5)


@pytest.mark.parametrize(("weight", "said"), [(1.0, False), (2.0, True)])
def test_what_is_noted(store: GridStore, weight: float, said: bool) -> None:
    problem = problem_of(Problem, weight=weight)
    args = (problem, store, REGS, [1.0], ["standardised"], 2, never)
    notes = fit(*args).notes  # type: ignore[arg-type]
    assert notes[0] == "1 constant feature columns count as 0"
    assert ("SVMWithSGD knows no weights: every picture counts the same" in notes) == said
    args = (problem, store, REGS, [0.1], ["none"], 2, never)
    assert len(fit(*args).notes) == said  # type: ignore[arg-type]


@pytest.mark.parametrize("folds", [True, False])
def test_classes_are_each_one_against_the_rest(store: GridStore, folds: bool) -> None:
    problem = problem_of(ClassProblem, 3, folds=folds)
    assert isinstance(problem, ClassProblem)
    found = fit_classes(problem, store, REGS, STEPS, SCALINGS, ITERATIONS, never)  # type: ignore[arg-type]
    rest = problem.matrix.test.reshape(2, N_REST, DIM)
    expected = []
    for name in SCALINGS:
        scaling = Scaling.named(name, problem.matrix.all_train)
        for step in STEPS:
            for reg in REGS:
                columns = []
                for k, (one, _) in enumerate(problem.each_against_rest(store)):
                    assert (one.labels.label == (problem.labels.label == k)).all()
                    if folds:
                        columns.append(held_out(one, scaling, reg, step))
                        continue
                    sign = np.tile(one.labels.sign[:N_TRAIN], 2)
                    rows = problem.matrix.all_train
                    weight, _ = by_hand(rows, sign, scaling, reg, step, ITERATIONS)
                    scaled = (rest[:, :12] - scaling.mean) / scaling.scale
                    columns.append((scaled @ weight).mean(axis=0))
                place = {"regParam": reg, "stepSize": step, "scaling": name}
                expected.append((place, np.stack(columns, axis=1)))
    points = [judged(place, scores, problem.held_label) for place, scores in expected]
    for point, truth in zip(found.curve, points, strict=True):
        assert point.parameters == truth.parameters
        assert point.cross_entropy == pytest.approx(truth.cross_entropy, rel=1e-4)
    best = choose_class(points, simplest_first=False)
    assert found.parameters == {**expected[best][0], "iterations": ITERATIONS}
    assert found.chosen is found.curve[best]
    np.testing.assert_allclose(found.held, expected[best][1], atol=1e-4)
    scaling = Scaling.named(str(expected[best][0]["scaling"]), problem.matrix.all_train)
    scores = ((rest - scaling.mean) / scaling.scale) @ (np.arange(DIM) - 2.0)
    np.testing.assert_allclose(found.rest, np.repeat(scores.mean(axis=0)[:, None], 3, 1), atol=1e-4)
    own = found.build({**CARD, "classes": ["a", "b", "c"]}).scores(problem.matrix.test)
    np.testing.assert_allclose(own.reshape(2, N_REST, 3).mean(axis=0), found.rest, atol=1e-4)
    assert found.checks == {"weight_gap": 0.25}


def test_the_vectors_and_the_gap_of_the_last_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What MLlib is given, and how far what it gives is from the batches: here a tenth."""
    problem, asked = problem_of(Problem), {}
    scaling = Scaling.standard(problem.matrix.all_train)
    sign = np.tile(problem.labels.sign[:N_TRAIN], 2)

    def instead(spark: object, folder: Path, **options: object) -> np.ndarray:
        asked.update(options)
        parts = [np.load(path) for path in sorted(folder.iterdir())]
        rows, label = (np.concatenate([part[name] for part in parts]) for name in ("rows", "label"))
        np.testing.assert_array_equal(label, np.tile(problem.train_label, 2))
        plain = Scaling.none(DIM)
        return 1.1 * by_hand(rows, 2 * label - 1, plain, 0.01, 1.0, ITERATIONS)[0]

    monkeypatch.setattr(train_svm, "fit", instead)
    store = GridStore(tmp_path / "store")
    found = fit(problem, store, [0.01], [1.0], ["standardised"], ITERATIONS, lambda: None)  # type: ignore[arg-type,return-value]
    assert asked == {
        "reg_param": 0.01, "step_size": 1.0, "iterations": ITERATIONS, "tolerance": 1e-3,
        "positive": 1,
    }  # fmt: skip
    assert found.checks["weight_gap"] == pytest.approx(0.1 / 1.1, rel=1e-3)
    weight, _ = by_hand(problem.matrix.all_train, sign, scaling, 0.01, 1.0, ITERATIONS)
    np.testing.assert_allclose(store.finished("mllib")["weight"], 1.1 * weight, rtol=1e-4)


def test_each_problem_stops_where_its_steps_are_short() -> None:
    """Strong shrinking stops early and weak does not; both as if each were alone."""
    problem = problem_of(Problem)
    rows, sign = problem.matrix.all_train, np.tile(problem.labels.sign[:N_TRAIN], 2)
    scaling, regs = Scaling.standard(rows), np.array([3.0, 0.001, 1.0])
    share = np.ones((3, len(rows)), np.float32)
    found = batched_sgd(rows, sign, share, scaling, regs, 0.3, 200)
    steps = []
    for weight, reg in zip(found, regs, strict=True):
        expected, taken = by_hand(rows, sign, scaling, reg, 0.3, 200)
        steps.append(taken)
        np.testing.assert_allclose(weight, expected, atol=1e-5)
    assert steps[0] < steps[2] < 200, steps
    # The first step is never the last one: spark.mllib compares from the second on.
    short, taken = by_hand(rows, sign, scaling, 0.01, 1e-5, 200)
    assert taken == 2
    own = batched_sgd(rows, sign, share[:1], scaling, np.array([0.01]), 1e-5, 200)[0]
    np.testing.assert_allclose(own, short, rtol=1e-5)
    all_stop = batched_sgd(rows, sign, share[:1], scaling, regs[:1], 0.3, 10**6)
    np.testing.assert_allclose(all_stop[0], found[0], atol=1e-6)


def test_a_column_of_noise_counts_as_constant() -> None:
    """Deviations below a millionth of the mean are what float32 makes of one number."""
    rng = np.random.default_rng(3)
    rows = rng.normal(size=(3000, 4))
    rows[:, 0] = 1000 + 1e-4 * rows[:, 0]
    rows[:, 1] += 1000
    scaling = Scaling.standard(rows.astype(np.float32))
    assert scaling.constant == 1 and np.isinf(scaling.scale[0])
    deviation = rows.astype(np.float32).astype(np.float64).std(axis=0)[1:]
    np.testing.assert_allclose(scaling.scale[1:], deviation * np.sqrt(4 / 10), rtol=1e-9)
    assert sgd.TOLERANCE == 1e-3  # spark.mllib's default convergenceTol
    named = Scaling.named("standardised", rows.astype(np.float32))
    np.testing.assert_array_equal(named.scale, scaling.scale)
    for other in ("none", "zzz"):
        assert Scaling.named(other, rows.astype(np.float32)).scale.tolist() == [1.0] * 4
