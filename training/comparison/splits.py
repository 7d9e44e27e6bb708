"""The same question under other splits: by time, which is harder; by picture, which
leaks; and without what people said in review."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from training.comparison.judge import Judge
from training.comparison.learning import held_out_scores
from training.comparison.results import ByPicture, ByTime, ReviewChange
from training.data.by_time import cut_of
from training.fitting.fitted import choose
from training.statistics.metrics import Evaluation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from training.data.matrix import Labels
    from training.data.reviews import Reviewed
    from training.fitting.fitted import Fitted, Problem
    from training.fitting.grid import GridStore

__all__ = ["Later", "by_picture", "by_time", "later", "review_change", "without_reviews"]

LEAST_AUTHORS = 2


@dataclass(frozen=True)
class Later:
    """Pictures posted before ``cut`` by training authors, and after it by held-out ones.

    ``cut`` is in days since 1970; ``train`` (n_train,) and ``test`` (n - n_train,) are flags.
    """

    cut: float
    train: NDArray[np.bool_]
    test: NDArray[np.bool_]


def later(labels: Labels, test_fraction: float) -> Later | str:
    """The split by time: or why the dates do not allow one."""
    cut = cut_of(labels.created, test_fraction)
    n_train = labels.n_train
    train, test = labels.created[:n_train] < cut, labels.created[n_train:] >= cut
    for name, inside, part in (
        ("before", train, slice(n_train)),
        ("after", test, slice(n_train, None)),
    ):
        if np.unique(labels.label[part][inside]).size < 2:
            return f"{name} the cut in time the pictures are of one class, or none have a date"
        if np.unique(labels.group[part][inside]).size < LEAST_AUTHORS:
            return f"{name} the cut in time there is one {labels.unit.one}"
    return Later(cut, train, test)


def by_time(problem: Problem, store: GridStore, split: Later, c: float, like: Judge) -> ByTime:
    """LinearSVC of penalty ``c`` a picture, fitted before the cut and tested after it.

    Both sides differ in their authors, too, so that nobody's earlier posts are learned by heart.
    """
    labels, n_train = problem.labels, problem.labels.n_train
    point = store.point("by time", lambda: {"scores": held_out_scores(problem, split.train, c)})
    scores = point["scores"][split.test]
    label = labels.label[n_train:][split.test]
    judge = Judge(
        label,
        labels.group[n_train:][split.test],
        permutations=like.permutations,
        margin=like.margin,
        seed=like.seed,
    )
    held = judge.held(Evaluation(label, scores, np.full(len(scores), np.nan)))
    return ByTime(
        cut=_date(split.cut),
        training_pictures=int(split.train.sum()),
        training_authors=int(np.unique(labels.group[:n_train][split.train]).size),
        held_out_pictures=len(label),
        held_out_authors=int(np.unique(judge.author).size),
        chance=judge.chance,
        average_precision=judge.scores(held)["average_precision"],
        against_chance=judge.against_chance(held),
    )


def _date(days: float) -> str:
    return str(dt.date(1970, 1, 1) + dt.timedelta(days=int(days)))


def by_picture(
    problem: Problem, store: GridStore, c_values: Sequence[float], fitted: Fitted
) -> ByPicture:
    """LinearSVC's cross-validation again, its folds dealt picture by picture.

    Mirror images stay on their picture's side; an author's other pictures do not.
    """
    from training.classifiers import linear

    labels, n_train = problem.labels, problem.labels.n_train
    numbers = np.random.default_rng(problem.seed).permutation(n_train) % len(labels.folds)
    fold = np.concatenate([numbers, labels.fold[n_train:]])
    dealt = replace(problem, labels=replace(labels, fold=fold))
    curve = linear.cross_validated(dealt, store, c_values)
    best = choose(curve)
    return ByPicture(
        layer=problem.matrix.layer,
        set=problem.set_name,
        classifier=fitted.classifier,
        parameters=dict(curve[best].parameters),
        by_picture=curve[best].mean,
        by_author=fitted.cv_ap,
    )


def without_reviews(
    reviewed: Problem, before: Problem, said: Reviewed, c: float, like: Judge
) -> ReviewChange | None:
    """What reviews changed; None where too little of the held-out part is unreviewed to tell.

    Args:
        reviewed: the question with the labels that are learned.
        before: the same with the labels that stood there before; its held-out part is the same.
        said: what the reviews say of the pictures of ``before``.
        c: LinearSVC's penalty a picture, of both fits.
        like: the judge whose permutations, margin and seed are used.
    """
    labels, n_train = before.labels, before.labels.n_train
    fresh = ~said.touched[n_train:]
    if (judge := _judge(labels.label[n_train:], labels.group[n_train:], fresh, like)) is None:
        return None
    scores = [
        held_out_scores(problem, np.ones(problem.labels.n_train, np.bool_), c)[fresh]
        for problem in (reviewed, before)
    ]
    return _change(judge, scores[0], scores[1], said)


def review_change(
    label: NDArray[np.int64],
    group: NDArray[np.int64],
    reviewed: NDArray[np.float64],
    without: NDArray[np.float64],
    touched: NDArray[np.bool_],
    said: Reviewed,
    like: Judge,
) -> ReviewChange | None:
    """The same of any two models that differ in the reviews alone, by their held-out scores.

    Args:
        label, group, touched: (n,) of the held-out pictures: label, author, whether reviewed.
        reviewed, without: (n,) their scores by the model with the reviews, and without them.
        said, like: as for ``without_reviews``.
    """
    fresh = ~touched
    if (judge := _judge(label, group, fresh, like)) is None:
        return None
    return _change(judge, reviewed[fresh], without[fresh], said)


def _judge(
    label: NDArray[np.int64], group: NDArray[np.int64], fresh: NDArray[np.bool_], like: Judge
) -> Judge | None:
    """One of the pictures that nobody reviewed; None where they are too few."""
    if np.unique(label[fresh]).size < 2 or np.unique(group[fresh]).size < LEAST_AUTHORS:
        return None
    return Judge(
        label[fresh],
        group[fresh],
        permutations=like.permutations,
        margin=like.margin,
        seed=like.seed,
    )


def _change(
    judge: Judge, reviewed: NDArray[np.float64], without: NDArray[np.float64], said: Reviewed
) -> ReviewChange:
    held = [
        judge.held(Evaluation(judge.label, scores, np.full(len(scores), np.nan)))
        for scores in (reviewed, without)
    ]
    return ReviewChange(
        changed=said.changed,
        rejected=said.rejected,
        confirmed=said.confirmed,
        without=judge.scores(held[1])["average_precision"],
        reviewed=judge.scores(held[0])["average_precision"],
        gain=judge.difference(held[0], held[1]),
        pictures=len(judge.label),
        authors=int(np.unique(judge.author).size),
    )
