"""What can be said without looking at the picture, or by looking at its plainest properties.

Every baseline is fitted on the training authors and scored on the held-out authors like the
classifiers are. The author's own history is the strongest of them: it may look at the *other*
pictures of a held-out author (never at the one it scores), which no classifier of the comparison
may. A classifier that beats it knows more from one picture than the author's record tells.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

from training.statistics.calibration import platt
from training.statistics.metrics import Evaluation

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from training.data.matrix import Labels

__all__ = ["BASELINES", "Baseline", "author_history", "baselines"]

BASELINES = {
    "chance": "the share of good pictures among the training authors, for every picture",
    "followers": "logistic regression on log(1 + followers) and its square",
    "author-history": "share of good among the author's other pictures, drawn to the overall "
    "share by one pseudo-picture (leave-one-out, earlier and later posts)",
    "time-of-day": "logistic regression on the hour (two harmonics) and the weekday, UTC",
    "picture-properties": "logistic regression on brightness, contrast, saturation, warmth, "
    "colourfulness, sharpness, size and aspect, and their squares",
}


@dataclass(frozen=True)
class Baseline:
    """A baseline's name, what it is in words, and its scores of the held-out pictures."""

    name: str
    description: str
    evaluation: Evaluation


def baselines(labels: Labels, looks: NDArray[np.float64] | None) -> list[Baseline]:
    """All baselines that the data allow.

    Args:
        labels: of all pictures.
        looks: (n, p) plain properties in the order of ``labels``, NaN where unknown; None to go
            without that baseline.
    """
    found = [_chance(labels), _history(labels)]
    found.append(_logistic(labels, "followers", _followers(labels)))
    if np.isfinite(labels.hour[: labels.n_train]).any():
        found.append(_logistic(labels, "time-of-day", _times(labels)))
    if looks is not None:
        found.append(_logistic(labels, "picture-properties", looks, squares=True))
    order = list(BASELINES)
    return sorted(found, key=lambda baseline: order.index(baseline.name))


def _baseline(
    labels: Labels, name: str, scores: NDArray[np.float64], probability: NDArray[np.float64]
) -> Baseline:
    evaluation = Evaluation(labels.label[labels.n_train :], scores, probability)
    return Baseline(name, BASELINES[name], evaluation)


def _chance(labels: Labels) -> Baseline:
    share = float(labels.label[: labels.n_train].mean())
    flat = np.full(len(labels.label) - labels.n_train, share)
    return _baseline(labels, "chance", flat, flat)


def author_history(labels: Labels, prior: float) -> NDArray[np.float64]:
    """(n,) share of good among the author's other pictures, with one prior count."""
    good = np.bincount(labels.author, labels.label)[labels.author]
    pictures = np.bincount(labels.author)[labels.author]
    share: NDArray[np.float64] = (good - labels.label + prior) / pictures
    return share


def _history(labels: Labels) -> Baseline:
    n_train = labels.n_train
    share = author_history(labels, float(labels.label[:n_train].mean()))
    slope, intercept = platt(share[:n_train], labels.label[:n_train])
    probability = 1 / (1 + np.exp(-(slope * share[n_train:] + intercept)))
    return _baseline(labels, "author-history", share[n_train:], probability)


def _followers(labels: Labels) -> NDArray[np.float64]:
    logs = np.log1p(labels.followers)
    return np.stack([logs, logs**2], axis=1)


def _times(labels: Labels) -> NDArray[np.float64]:
    turn = 2 * np.pi * labels.hour / 24
    harmonics = [np.sin(turn), np.cos(turn), np.sin(2 * turn), np.cos(2 * turn)]
    days = [(labels.weekday == day).astype(float) for day in range(7)]
    return np.stack([*harmonics, *days], axis=1)


def _logistic(
    labels: Labels, name: str, design: NDArray[np.float64], *, squares: bool = False
) -> Baseline:
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
    return _baseline(labels, name, model.decision_function(filled[n_train:]), probability)
