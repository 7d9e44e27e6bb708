"""Probabilities by a fitted sigmoid; apart from its fit, since scoring needs no scikit-learn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

__all__ = ["REFUSED", "logistic", "probability"]

REFUSED = (
    "no probabilities: in cross-validation higher scores did not go with the better liked pictures"
)


def logistic(logit: NDArray[np.float64]) -> NDArray[np.float64]:
    """1 / (1 + exp(-logit)), of any shape, without overflow."""
    return 0.5 * (1.0 + np.tanh(0.5 * logit))


def probability(
    calibration: Mapping[str, Any] | None, scores: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(n,) probabilities by the calibration of a model's card; NaN where it was refused."""
    if calibration is None or calibration.get("slope") is None:
        return np.full(len(scores), np.nan)
    return logistic(calibration["slope"] * scores + calibration["intercept"])
