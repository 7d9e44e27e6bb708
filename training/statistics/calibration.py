"""Platt's sigmoid, scikit-learn's: from a classifier's scores to probabilities, or to none."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator

from training.statistics.sigmoid import REFUSED, probability

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["REFUSED", "Sigmoid", "platt", "probability"]


@dataclass(frozen=True, slots=True)
class Sigmoid:
    """``expit(slope * score + intercept)`` is the probability of label 1; the slope is positive."""

    slope: float
    intercept: float

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, for a model's card."""
        return asdict(self)


def platt(scores: NDArray[np.float64], label: NDArray[np.int64]) -> Sigmoid | None:
    """Fit Platt's sigmoid.

    Args:
        scores: (n,) out-of-fold scores: of pictures whose authors the scorer has not seen.
        label: (n,) labels 0 and 1, both there.

    Returns:
        None when the scores are all equal or the slope is not positive: then a higher score would
        mean a lower probability, and the worst picture of a ranking would be called the likeliest.
    """
    if not np.ptp(scores) > 0:
        return None
    everything = np.arange(len(scores))
    frozen = FrozenEstimator(_Given().fit(scores[:, None], label))
    model = CalibratedClassifierCV(frozen, method="sigmoid", cv=[(everything, everything)])
    # Its Newton steps stop early on scores of very large or small units.
    centre, spread = float(scores.mean()), float(scores.std())
    model.fit(((scores - centre) / spread)[:, None], label)
    fit = model.calibrated_classifiers_[0].calibrators[0]
    slope = float(-fit.a_ / spread)
    return Sigmoid(slope, float(-fit.b_ - slope * centre)) if slope > 0 else None


class _Given(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A classifier whose decision is its only feature: scores that exist already."""

    def fit(self, features: NDArray[np.float64], label: NDArray[np.int64]) -> _Given:
        self.classes_ = np.unique(label)
        self.n_features_in_ = features.shape[1]
        return self

    def predict(self, features: NDArray[np.float64]) -> NDArray[np.int64]:
        return self.classes_[(features[:, 0] > 0).astype(np.int64)]  # scikit-learn wants one

    def decision_function(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        return features[:, 0]
