"""One number that makes probabilities honest: the temperature of a softmax."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["temperature"]

WIDEST = 8.0
"""|log T| that is looked through."""


def temperature(logits: NDArray[np.float64], label: NDArray[np.int64]) -> float:
    """T that minimises the cross-entropy of ``softmax(logits / T)`` on held-back pictures.

    Source: Guo et al., "On calibration of modern neural networks" (2017), section 4.2; the targets
    are smoothed by one picture a class, as Platt smooths his (1999): where every picture is right
    the plain loss falls for ever as T shrinks, to a certainty that so few pictures cannot give.
    The order of classes, and so the accuracy, stays. 1 without any picture.

    Args:
        logits: (n, k) scores before the softmax, of pictures that trained nothing.
        label: (n,) classes.
    """
    if not len(label):
        return 1.0

    n, k = logits.shape
    target = np.full((n, k), 1 / (n + k))
    target[np.arange(n), label] += n / (n + k)

    def loss(log_t: float) -> float:
        return -float((target * log_softmax(logits / np.exp(log_t), axis=1)).sum())

    found = minimize_scalar(loss, bounds=(-WIDEST, WIDEST), method="bounded")
    return float(np.exp(found.x))
