"""What can be said without looking at the picture, or by looking at its plainest properties.

Every baseline is fitted on the training authors and scored on the held-out authors like the
classifiers are. The author's history may look at the author's *earlier* posts, held-out authors'
too: it is what was known of the author when the picture was posted. Later posts and the other
pictures of the same post are left out: nobody knew them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

from training.statistics.metrics import Evaluation

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from training.data.matrix import Labels

__all__ = ["BASELINES", "Baseline", "Known", "author_history", "baselines", "known_and_picture"]

BASELINES = {
    "chance": "the share of good pictures among the training authors, for every picture",
    "followers": "logistic regression on log(1 + followers) and its square",
    "author-history": "logistic regression on the share of good among the pictures of the author's "
    "earlier posts, drawn to the overall share by one pseudo-picture, and on how many there are",
    "time-of-day": "logistic regression on the hour (two harmonics) and the weekday, UTC",
    "picture-properties": "logistic regression on brightness, contrast, saturation, warmth, "
    "colourfulness, sharpness, size and aspect, and their squares",
}

LEAST_PAST = 0.1
"""Share of the pictures, on both sides of the split, that must have an earlier post."""


@dataclass(frozen=True)
class Baseline:
    """A baseline's name, what it is in words, and its scores of the held-out pictures."""

    name: str
    description: str
    evaluation: Evaluation


@dataclass(frozen=True)
class Known:
    """What is known of a picture before it is looked at.

    ``designs`` holds (n, p) columns by name: ``followers``, ``author history``, ``time``, as far as
    the data have them; ``notes`` says what they do not have, and why.
    """

    designs: dict[str, NDArray[np.float64]]
    notes: list[str]

    @classmethod
    def of(cls, labels: Labels) -> Known:
        """Of all pictures, in the order of ``labels``."""
        designs, notes = {}, []
        if np.isfinite(labels.followers[: labels.n_train]).any():
            designs["followers"] = _followers(labels)
        why = _no_history(labels)
        if why:
            notes.append(f"no baseline of the author's history: {why}")
        else:
            designs["author history"] = _history(labels)
        if np.isfinite(labels.hour[: labels.n_train]).any():
            designs["time"] = _times(labels)
        return cls(designs, notes)


NAMES = {"followers": "followers", "author history": "author-history", "time": "time-of-day"}


def baselines(labels: Labels, known: Known, looks: NDArray[np.float64] | None) -> list[Baseline]:
    """All baselines that the data allow.

    Args:
        labels: of all pictures.
        known: what is known without the pictures.
        looks: (n, p) plain properties in the order of ``labels``, NaN where unknown; None to go
            without that baseline.
    """
    found = [_chance(labels)]
    for name, design in known.designs.items():
        found.append(_baseline(NAMES[name], _logistic(labels, design)))
    if looks is not None:
        found.append(_baseline("picture-properties", _logistic(labels, looks, squares=True)))
    order = list(BASELINES)
    return sorted(found, key=lambda baseline: order.index(baseline.name))


def known_and_picture(
    labels: Labels, known: Known, out_of_fold: NDArray[np.float64], test: NDArray[np.float64]
) -> tuple[Evaluation, Evaluation]:
    """What is known alone, and together with the picture's score.

    Both are logistic regressions fitted on the training authors. The score of a training picture
    is that of a model that has not seen its author, as it is for the held-out ones; otherwise the
    picture would be trusted for what its model knows by heart.

    Args:
        labels: of all pictures.
        known: at least one design.
        out_of_fold: (n_train,) scores of the training pictures.
        test: (n - n_train,) scores of the held-out pictures.
    """
    design = np.concatenate(list(known.designs.values()), axis=1)
    score = np.concatenate([out_of_fold, test])[:, None]
    return _logistic(labels, design), _logistic(labels, np.concatenate([design, score], axis=1))


def _baseline(name: str, evaluation: Evaluation) -> Baseline:
    return Baseline(name, BASELINES[name], evaluation)


def _chance(labels: Labels) -> Baseline:
    share = float(labels.label[: labels.n_train].mean())
    flat = np.full(len(labels.label) - labels.n_train, share)
    return _baseline("chance", Evaluation(labels.label[labels.n_train :], flat, flat))


def author_history(labels: Labels, prior: float) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The author's past before each picture's post.

    Returns:
        (n,) share of good among the pictures of the author's earlier posts, with one prior count,
        and (n,) how many they are. Posts of the same moment do not know of each other; a picture
        whose time is unknown has no past and is nobody's past.
    """
    n = len(labels.label)
    share, past = np.full(n, prior), np.zeros(n, np.int64)
    dated = np.flatnonzero(np.isfinite(labels.created))
    order = dated[np.lexsort((labels.created[dated], labels.author[dated]))]
    author, time = labels.author[order], labels.created[order]
    new_author = np.diff(author, prepend=-1) != 0
    new_moment = new_author | (np.diff(time, prepend=np.nan) != 0)
    # Running counts before each picture, read where its moment and its author begin.
    good = np.concatenate([[0], np.cumsum(labels.label[order])])
    rows = np.arange(len(order))
    moment = np.maximum.accumulate(np.where(new_moment, rows, 0))
    start = np.maximum.accumulate(np.where(new_author, rows, 0))
    past[order] = moment - start
    share[order] = (good[moment] - good[start] + prior) / (past[order] + 1)
    return share, past


def _no_history(labels: Labels) -> str:
    """Why the author's past is no opponent here; empty when it is one."""
    if labels.method in ("per-author", "own-level"):
        return (
            "labels compare an author's pictures with each other, so that a good past makes a good "
            "future less likely by construction"
        )
    _, past = author_history(labels, 0.5)
    for part in (past[: labels.n_train], past[labels.n_train :]):
        have = float((part > 0).mean())
        if have < LEAST_PAST:
            return f"only {have:.0%} of the pictures have an earlier post by their author"
    return ""


def _history(labels: Labels) -> NDArray[np.float64]:
    prior = float(labels.label[: labels.n_train].mean())
    share, past = author_history(labels, prior)
    # A share says more the more pictures it rests on: (n + 1) grows with them, by their logarithm.
    rest = np.log1p(past)
    return np.stack([share, rest, (share - prior) * rest], axis=1)


def _followers(labels: Labels) -> NDArray[np.float64]:
    logs = np.log1p(labels.followers)
    return np.stack([logs, logs**2], axis=1)


def _times(labels: Labels) -> NDArray[np.float64]:
    turn = 2 * np.pi * labels.hour / 24
    harmonics = [np.sin(turn), np.cos(turn), np.sin(2 * turn), np.cos(2 * turn)]
    days = [(labels.weekday == day).astype(float) for day in range(7)]
    return np.stack([*harmonics, *days], axis=1)


def _logistic(labels: Labels, design: NDArray[np.float64], *, squares: bool = False) -> Evaluation:
    n_train = labels.n_train
    middle = np.nan_to_num(np.nanmedian(design[:n_train], axis=0))
    filled = np.where(np.isfinite(design), design, middle)
    model = make_pipeline(
        StandardScaler(),
        PolynomialFeatures(2 if squares else 1, include_bias=False),
        LogisticRegression(max_iter=2000),
    )
    model.fit(
        filled[:n_train],
        labels.label[:n_train],
        logisticregression__sample_weight=labels.weight[:n_train],
    )
    probability = model.predict_proba(filled[n_train:])[:, 1]
    scores = model.decision_function(filled[n_train:])
    return Evaluation(labels.label[n_train:], scores, probability)
