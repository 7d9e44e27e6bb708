"""Platt's sigmoid: from a classifier's scores to probabilities.

Source: Lin, Lin and Weng, "A note on Platt's probabilistic outputs for support vector machines"
(2007): smoothed targets and Newton steps with halving.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.special import expit

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["platt"]


def platt(scores: NDArray[np.float64], label: NDArray[np.int64]) -> tuple[float, float]:
    """Slope and intercept so that ``expit(slope * score + intercept)`` is P(label 1).

    Args:
        scores: (n,) out-of-fold scores: of pictures whose authors the scorer has not seen.
        label: (n,) labels 0 and 1.

    Returns:
        Slope and intercept; a slope of 0 when all scores are equal.
    """
    good, bad = int((label == 1).sum()), int((label == 0).sum())
    target = np.where(label == 1, (good + 1) / (good + 2), 1 / (bad + 2))
    centre, spread = float(scores.mean()), float(scores.std())
    if spread == 0:
        return 0.0, float(np.log((good + 1) / (bad + 1)))
    design = np.stack([(scores - centre) / spread, np.ones(len(scores))], axis=1)
    slope, intercept = _newton(design, target, np.array([0.0, np.log((good + 1) / (bad + 1))]))
    return float(slope / spread), float(intercept - slope * centre / spread)


def _newton(
    design: NDArray[np.float64], target: NDArray[np.float64], start: NDArray[np.float64]
) -> NDArray[np.float64]:
    fit, value = start, _loss(design @ start, target)
    for _ in range(100):
        probability = expit(design @ fit)
        gradient = design.T @ (probability - target)
        if np.abs(gradient).max() < 1e-7 * len(target):
            break
        curvature = (design.T * (probability * (1 - probability))) @ design + 1e-12 * np.eye(2)
        step = np.linalg.solve(curvature, gradient)
        size = 1.0
        while (new := _loss(design @ (fit - size * step), target)) > value and size > 1e-10:
            size /= 2
        fit, value = fit - size * step, new
    return fit


def _loss(logit: NDArray[np.float64], target: NDArray[np.float64]) -> float:
    return float((np.logaddexp(0, logit) - target * logit).sum())
